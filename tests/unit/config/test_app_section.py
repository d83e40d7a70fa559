"""`model:` with an app or a command."""

from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file
from softlaunch.core import answer_checks, spec


def parse(model: str, rest: str = "environments: [production]") -> spec.ServiceSpec:
    return service_file.parse(f"service: a\nmodel: {{{model}}}\n{rest}\n")


def refused(model: str, rest: str = "environments: [production]") -> list[str]:
    with pytest.raises(problems.ServiceFileError) as caught:
        parse(model, rest)
    return [found.message for found in caught.value.problems]


def test_an_app_with_everything() -> None:
    found = parse("app: service:app, ready: /health, answers: [{path: late, min: 0, max: 1}, {path: rows.*.name}]")

    assert spec.ModelSource.APP is found.model.source
    assert ("service:app", "/health") == (found.model.app_target, found.model.ready_path)
    late, name = found.model.answers
    assert answer_checks.AnswerCheck(path="late", minimum=0, maximum=1) == late
    assert answer_checks.AnswerCheck(path="rows.*.name") == name


@pytest.mark.parametrize("target", ["app.main:app", "service:create_app()", "a.b:holder.app"])
def test_apps_are_named_as_uvicorn_names_them(target) -> None:
    assert target == parse(f"app: '{target}'").model.app_target


def test_a_file_name_is_refused_with_the_name_that_is_meant() -> None:
    with pytest.raises(problems.ServiceFileError) as caught:
        parse("app: api/service.py:app")

    assert "api.service:app" in caught.value.problems[0].remedy


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("node server.js", ("node", "server.js")),
        ("[node, server.js, --port, '{port}']", ("node", "server.js", "--port", "{port}")),
        ("'serve --name \"two words\"'", ("serve", "--name", "two words")),
    ],
)
def test_a_command_is_a_text_or_a_list(written, words) -> None:
    assert words == parse(f"command: {written}").model.command


@pytest.mark.parametrize(
    "written", ["'a && b'", "'node $SERVER'", "'cd x'", "''", "[]", "'node \"'", "{a: b}", "[node, {a: b}]"]
)
def test_a_command_that_needs_a_shell_or_is_none_is_refused(written) -> None:
    assert refused(f"command: {written}")


def test_predict_paths_of_the_model_are_those_of_every_environment_without_its_own() -> None:
    found = parse("app: s:app, predict_paths: [/score]", "environments: {one: {predict_paths: [/v1/*]}, two: {}}")

    assert [("/v1/*",), ("/score",)] == [each.predict_paths for each in found.environments]


def test_of_an_app_no_path_may_be_repeated_that_is_not_named() -> None:
    app, model = parse("app: s:app"), parse("path: model.joblib")

    assert [False, True] == [found.environments[0].standard_paths for found in (app, model)]
    assert any("predict_paths" in gap for gap in app.gaps)
    assert not any("predict_paths" in gap for gap in parse("app: s:app, predict_paths: [/score]").gaps)


def test_answers_are_compared_where_they_are_checked() -> None:
    found = parse("app: s:app, answers: [{path: late}, {path: fare}]")

    assert ("late", "fare") == found.environments[0].compared_paths


@pytest.mark.parametrize(
    ("model", "rest"),
    [
        ("app: s:app, command: x", "environments: [production]"),
        ("app: s:app, path: model.joblib", "environments: [production]"),
        ("app: s:app, compile: false", "environments: [production]"),
        ("path: model.joblib, ready: /health", "environments: [production]"),
        ("path: model.joblib, answers: [{path: late}]", "environments: [production]"),
        ("app: s:app, answers: [{path: late, min: 2, max: 1}]", "environments: [production]"),
        ("app: s:app, answers: [{path: late..x}]", "environments: [production]"),
        ("app: s:app, answers: [{min: 0}]", "environments: [production]"),
        ("app: s:app, ready: health", "environments: [production]"),
        ("app: s:app", "reference: data/train.csv\nenvironments: [production]"),
        ("app: s:app", "tests: {latency_ms_p99_max: 20}\nenvironments: [production]"),
        ("app: s:app", "environments: {production: {verify: {requests: 5}}}"),
        ("app: s:app", "environments: {production: {verify: smoke}}"),
        ("app: s:app", "environments: {production: {strategy: shadow}}"),
    ],
)
def test_what_makes_no_sense_is_refused_once(model, rest) -> None:
    assert 1 == len(refused(model, rest))


def test_an_app_with_a_ready_path_passes_environments_without_traffic() -> None:
    found = parse("app: s:app, ready: /health", "environments: {integration: {verify: smoke}, production: {}}")

    assert found.environments[0].verify is not None
