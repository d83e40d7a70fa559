"""The reference pages against the code, both ways."""

from __future__ import annotations

import pathlib
import re
import textwrap

import pytest

from softlaunch.config import keys, problems, service_file

DOCS = pathlib.Path(__file__).parents[3] / "docs" / "reference"
PAGE = (DOCS / "softlaunch-yaml.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml( fails)?\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", PAGE, re.MULTILINE | re.DOTALL)
ERRORS = (DOCS / "errors" / "config.md").read_text(encoding="utf-8")


def _tables() -> dict[str, list[list[str]]]:
    """Rows of the table under each heading."""
    found: dict[str, list[list[str]]] = {}
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        heading = part.partition("\n")[0]
        rows = [line for line in part.splitlines() if line.startswith("| ")][1:]
        found[keys.TOP if heading == "The file" else heading] = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows
        ]
    return found


def test_the_page_lists_exactly_the_keys_the_parser_accepts() -> None:
    tables = _tables()
    not_built = tables.pop("Not built yet")

    assert list(keys.SECTIONS) == list(tables)
    for section, rows in tables.items():
        assert [[key.name, key.kind, key.default, key.example, key.meaning] for key in keys.SECTIONS[section]] == [
            [row[0].strip("`"), row[1], row[2].strip("`"), row[3].strip("`"), row[4]] for row in rows
        ], section
    expected = [
        [section if section != keys.TOP else "the file", f"`{word}`", today]
        for section, words in keys.NOT_BUILT.items()
        for word, today in words.items()
    ]
    assert expected == not_built


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_example_of_the_page_does_what_the_page_says(number: int) -> None:
    fails, text, message = BLOCKS[number]
    if not fails:
        service_file.parse(text)
        return
    with pytest.raises(problems.ServiceFileError) as caught:
        service_file.parse(text)

    assert message == f"{caught.value.message}\n"


def test_the_page_has_examples_that_work_and_one_that_fails() -> None:
    assert {"", " fails"} == {fails for fails, _, _ in BLOCKS}
    assert len(BLOCKS) == PAGE.count("```yaml")


