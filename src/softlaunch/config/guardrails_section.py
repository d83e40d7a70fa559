"""The key `guardrails:` of a strategy: which built-in ones decide, and a team's own."""

from __future__ import annotations

import re

from softlaunch import errors
from softlaunch.config import fields, keys, problems, yaml_tree
from softlaunch.core import spec
from softlaunch.core.rollout import expressions

_BUILT_IN = tuple(name.value for name in spec.GuardrailName)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
_JSON_PATH = re.compile(r"[^\s.]{1,64}(\.[^\s.]{1,64}){0,15}")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_PLACEHOLDERS = ("service", "environment", "candidate", "stable")
_COUNT_MAX = 50
_TARGET_CHARACTERS_MAX = 4_096
_OWN = "{name: p99, promql: ..., server: http://127.0.0.1:9090, at_most: 0.2}"
_LARGE = 1e300

Found = tuple[tuple[spec.GuardrailName, ...], tuple[spec.CheckSpec, ...]]


def read(field: fields.Field) -> Found:
    """The built-in guardrails that decide, and the team's own."""
    deciding: list[spec.GuardrailName] = []
    observing: list[spec.GuardrailName] = []
    checks: list[spec.CheckSpec] = []
    items = list(field.items("a list of guardrails", example="[errors, latency]"))
    if len(items) > _COUNT_MAX:
        field.wrong(f"There are {len(items)} guardrails, more than {_COUNT_MAX}.", "For example: [errors, latency]")
        return spec.GUARDRAILS_DEFAULT, ()
    whole = True
    for item in items:
        if _is_own(item):
            check = _own(item)
            if check is not None and any(check.name == other.name for other in checks):
                item.wrong(f"'{problems.show(check.name)}' stands here twice.", "Keep one of them.")
            elif check is not None:
                checks.append(check)
            continue
        name, decides = _built_in(item)
        whole = whole and name is not None
        if name is not None and name in (*deciding, *observing):
            item.wrong(f"'{name.value}' stands here twice.", "Keep one of them.")
        elif name is not None:
            (deciding if decides else observing).append(name)
    if items and whole and not deciding:
        field.wrong("No built-in guardrail decides here: every release would pass.", "Add one, such as errors.")
    return tuple(deciding), tuple(checks)


def _is_own(item: fields.Field) -> bool:
    if not isinstance(item.node, yaml_tree.Mapping):
        return False
    written = {key.text for key, _ in item.node.entries}
    return bool(written & (set(keys.names(keys.GUARDRAIL)) - {"observe"}))


def _built_in(item: fields.Field) -> tuple[spec.GuardrailName | None, bool]:
    """The name and whether it decides."""
    written, place, decides = item.scalar, item, True
    if isinstance(item.node, yaml_tree.Mapping) and item.node.entries:
        key, _ = item.node.entries[0]
        if key.text in _BUILT_IN:
            item.wrong(
                f"The guardrail '{key.text}' takes no values of its own.",
                f"Write {key.text}; acceptable, margin, alpha and beta stand beside `guardrails`.",
            )
            return None, True
        written = key.text
        if written == "custom":
            item.wrong("A guardrail of your own has a name.", f"For example: {_OWN}")
            return None, True
        if written == "observe":
            found = fields.Section(item, keys.GUARDRAIL).get("observe")
            if found is None:
                return None, False
            written, place, decides = found.scalar, found, False
    if written is None:
        place.expected("the name of a guardrail", example="errors")
        return None, decides
    if written not in _BUILT_IN:
        place.wrong(f"'{problems.show(written)}' is not a guardrail.", problems.choose(written, _BUILT_IN))
        return None, decides
    return spec.GuardrailName(written), decides


def _own(item: fields.Field) -> spec.CheckSpec | None:
    section = fields.Section(item, keys.GUARDRAIL)
    name = section.need("name")
    found_name = _name(name) if name is not None else ""
    chosen = section.one_of("promql", "http", "expression")
    observe = section.get("observe")
    enforcing = not observe.boolean(stand_in=True) if observe is not None else True
    target = section.get(chosen) if chosen is not None else None
    every, failures = section.get("every"), section.get("failures")
    seconds = every.duration_seconds(minimum=1, maximum=3_600, stand_in=30) if every is not None else 30.0
    count = failures.integer(minimum=1, maximum=100, stand_in=3) if failures is not None else 3
    least, most = _bound(section.get("at_least")), _bound(section.get("at_most"))
    if least is not None and most is not None and least > most:
        item.wrong("No number is at least `at_least` and at most `at_most`.", "Exchange the two, or keep one.")
    if target is None:
        return None
    server = path = ""
    match spec.CheckKind(str(chosen)):
        case spec.CheckKind.PROMQL:
            text = _template(target, "a PromQL query", example='"up"')
            found = section.need("server")
            server = found.url(example="http://127.0.0.1:9090") if found is not None else ""
            section.only_with("http", "json")
            if not section.has("at_least") and not section.has("at_most"):
                item.wrong("Nothing says which value is broken.", "Add at_most: 0.2, or at_least.")
        case spec.CheckKind.HTTP:
            target.url(example="http://127.0.0.1:8080/health")
            text = _template(target, "a URL", example="http://127.0.0.1:8080/health")
            section.only_with("promql", "server")
            json_path = section.get("json")
            path = _json_path(json_path) if json_path is not None else ""
            if json_path is None:
                section.only_with("json", "at_least", "at_most")
            elif not section.has("at_least") and not section.has("at_most"):
                item.wrong("Nothing says which value is broken.", "Add at_most: 5, or at_least.")
        case spec.CheckKind.EXPRESSION:
            text = _expression(target)
            section.only_with("promql", "server", "at_least", "at_most", "every", "failures")
            section.only_with("http", "json")
    return spec.CheckSpec(
        name=found_name,
        kind=spec.CheckKind(str(chosen)),
        target=text,
        server=server,
        json_path=path,
        at_least=least,
        at_most=most,
        every_seconds=seconds,
        failure_count=count,
        enforcing=enforcing,
    )


def _name(field: fields.Field) -> str:
    text = field.text("a name", example="p99")
    if text in _BUILT_IN:
        field.wrong(f"'{text}' is a guardrail of softlaunch.", "Give yours another name.")
    elif text and not _NAME.fullmatch(text):
        field.wrong(
            f"'{problems.show(text)}' cannot name a guardrail.",
            "Use lower-case letters, digits, hyphens and underscores, a letter first.",
        )
    return text


def _bound(field: fields.Field | None) -> float | None:
    return None if field is None else field.number(above=-_LARGE, at_most=_LARGE, stand_in=0.2)


def _template(field: fields.Field, what: str, *, example: str) -> str:
    text = field.text(what, example=example)
    if len(text) > _TARGET_CHARACTERS_MAX:
        field.wrong(f"This has {len(text)} characters, more than {_TARGET_CHARACTERS_MAX}.", "Shorten it.")
    for found in _PLACEHOLDER.finditer(text):
        if found[1] not in _PLACEHOLDERS:
            field.wrong(f"Nothing is put in for '{problems.show(found[0])}'.", problems.choose(found[1], _PLACEHOLDERS))
    return text


def _json_path(field: fields.Field) -> str:
    text = field.text("a dotted path", example="status.lag")
    if text and not _JSON_PATH.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' is not a dotted path.", "For example: status.lag")
    return text


def _expression(field: fields.Field) -> str:
    text = field.text("an expression", example='"latency_ms > 80"')
    if text:
        try:
            expressions.compile_(text)
        except errors.ConfigError as error:
            field.wrong(problems.show_all(error.message), error.remedy)
    return text
