"""The key `environments:` of softlaunch.yaml."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from softlaunch.config import fields, keys, problems, strategy_section, yaml_tree
from softlaunch.core import spec
from softlaunch.core.rollout import plan

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_BRANCH = re.compile(r"(?![-/])(?!.*(?:\.\.|//|@\{|\.lock$|[/.]$))[^\x00-\x20\x7f~^:?*\[\\]{1,244}")
"""What git check-ref-format accepts, and nothing that looks like an option."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][-+]?\d{1,2})?", re.ASCII)
_REPLICAS_MAX = 64
"""One machine; a guess."""
_REQUESTS_MAX = 10_000


def read(field: fields.Field) -> tuple[spec.EnvironmentSpec, ...]:
    """The environments, in the order of the file: a mapping, or a list of names that take every default."""
    found: list[tuple[fields.Field, spec.EnvironmentSpec]] = []
    if isinstance(field.node, yaml_tree.Sequence):
        for item in field.items("a mapping or a list of names", example="[production]"):
            name = _name(item)
            if any(name == other.name for _, other in found):
                item.wrong(f"'{problems.show(name)}' stands here twice.", "Keep one of them.")
            found.append((item, _bare(name)))
    else:
        for key, value in field.entries("a mapping or a list of names", example="[production]"):
            name = _name(key)
            found.append((key, _bare(name) if value.is_null else _environment(name, value)))
        if isinstance(field.node, yaml_tree.Mapping) and not found:
            field.wrong("There is no environment.", "For example: [production]")
    _check_order(field, found)
    return tuple(environment for _, environment in found)


def _name(field: fields.Field) -> str:
    text = field.text("the name of an environment", example="production")
    if text and not _NAME.fullmatch(text):
        field.wrong(
            f"'{problems.show(text)}' cannot name an environment.", "Use lower-case letters, digits and hyphens."
        )
    return text


def _bare(name: str) -> spec.EnvironmentSpec:
    return spec.EnvironmentSpec(name=name, strategy=plan.strategy(spec.StrategyKind.CANARY))


def _environment(name: str, field: fields.Field) -> spec.EnvironmentSpec:
    section = fields.Section(field, keys.ENVIRONMENT)
    branch, after, strategy = section.get("branch"), section.get("after"), section.get("strategy")
    replicas, verify, fallback = section.get("replicas"), section.get("verify"), section.get("fallback")
    env, timeout = section.get("env"), section.get("request_timeout")
    found_strategy = strategy_section.read(strategy) if strategy is not None else None
    if verify is not None and found_strategy is not None and found_strategy.kind is spec.StrategyKind.CANARY:
        assert strategy is not None
        strategy.wrong(
            "A canary is judged by traffic, and `verify` says that there is none.",
            "Remove one of the two.",
        )
    if found_strategy is None:
        found_strategy = plan.without_traffic() if verify is not None else plan.strategy(spec.StrategyKind.CANARY)
    minimum = 1 if verify is not None else 2
    return spec.EnvironmentSpec(
        name=name,
        branch=_branch(branch) if branch is not None else None,
        after=after.text("the name of an environment", example="integration") if after is not None else None,
        strategy=found_strategy,
        replica_count=(
            replicas.integer(minimum=minimum, maximum=_REPLICAS_MAX, stand_in=2) if replicas is not None else 2
        ),
        verify=_verify(verify) if verify is not None else None,
        fallback_body=_fallback(fallback) if fallback is not None else None,
        env=_env(env) if env is not None else {},
        request_timeout_seconds=(
            timeout.duration_seconds(minimum=0.05, maximum=600, stand_in=5) if timeout is not None else 5.0
        ),
    )


def _branch(field: fields.Field) -> str:
    text = field.text("a branch name", example="main")
    if text and not _BRANCH.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' cannot be a branch.", "For example: main")
    return text


