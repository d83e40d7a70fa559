"""The key `strategy:` of an environment: canary and blue-green, which differ only in their values."""

from __future__ import annotations

import decimal
import re

from softlaunch import errors
from softlaunch.config import fields, keys, problems, yaml_tree
from softlaunch.core import spec, units
from softlaunch.core.rollout import plan

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_RESERVED_HEADERS = ("x-softlaunch-", "x-envoy-")
_KINDS = {"canary": spec.StrategyKind.CANARY, "blue_green": spec.StrategyKind.BLUE_GREEN}
_DEFAULT = plan.strategy(spec.StrategyKind.CANARY)
_DAY_SECONDS = 86_400.0
_WATCH_SECONDS_MAX = 90 * _DAY_SECONDS
"""Three months; a guess at where a typing mistake begins."""
_STEP_COUNT_MAX = 100
_HALF = decimal.Decimal(50)


def read(field: fields.Field) -> spec.StrategySpec | None:
    """The strategy: a name, or a mapping of one name to its values; None when it names none that is known."""
    if field.scalar is not None:
        return _by_name(field)
    section = fields.Section(field, keys.STRATEGY)
    chosen = [name for name in keys.names(keys.STRATEGY) if section.has(name)]
    if len(chosen) > 1:
        field.wrong("Both canary and blue_green stand here.", "Keep one of them.")
    if not chosen:
        if isinstance(field.node, yaml_tree.Mapping) and not field.node.entries:
            field.wrong("There is no strategy.", "For example: {canary: {steps: [1%, 10%, 100%]}}")
        return None
    found = section.get(chosen[0])
    kind = _KINDS[chosen[0]]
    return _values(found, kind) if found is not None else plan.strategy(kind)


def _by_name(field: fields.Field) -> spec.StrategySpec | None:
    name = field.scalar or ""
    kind = _KINDS.get(name.replace("-", "_"))
    if kind is not None:
        return plan.strategy(kind)
    today = keys.NOT_BUILT[keys.STRATEGY].get(name)
    if today is not None:
        field.wrong(*fields.not_built(name, today))
    else:
        allowed = tuple(_KINDS)
        field.wrong(f"'{problems.show(name)}' is not a strategy.", problems.choose(name, allowed))
    return None


def _values(field: fields.Field, kind: spec.StrategyKind) -> spec.StrategySpec:
    section = fields.Section(field, keys.CANARY if kind is spec.StrategyKind.CANARY else keys.BLUE_GREEN)
    key, steps, guardrails = section.get("key"), section.get("steps"), section.get("guardrails")
    holdback, acceptable = section.get("holdback"), section.get("acceptable")
    slo, deadline, watch = section.get("latency_slo"), section.get("deadline"), section.get("watch")
    attempts, margin = section.get("step_attempts_min"), section.get("margin")
    weights = _weights(steps) if steps is not None else plan.WEIGHTS[kind]
    holdback_percent = _holdback(holdback) if holdback is not None else None
    found = spec.StrategySpec(
        kind=kind,
        weights=weights,
        key_header=_header(key) if key is not None else None,
        guardrails=_guardrails(guardrails) if guardrails is not None else _DEFAULT.guardrails,
        step_attempts_min=(
            attempts.integer(minimum=1, maximum=1_000_000, stand_in=50)
            if attempts is not None
            else _DEFAULT.step_attempts_min
        ),
        acceptable_percent=_acceptable(acceptable) if acceptable is not None else _DEFAULT.acceptable_percent,
        margin_ratio=margin.number(above=1, at_most=100, stand_in=2) if margin is not None else _DEFAULT.margin_ratio,
        alpha=_risk(section.get("alpha"), _DEFAULT.alpha),
        beta=_risk(section.get("beta"), _DEFAULT.beta),
        holdback_percent=holdback_percent if holdback_percent is not None else _DEFAULT.holdback_percent,
        watch_seconds=(
            watch.duration_seconds(minimum=0, maximum=_WATCH_SECONDS_MAX, stand_in=_DAY_SECONDS)
            if watch is not None
            else _DEFAULT.watch_seconds
        ),
        latency_slo_ms=_milliseconds(slo) if slo is not None else None,
        deadline_seconds=(
            deadline.duration_seconds(minimum=1, maximum=_WATCH_SECONDS_MAX, stand_in=3_600)
            if deadline is not None
            else _DEFAULT.deadline_seconds
        ),
    )
    _check_holdback(steps, found)
    return found


def _weights(field: fields.Field) -> tuple[int, ...]:
    found: list[int] = []
    items = list(field.items("a list of percents", example="[1%, 5%, 25%, 100%]"))
    if len(items) > _STEP_COUNT_MAX:
        field.wrong(f"There are {len(items)} steps, more than {_STEP_COUNT_MAX}.", "For example: [1%, 5%, 25%, 100%]")
        return _DEFAULT.weights
    complete = True
    for item in items:
        weight = _weight(item)
        if weight is None:
            complete = False
            continue
        if found and weight <= found[-1]:
            before = units.format_weight(found[-1])
            item.wrong(
                f"{units.format_weight(weight)} is not above {before}.",
                "Steps must rise: each gives the candidate more traffic than the one before.",
            )
            complete = False
        found.append(weight)
    if complete and found and found[-1] != spec.WEIGHT_FULL:
        last = units.format_weight(found[-1])
        items[-1].wrong(f"The last step is {last}.", "It must be 100%: add it.")
    return tuple(found) if found else _DEFAULT.weights