_BASE = {
    keys.TOP: "",
    keys.MODEL: "model:\n  {}\n",
    keys.ANSWERS: "model: {{app: 'service:app', answers: [{{{}}}]}}\n",
    keys.TESTS: "tests:\n  {}\n",
    keys.QUALITY: "tests:\n  quality:\n    {}\n",
    keys.ENVIRONMENT: "environments:\n  integration:\n  production:\n    {}\n",
    keys.VERIFY: "environments: {{integration: {{verify: {{{}}}}}, production: {{}}}}\n",
    keys.VERIFY_REPLAY: "environments: {{integration: {{verify: {{replay: {{{}}}}}}}, production: {{}}}}\n",
    keys.VERIFY_LOAD: "environments: {{integration: {{verify: {{load: {{{}}}}}}}, production: {{}}}}\n",
    keys.FALLBACK: "environments: {{production: {{fallback: {{{}}}}}}}\n",
    keys.STRATEGY: "environments: {{production: {{strategy: {{{}}}}}}}\n",
    keys.LOOKUP: (
        "features: {{weather: {{{}}}}}\nenvironments: {{production: {{env: {{WEATHER_URL: 'redis://cache'}}}}}}\n"
    ),
    keys.LOOKUP_FEATURE: "features: {{weather: {{python: 'l.py:f', by: [origin], features: {{wind: {{{}}}}}}}}}\n",
    keys.COHORT: "cohorts: {{internal: {{{}}}}}\n",
    keys.JOB: "jobs: {{scores: {{{}}}}}\n",
    keys.JOB_OUTPUT: "jobs: {{scores: {{command: python b.py, outputs: {{s.csv: {{{}}}}}}}}}\n",
    keys.CAPTURE: "environments: {{production: {{capture: {{{}}}}}}}\n",
    keys.SECRET: "environments: {{production: {{secrets: {{API_KEY: {{{}}}}}}}}}\n",
    keys.SIGNING: "evidence: {{{}}}\n",
    keys.EVIDENCE: "environments: {{production: {{evidence: {{{}}}}}}}\n",
    keys.IDENTITY: "environments: {{production: {{evidence: {{require: signed, identities: [{{{}}}]}}}}}}\n",
    keys.ATTACH: "environments: {{production: {{attach: {{{}}}}}}}\n",
    keys.REPLAY: "environments: {{production: {{replay: {{{}}}}}}}\n",
    keys.VALUES: "environments: {{production: {{strategy: {{canary: {{{}}}}}}}}}\n",
    keys.STEP: (
        "cohorts: {{internal: {{header: x-employee}}}}\n"
        "environments: {{production: {{strategy: {{canary: {{steps: [{{{}}}, 100%]}}}}}}}}\n"
    ),
    keys.GUARDRAIL: "environments: {{production: {{strategy: {{canary: {{guardrails: [errors, {{{}}}]}}}}}}}}\n",
}
_COMPANIONS = {
    (keys.MODEL, "url"): "path: m.onnx",
    (keys.MODEL, "train"): "path: m.onnx",
    (keys.MODEL, "python"): "inputs: {a: FP64}",
    (keys.MODEL, "compile"): "path: m.pkl",
    (keys.MODEL, "allow_globals"): "path: m.pkl",
    (keys.MODEL, "features"): "path: m.pkl",
    (keys.MODEL, "inputs"): "path: m.pkl",
    (keys.MODEL, "ready"): "app: service:app",
    (keys.MODEL, "answers"): "app: service:app",
    (keys.MODEL, "predict_paths"): "app: service:app",
    (keys.ANSWERS, "min"): "path: late",
    (keys.ANSWERS, "max"): "path: late",
    (keys.TESTS, "container"): "command: pytest",
    (keys.TESTS, "memory"): "command: pytest\n  container: debian:12",
    (keys.TESTS, "cpus"): "command: pytest\n  container: debian:12",
    (keys.TESTS, "coverage_percent_min"): "command: pytest",
    **{(keys.JOB, name): "command: python b.py" for name in keys.names(keys.JOB) if name != "command"},
    (keys.SIGNING, "trusted_root"): "sign: keyless, signing_config: /etc/softlaunch/signing_config.json",
    (keys.SIGNING, "signing_config"): "sign: keyless, trusted_root: /etc/softlaunch/trusted_root.json",
    (keys.EVIDENCE, "trusted_root"): "identities: [{issuer: https://accounts.google.com, subject: ci@example.com}]",
    (keys.IDENTITY, "issuer"): "subject: ci@example.com",
    (keys.IDENTITY, "subject"): "issuer: https://accounts.google.com",
    (keys.IDENTITY, "subject_regexp"): "issuer: https://accounts.google.com",
    (keys.ATTACH, "candidate"): "stable: http://127.0.0.1:8999",
    (keys.ATTACH, "ready"): "stable: http://127.0.0.1:8999",
    (keys.LOOKUP, "http"): "by: [origin], features: {wind: 5.0}",
    (keys.LOOKUP, "redis"): "by: [origin], features: {wind: 5.0}, server: $WEATHER_URL",
    (keys.LOOKUP, "sql"): "by: [origin], features: {wind: 5.0}, server: $WEATHER_URL",
    (keys.LOOKUP, "feast"): "by: [origin], features: {wind: 5.0}, server: $WEATHER_URL",
    (keys.LOOKUP, "python"): "by: [origin], features: {wind: 5.0}",
    (keys.LOOKUP, "server"): "redis: 'w:{origin}', by: [origin], features: {wind: 5.0}",
    (keys.LOOKUP, "by"): "python: 'l.py:f', features: {wind: 5.0}",
    (keys.LOOKUP, "features"): "python: 'l.py:f', by: [origin]",
    (keys.LOOKUP, "timeout"): "python: 'l.py:f', by: [origin], features: {wind: 5.0}",
    (keys.LOOKUP, "max_age"): "python: 'l.py:f', by: [origin], features: {wind: 5.0}, timestamp: at",
    (keys.LOOKUP, "timestamp"): "python: 'l.py:f', by: [origin], features: {wind: 5.0}, max_age: 1h",
    (keys.LOOKUP_FEATURE, "field"): "default: 5.0",
    **{(keys.VERIFY_REPLAY, name): "from: production" for name in ("requests", "since", "rate")},
    (keys.VERIFY_LOAD, "rate"): "p99: 20ms",
    (keys.VERIFY_LOAD, "p99"): "rate: 200",
    **{
        (keys.VERIFY_LOAD, name): "rate: 200, p99: 20ms"
        for name in ("duration", "errors", "arrivals", "connections", "from")
    },
    (keys.COHORT, "values"): "header: x-user-id",
    (keys.COHORT, "pattern"): "header: x-user-id",
    (keys.FALLBACK, "table"): "keys: [origin]",
    (keys.FALLBACK, "keys"): "table: fallback.csv",
    (keys.STEP, "for"): "share: 5%",
    (keys.STEP, "attempts"): "shadow: 5%",
    (keys.GUARDRAIL, "name"): "http: http://x",
    (keys.GUARDRAIL, "promql"): "name: a, server: http://x, at_most: 1",
    (keys.GUARDRAIL, "server"): "name: a, promql: up, at_most: 1",
    (keys.GUARDRAIL, "http"): "name: a",
    (keys.GUARDRAIL, "json"): "name: a, http: http://x, at_most: 1",
    (keys.GUARDRAIL, "expression"): "name: a",
    (keys.GUARDRAIL, "at_least"): "name: a, promql: up, server: http://x",
    (keys.GUARDRAIL, "at_most"): "name: a, promql: up, server: http://x",
    (keys.GUARDRAIL, "every"): "name: a, http: http://x",
    (keys.GUARDRAIL, "failures"): "name: a, http: http://x",
}
_NEEDED = {"data": "h.csv", "label": "late", "metrics": "{f1: '> 0.5'}"}