def _verify(field: fields.Field) -> spec.VerifySpec:
    if field.scalar == "smoke":
        return spec.VerifySpec()
    if field.scalar is not None:
        name = field.scalar
        today = keys.NOT_BUILT[keys.VERIFY].get(name)
        if today is not None:
            field.wrong(*fields.not_built(name, today))
        else:
            field.wrong(f"'{problems.show(name)}' is no way to verify.", "Write smoke, or {requests: 20}.")
        return spec.VerifySpec()
    requests = fields.Section(field, keys.VERIFY).get("requests")
    if requests is None:
        return spec.VerifySpec()
    return spec.VerifySpec(request_count=requests.integer(minimum=1, maximum=_REQUESTS_MAX, stand_in=20))


def _fallback(field: fields.Field) -> bytes | None:
    section = fields.Section(field, keys.FALLBACK)
    if isinstance(field.node, yaml_tree.Mapping) and set(keys.NOT_BUILT[keys.FALLBACK]) & {
        key.text for key, _ in field.node.entries
    }:
        return None
    body = section.need("body")
    if body is None:
        return None
    return json.dumps(_json(body), ensure_ascii=False, separators=(",", ":")).encode()


def _json(field: fields.Field) -> Any:
    node = field.node
    if isinstance(node, yaml_tree.Mapping):
        return {key.text: _json(field.below(key.text, value)) for key, value in node.entries}
    if isinstance(node, yaml_tree.Sequence):
        items = (
            fields.Field(node=item, path=f"{field.path}[{number}]", notebook=field.notebook)
            for number, item in enumerate(node.items)
        )
        return [_json(item) for item in items]
    if not node.plain:
        return node.text
    if yaml_tree.is_null(node):
        return None
    if node.text in {"true", "false"}:
        return node.text == "true"
    if _INTEGER.fullmatch(node.text):
        return int(node.text)
    if _FLOAT.fullmatch(node.text) and math.isfinite(value := float(node.text)):
        return value
    if node.text.lower() in {".nan", ".inf", "-.inf", "+.inf"}:
        field.wrong(f"{node.text} cannot be written as JSON.", "Use a number, a text or null.")
    return node.text


def _env(field: fields.Field) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for key, value in field.entries("a mapping of names to texts", example="{CARRIER_API: $CARRIER_API}"):
        name, text = key.scalar or "", value.scalar
        if not _VARIABLE.fullmatch(name):
            key.wrong(
                f"'{problems.show(name)}' cannot name an environment variable.", "Use letters, digits and underscores."
            )
        elif name.startswith("SOFTLAUNCH_"):
            key.wrong(f"{problems.show(name)} belongs to softlaunch.", "Give the variable another name.")
        if text is None:
            # The value is never shown: a secret may stand here in the wrong shape.
            value.wrong(
                f"{problems.show(name)} has no text.", "Write a text, or $NAME to take it from where softlaunch runs."
            )
            continue
        if "\x00" in text:
            value.wrong(f"The text of {problems.show(name)} holds a NUL character.", "Remove it.")
        found[name] = text
    return found


def _check_order(field: fields.Field, found: list[tuple[fields.Field, spec.EnvironmentSpec]]) -> None:
    after = {environment.name: environment.after for _, environment in found}
    others = tuple(after)
    for key, environment in found:
        previous = environment.after
        if not previous:
            continue
        place = _after_field(field, environment.name) or key
        if previous not in after:
            allowed = tuple(name for name in others if name != environment.name)
            remedy = problems.choose(previous, allowed) if allowed else "Add it above."
            place.wrong(f"There is no environment '{problems.show(previous)}'.", remedy)
            continue
        chain = [environment.name]
        while previous and previous not in chain:
            chain.append(previous)
            previous = after.get(previous)
        if previous == environment.name:
            place.wrong(
                f"The environments wait for one another: {' after '.join([*chain, previous])}.", "Remove one `after`."
            )


def _after_field(field: fields.Field, name: str) -> fields.Field | None:
    environments = field.node.entries if isinstance(field.node, yaml_tree.Mapping) else ()
    for key, value in environments:
        if key.text == name and isinstance(value, yaml_tree.Mapping):
            for inner, after in value.entries:
                if inner.text == "after":
                    return field.below(name, value).below("after", after)
    return None
