"""The key `steps:` of a strategy: shadows, cohorts, shares of all users, and people."""

from __future__ import annotations

import re
from collections.abc import Sequence

from softlaunch.config import fields, keys, problems, yaml_tree
from softlaunch.core import spec, units
from softlaunch.core.rollout import plan

DURATION_SECONDS_MAX = 90 * 86_400.0
"""Three months; a guess at where a typing mistake begins."""
_COUNT_MAX = 100
_EXAMPLE = "[1%, 5%, 25%, 100%]"
_APPROVER = re.compile(r"[^\s,]{1,64}")
_APPROVER_COUNT_MAX = 50
_SENTENCE_RISE = "Steps must rise: each gives the candidate more traffic than the one before."


def read(field: fields.Field, cohorts: Sequence[str], default: tuple[spec.StepSpec, ...]) -> tuple[spec.StepSpec, ...]:
    """The steps, or `default` when none could be read; `cohorts` are the names that are defined."""
    items = list(field.items("a list of percents", example=_EXAMPLE))
    if len(items) > _COUNT_MAX:
        field.wrong(f"There are {len(items)} steps, more than {_COUNT_MAX}.", f"For example: {_EXAMPLE}")
        return default
    found: list[spec.StepSpec] = []
    complete = True
    for item in items:
        step = _step(item, cohorts)
        if step is None:
            complete = False
            continue
        complete = _rises(item, step, found) and complete
        found.append(step)
    if complete and found and (found[-1].kind is not spec.StepKind.SHARE or found[-1].weight != spec.WEIGHT_FULL):
        items[-1].wrong(f"The last step is {plan.describe_step(found[-1])}.", "It must be 100%: add it.")
    return tuple(found) if any(step.kind is spec.StepKind.SHARE for step in found) else default


def check_holdback(field: fields.Field, found: spec.StrategySpec) -> None:
    """Writes down a share before the last one that the holdback leaves nothing to rise to."""
    if not isinstance(field.node, yaml_tree.Sequence) or len(found.weights) < 2:
        return
    kept = plan.holdback_weight(found)
    left = spec.WEIGHT_FULL - kept
    before_last = found.weights[-2]
    if kept and left <= before_last < spec.WEIGHT_FULL:
        field.wrong(
            f"The step {units.format_weight(before_last)} leaves nothing to rise to: the holdback of "
            f"{units.format_weight(kept)} ends the last step at {units.format_weight(left)}.",
            "Remove that step, or lower `holdback`.",
        )


def _rises(item: fields.Field, step: spec.StepSpec, before: list[spec.StepSpec]) -> bool:
    if step.kind not in {spec.StepKind.SHARE, spec.StepKind.COHORT}:
        return True
    same = [found for found in before if (found.kind, found.cohort) == (step.kind, step.cohort)]
    if not same or step.weight > same[-1].weight:
        return True
    whom = f" of {step.cohort}" if step.cohort else ""
    item.wrong(
        f"{units.format_weight(step.weight)}{whom} is not above {units.format_weight(same[-1].weight)}.",
        _SENTENCE_RISE,
    )
    return False


def _step(item: fields.Field, cohorts: Sequence[str]) -> spec.StepSpec | None:
    if isinstance(item.node, yaml_tree.Mapping):
        return _written_out(item, cohorts)
    match item.scalar:
        case "approval":
            return spec.StepSpec(kind=spec.StepKind.APPROVAL)
        case "shadow":
            item.wrong("A shadow needs its share.", "For example: {shadow: 10%}")
            return None
        case "pause":
            item.wrong("'pause' is no step.", "Write approval to wait for a person, or {share: 5%, for: 10m}.")
            return None
        case str(name) if name in cohorts:
            item.wrong(f"'{name}' is a cohort.", f"Write {{cohort: {name}}}.")
            return None
    weight = item.weight()
    return spec.StepSpec(weight=weight) if weight is not None else None


def _written_out(item: fields.Field, cohorts: Sequence[str]) -> spec.StepSpec | None:
    section = fields.Section(item, keys.STEP)
    names = ("cohort", "shadow", "approval") if section.has("cohort") else ("share", "cohort", "shadow", "approval")
    chosen = section.one_of(*names)
    value = section.get(chosen) if chosen is not None else None
    lasting, attempts = section.get("for"), section.get("attempts")
    seconds = (
        lasting.duration_seconds(minimum=0, maximum=DURATION_SECONDS_MAX, stand_in=600) if lasting is not None else 0.0
    )
    count = attempts.integer(minimum=1, maximum=1_000_000, stand_in=200) if attempts is not None else None
    if value is None:
        return None
    if chosen == "approval":
        for extra in (lasting, attempts):
            if extra is not None:
                extra.wrong("An approval waits for a person and for nothing else.", "Write this on the step before.")
        return spec.StepSpec(kind=spec.StepKind.APPROVAL, approvers=_approvers(value))
    if chosen == "cohort":
        share = section.get("share")
        weight = share.weight() if share is not None else plan.COHORT_WEIGHT
        cohort = _cohort(value, cohorts)
        if weight is None or not cohort:
            return None
        return spec.StepSpec(
            kind=spec.StepKind.COHORT, cohort=cohort, weight=weight, duration_seconds=seconds, attempts_min=count
        )
    kind = spec.StepKind.SHADOW if chosen == "shadow" else spec.StepKind.SHARE
    weight = value.weight()
    if weight is None:
        return None
    return spec.StepSpec(kind=kind, weight=weight, duration_seconds=seconds, attempts_min=count)


def _cohort(field: fields.Field, cohorts: Sequence[str]) -> str:
    name = field.text("the name of a cohort", example="internal")
    if name and name not in cohorts:
        remedy = (
            problems.choose(name, cohorts)
            if cohorts
            else f"Add cohorts: {{{problems.show(name)}: {{header: x-employee}}}}"
        )
        field.wrong(f"There is no cohort '{problems.show(name)}'.", remedy)
    return name


def _approvers(field: fields.Field) -> tuple[str, ...]:
    found = field.texts("name", example="[ana, bo]", count_max=_APPROVER_COUNT_MAX)
    for name in found:
        if not _APPROVER.fullmatch(name):
            field.wrong(f"'{problems.show(name)}' cannot name a person.", "Use one word, such as ana.")
    return found
