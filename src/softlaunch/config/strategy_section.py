"""The key `strategy:` of an environment. Strategies differ only in their values."""

from __future__ import annotations

import decimal
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.config import fields, guardrails_section, keys, problems, steps_section, yaml_tree
from softlaunch.core import spec, units
from softlaunch.core.rollout import plan

_KINDS = {kind.value: kind for kind in spec.StrategyKind}
_ACCEPTABLE = "A rate of bad answers you can live with, such as 1%."
_DISAGREEMENT = "A rate of differing answers you can live with, such as 5%."
_NOT_RECREATED = {
    "steps": "all users meet the new one at once: it has no steps",
    "holdback": "nothing is left to hold back: the old one has ended",
    "warm": "the old one has ended and cannot stay warm",
}
_HALF = decimal.Decimal(50)


def read(field: fields.Field, cohorts: Sequence[str] = ()) -> spec.StrategySpec | None:
    """
    The strategy: a name, or a mapping of one name to its values; None when it names none that is known.

    Args:
        field: The value of `strategy`.
        cohorts: Names of the environment's cohorts.
    """
    if field.scalar is not None:
        return _by_name(field)
    section = fields.Section(field, keys.STRATEGY)
    chosen = [name for name in keys.names(keys.STRATEGY) if section.has(name)]
    if len(chosen) > 1:
        field.wrong(f"{' and '.join(chosen)} exclude each other.", "Keep one of them.")
    if not chosen:
        if isinstance(field.node, yaml_tree.Mapping) and not field.node.entries:
            field.wrong("There is no strategy.", "For example: {canary: {steps: [1%, 10%, 100%]}}")
        return None
    found = section.get(chosen[0])
    kind = _KINDS[chosen[0]]
    return _values(found, kind, cohorts) if found is not None else plan.strategy(kind)


def _by_name(field: fields.Field) -> spec.StrategySpec | None:
    name = field.scalar or ""
    kind = _KINDS.get(name.replace("-", "_"))
    if kind is not None:
        return plan.strategy(kind)
    field.wrong(f"'{problems.show(name)}' is not a strategy.", problems.choose(name, tuple(_KINDS)))
    return None


def _values(field: fields.Field, kind: spec.StrategyKind, cohorts: Sequence[str]) -> spec.StrategySpec:
    section = fields.Section(field, keys.VALUES)
    default = plan.strategy(kind)
    if kind is spec.StrategyKind.RECREATE:
        _check_recreate(section)
    key, steps, guardrails = section.get("key"), section.get("steps"), section.get("guardrails")
    deciding, checks = guardrails_section.read(guardrails) if guardrails is not None else (default.guardrails, ())
    holdback, attempts = section.get("holdback"), section.get("step_attempts_min")
    margin, tolerance, slo = section.get("margin"), section.get("agreement_tolerance"), section.get("latency_slo")
    on_deadline, on_failure = section.get("on_deadline"), section.get("on_failure")
    holdback_percent = _holdback(holdback) if holdback is not None else None
    found = spec.StrategySpec(
        kind=kind,
        steps=steps_section.read(steps, cohorts, default.steps) if steps is not None else default.steps,
        key_header=key.header() if key is not None else None,
        guardrails=deciding,
        checks=checks,
        step_attempts_min=(
            attempts.integer(minimum=1, maximum=1_000_000, stand_in=50)
            if attempts is not None
            else default.step_attempts_min
        ),
        acceptable_percent=_rate(section.get("acceptable"), default.acceptable_percent, _ACCEPTABLE),
        disagreement_percent_max=_rate(
            section.get("disagreement_max"), default.disagreement_percent_max, _DISAGREEMENT
        ),
        agreement_tolerance=(
            tolerance.number(above=0, at_most=1, stand_in=0.001, or_zero=True)
            if tolerance is not None
            else default.agreement_tolerance
        ),
        margin_ratio=margin.number(above=1, at_most=100, stand_in=2) if margin is not None else default.margin_ratio,
        alpha=_risk(section.get("alpha"), default.alpha),
        beta=_risk(section.get("beta"), default.beta),
        holdback_percent=holdback_percent if holdback_percent is not None else default.holdback_percent,
        watch_seconds=_seconds(section.get("watch"), default.watch_seconds, minimum=0),
        warm_seconds=_seconds(section.get("warm"), default.warm_seconds, minimum=0, example=3_600),
        latency_slo_ms=_milliseconds(slo) if slo is not None else None,
        deadline_seconds=_seconds(section.get("deadline"), default.deadline_seconds, minimum=1),
        on_deadline=(
            on_deadline.choice(spec.DeadlinePolicy, stand_in=default.on_deadline)
            if on_deadline is not None
            else default.on_deadline
        ),
        on_failure=(
            on_failure.choice(spec.FailurePolicy, stand_in=default.on_failure)
            if on_failure is not None
            else default.on_failure
        ),
    )
    if steps is not None:
        steps_section.check_holdback(steps, found)
    return found


def _check_recreate(section: fields.Section) -> None:
    for name, why in _NOT_RECREATED.items():
        found = section.get(name)
        if found is not None and found.scalar not in {"0", "0s", "0%"}:
            found.wrong(f"Of a recreated release {why}.", f"Remove `{name}`, or choose another strategy.")


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


def _rate(field: fields.Field | None, default: float, meaning: str) -> float:
    return default if field is None else field.rate_percent(meaning, at_most=50, stand_in=default)


def _seconds(field: fields.Field | None, default: float, *, minimum: float, example: float | None = None) -> float:
    if field is None:
        return default
    stand_in = default if example is None else example
    return field.duration_seconds(minimum=minimum, maximum=steps_section.DURATION_SECONDS_MAX, stand_in=stand_in)


def _risk(field: fields.Field | None, stand_in: float) -> float:
    return stand_in if field is None else field.number(above=0, at_most=0.5, stand_in=stand_in)


def _milliseconds(field: fields.Field) -> float:
    return round(field.duration_seconds(minimum=0.001, maximum=600, stand_in=0.05) * 1_000, 6)