@pytest.mark.parametrize(
    ("section", "key"),
    [(section, key) for section, found in keys.SECTIONS.items() for key in found],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_the_example_of_every_key_parses(section: str, key: keys.Key) -> None:
    written = f"{key.name}: {key.example}"
    if section == keys.TOP:
        text = f"{written}\n"
    else:
        lines = [written, _COMPANIONS.get((section, key.name), "")]
        if section == keys.QUALITY:
            lines += [f"{name}: {value}" for name, value in _NEEDED.items() if name != key.name]
        base = _BASE[section]
        indent = "\n" + " " * (len(base[: base.index("{}")].rpartition("\n")[2]))
        text = base.format((", " if "{{" in base else indent).join(line for line in lines if line))
    top = {"service": "a", "model": "model.joblib", "environments": "[production]"}
    rest = "".join(
        f"{name}: {value}\n" for name, value in top.items() if not re.search(rf"^{name}:", text, re.MULTILINE)
    )

    service_file.parse(textwrap.dedent(rest + text))


def test_every_word_that_is_not_built_is_refused_as_that() -> None:
    for section, words in keys.NOT_BUILT.items():
        for word in words:
            base = "{}\n" if section == keys.TOP else _BASE[section]
            text = base.format(f"{word}: x")
            rest = "" if "model:" in text else "model: model.joblib\n"
            rest += "" if "environments:" in text else "environments: [production]\n"
            with pytest.raises(problems.ServiceFileError) as caught:
                service_file.parse(f"service: a\n{rest}{text}")

            assert [f"'{word}' is not built yet."] == [found.message for found in caught.value.problems]


@pytest.mark.parametrize(
    "code",
    ["service-file", "service-file-exists", "env-reference", "setting", "home-unusable", "unit", "spec-unreadable"],
)
def test_every_code_of_configuration_has_its_entry(code: str) -> None:
    assert f"\n### {code}\n\n" in ERRORS