def _weight(item: fields.Field) -> int | None:
    unbuilt = _unbuilt_step(item)
    if unbuilt is not None:
        item.wrong(*fields.not_built(unbuilt, keys.STEPS_NOT_BUILT[unbuilt]))
        return None
    value = item.percent()
    if value is None:
        return None
    try:
        weight = units.weight_from_percent(value)
    except errors.ConfigError as error:
        item.wrong(f"'{problems.show(item.scalar or '')}' is not a share of traffic.", error.remedy)
        return None
    if weight == 0:
        item.wrong("A step of 0% gives the candidate no traffic.", "Start at 1%, or at 0.01% and above.")
        return None
    return weight


def _unbuilt_step(item: fields.Field) -> str | None:
    if item.scalar in keys.STEPS_NOT_BUILT:
        return item.scalar
    if isinstance(item.node, yaml_tree.Mapping):
        return next((key.text for key, _ in item.node.entries if key.text in keys.STEPS_NOT_BUILT), None)
    return None


def _check_holdback(steps: fields.Field | None, found: spec.StrategySpec) -> None:
    if steps is None or not isinstance(steps.node, yaml_tree.Sequence) or len(found.weights) < 2:
        return
    kept = plan.holdback_weight(found)
    left = spec.WEIGHT_FULL - kept
    before_last = found.weights[-2]
    if kept and left <= before_last < spec.WEIGHT_FULL:
        steps.wrong(
            f"The step {units.format_weight(before_last)} leaves nothing to rise to: the holdback of "
            f"{units.format_weight(kept)} ends the last step at {units.format_weight(left)}.",
            "Remove that step, or lower `holdback`.",
        )


def _guardrails(field: fields.Field) -> tuple[spec.GuardrailName, ...]:
    allowed = tuple(name.value for name in spec.GuardrailName)
    found: list[spec.GuardrailName] = []
    for item in field.items("a list of guardrails", example="[errors, latency]"):
        written = item.scalar
        if written is None and isinstance(item.node, yaml_tree.Mapping) and item.node.entries:
            written = item.node.entries[0][0].text
            if written in allowed:
                item.wrong(
                    f"The guardrail '{written}' takes no values of its own.",
                    f"Write {written}; acceptable, margin, alpha and beta stand beside `guardrails`.",
                )
                continue
        if written is None:
            item.expected("the name of a guardrail", example="errors")
        elif written in keys.GUARDRAILS_NOT_BUILT:
            item.wrong(*fields.not_built(written, keys.GUARDRAILS_NOT_BUILT[written]))
        elif written not in allowed:
            item.wrong(f"'{problems.show(written)}' is not a guardrail.", problems.choose(written, allowed))
        elif spec.GuardrailName(written) in found:
            item.wrong(f"'{written}' stands here twice.", "Keep one of them.")
        else:
            found.append(spec.GuardrailName(written))
    return tuple(found)


def _header(field: fields.Field) -> str:
    text = field.text("the name of a request header", example="x-user-id").lower()
    if text and not _HEADER.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' cannot name a header.", "For example: x-user-id")
    elif text.startswith(_RESERVED_HEADERS):
        field.wrong(
            f"'{problems.show(text)}' belongs to the gateway.", "Name a header your clients send, such as x-user-id."
        )
    return text


def _holdback(field: fields.Field) -> float | None:
    value = field.percent()
    if value is None:
        return None
    try:
        units.weight_from_percent(value)
    except errors.ConfigError as error:
        field.wrong(f"'{problems.show(field.scalar or '')}' is not a share of traffic.", error.remedy)
        return None
    if value > _HALF:
        field.wrong(
            f"{problems.show(field.scalar or '')} is above 50%.",
            "At most half of the users can stay behind; 5% is usual.",
        )
        return None
    return float(value)


def _acceptable(field: fields.Field) -> float:
    value = field.percent()
    if value is None:
        return _DEFAULT.acceptable_percent
    if not 0 < value <= _HALF:
        side = "above 50%" if value > _HALF else "no rate"
        field.wrong(
            f"{problems.show(field.scalar or '')} is {side}.", "A rate of bad answers you can live with, such as 1%."
        )
        return _DEFAULT.acceptable_percent
    return float(value)


def _risk(field: fields.Field | None, stand_in: float) -> float:
    return stand_in if field is None else field.number(above=0, at_most=0.5, stand_in=stand_in)


def _milliseconds(field: fields.Field) -> float:
    return round(field.duration_seconds(minimum=0.001, maximum=600, stand_in=0.05) * 1_000, 6)
