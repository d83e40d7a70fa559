"""
What the judge says: one line per guardrail, with its counts, its evidence against its threshold, and a sentence.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping

from softlaunch.core import spec
from softlaunch.core.rollout import evidence, judge_policy, messages
from softlaunch.core.stats import absolute

_ODDS_MAX = 1e12
"""Larger odds are written as this: nobody reads on."""


class DecidedBy(enum.StrEnum):
    """Which kind of test stands behind a verdict."""

    RELATIVE = "relative"
    """A comparison of the two arms."""
    ABSOLUTE = "absolute"
    """The candidate alone, against what is acceptable or was recorded of stable."""
    NONE = "none"
    """No verdict yet."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuardrailReport:
    """One guardrail. Logarithms are natural; evidence reaches a threshold, never passes below it."""

    name: str
    """A spec.GuardrailName, or the name of a team's own expression."""
    enforcing: bool
    """False: reported only, or nothing there to judge by (the reason says which)."""
    verdict: messages.Verdict
    decided_by: DecidedBy
    trials_stable: int
    trials_candidate: int
    events_stable: int
    events_candidate: int
    log_e: float
    """Evidence that the candidate is worse."""
    log_threshold: float
    """Enough of it to fail on this guardrail alone."""
    promotion_log_e: float
    promotion_log_threshold: float
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally:
    """How many lines of the attempt log were what."""

    trials_stable: int
    trials_candidate: int
    epoch: int | None
    """The routing decision begun last: the smallest epoch of its populations."""
    epoch_trials_stable: int
    """In all its populations together."""
    epoch_trials_candidate: int
    repeats: int
    """Retries and hedges: neither trials nor events."""
    held: int
    """Hedged attempts waiting for their siblings' lines."""
    shed: int
    censored: int
    ignored: int
    """Lines of other releases, or of an epoch in which nothing is compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeReport:
    verdict: messages.Verdict
    """FAIL for good once the combined evidence reached its threshold; PASS while every enforcing guardrail passes."""
    decided_by: DecidedBy
    guardrail: str | None
    """The one with the largest part in a FAIL; None otherwise."""
    log_e: float
    """Combined evidence that the candidate is worse: the weighted mean over enforcing guardrails."""
    log_threshold: float
    guardrails: tuple[GuardrailReport, ...]
    tally: Tally
    reason: str


class Missing(enum.Enum):
    """What a guardrail lacks to be judged at all."""

    THRESHOLDS = enum.auto()
    """Stable's latencies are not known yet: wait."""
    REPORTS = enum.auto()
    """No attempt said anything about it: it cannot decide in this rollout unless one does."""
    YARDSTICK = enum.auto()
    """There is nothing to compare with and no SLO: the guardrail cannot decide in this rollout."""


def odds(log_e: float) -> str:
    """Evidence as people bet: "1 : 340"; "none" when there is none."""
    if log_e < 0.5:  # below 1 : 1.6 nothing has been said
        return "none"
    value = min(math.exp(min(log_e, 700.0)), _ODDS_MAX)
    return f"1 : {value:,.0f}" if value >= 10 else f"1 : {value:.1f}"


def percent(rate: float) -> str:
    """A rate for people: "1 %", "0.25 %"."""
    return f"{rate * 100:.3g} %"


_THINGS: dict[str, str] = {
    spec.GuardrailName.OUTPUTS: "answers",
    spec.GuardrailName.DISAGREEMENT: "pairs",
    spec.GuardrailName.MEMORY: "windows",
}

_VERBS: dict[str, str] = {
    spec.GuardrailName.ERRORS: "failed",
    spec.GuardrailName.CLIENT_ERRORS: "were refused (4xx)",
    spec.GuardrailName.INVALID: "answered something invalid",
}


def guardrail(
    *,
    name: str,
    policy: judge_policy.JudgePolicy,
    trials: tuple[int, int],
    events: tuple[int, int],
    log_e_relative: float | None,
    log_e_alone: float | None,
    promotion: evidence.Promotion,
    subject: str | None,
    missing: Missing | None,
    verb: str | None = None,
) -> GuardrailReport:
    """
    The report of one guardrail.

    Args:
        name: Which.
        policy: Rules of the rollout.
        trials: Attempts of the candidate and of stable.
        events: Bad ones among them, likewise.
        log_e_relative: Evidence that the candidate is worse than stable; None where nothing is compared.
        log_e_alone: Evidence that it is worse than acceptable; None where there is no such test.
        promotion: Evidence that it may pass.
        subject: What slow attempts were slower than; None for other guardrails.
        missing: Why nothing can be judged; None when it can.
        verb: What an event did; None where the name says it.
    """
    log_threshold = -math.log(policy.alpha * (policy.weight(name) or 1.0))
    promotion_threshold = -math.log(policy.beta)
    log_e, decided_by = _combined(log_e_relative, log_e_alone, policy.alone_weight)
    things = _THINGS.get(name, "attempts")
    happened = _happened(things, verb or _VERBS.get(name) or f"were slower than {subject}", events, trials)
    if missing is not None:
        verdict, decided_by = messages.Verdict.INCONCLUSIVE, DecidedBy.NONE
        reason = _MISSING[missing].format(subject=subject or verb)
    elif log_e >= log_threshold:
        verdict = messages.Verdict.FAIL
        reason = f"{happened}: {_WORSE[decided_by]} at odds of {odds(log_e)} ({odds(log_threshold)} was needed)"
    elif trials[0] == 0:
        verdict, decided_by = messages.Verdict.INCONCLUSIVE, DecidedBy.NONE
        reason = f"no candidate {things.removesuffix('s')} was seen, so nothing is known"
    elif promotion.log_e >= promotion_threshold:
        verdict = messages.Verdict.PASS
        decided_by = DecidedBy.ABSOLUTE if promotion.absolute else DecidedBy.RELATIVE
        reason = f"{happened}: {_good(name, decided_by, policy, subject)}"
    else:
        verdict, decided_by = messages.Verdict.INCONCLUSIVE, DecidedBy.NONE
        reason = (
            f"{happened}: evidence for worse {odds(log_e)} of {odds(log_threshold)}, "
            f"for good enough {odds(promotion.log_e)} of {odds(promotion_threshold)}"
        )
    return GuardrailReport(
        name=name,
        enforcing=policy.enforces(name) and missing not in (Missing.YARDSTICK, Missing.REPORTS),
        verdict=verdict,
        decided_by=decided_by,
        trials_candidate=trials[0],
        trials_stable=trials[1],
        events_candidate=events[0],
        events_stable=events[1],
        log_e=log_e,
        log_threshold=log_threshold,
        promotion_log_e=promotion.log_e,
        promotion_log_threshold=promotion_threshold,
        reason=reason,
    )


def summary(
    *,
    guardrails: tuple[GuardrailReport, ...],
    failure: Failure | None,
    log_e: float,
    log_threshold: float,
    tally: Tally,
) -> JudgeReport:
    """The report of the rollout: a FAIL that happened stays, a PASS is as good as its weakest guardrail."""
    deciding = [report for report in guardrails if report.enforcing]
    names = [str(report.name) for report in deciding]
    waiting = [report for report in deciding if report.verdict is not messages.Verdict.PASS]
    decided_by = DecidedBy.NONE
    name = None
    if failure is not None:
        verdict, decided_by, name = messages.Verdict.FAIL, failure.decided_by, failure.guardrail
        reason = failure.reason
    elif deciding and not waiting:
        verdict = messages.Verdict.PASS
        alone = any(report.decided_by is DecidedBy.ABSOLUTE for report in deciding)
        decided_by = DecidedBy.ABSOLUTE if alone else DecidedBy.RELATIVE
        reason = f"Every guardrail passes on {tally.trials_candidate:,} candidate attempts: {', '.join(names)}."
    else:
        verdict = messages.Verdict.INCONCLUSIVE
        reason = "; ".join(f"{report.name}: {report.reason}" for report in waiting) or _NOTHING_DECIDES
    return JudgeReport(
        verdict=verdict,
        decided_by=decided_by,
        guardrail=name,
        log_e=log_e,
        log_threshold=log_threshold,
        guardrails=guardrails,
        tally=tally,
        reason=reason,
    )


def guardrail_name(name: str) -> str:
    """The name as the judge's own GuardrailName where it is one."""
    return spec.GuardrailName(name) if name in tuple(spec.GuardrailName) else name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """The moment the candidate failed."""

    guardrail: str
    decided_by: DecidedBy
    reason: str

    def to_json(self) -> dict[str, str]:
        """A JSON object; `from_json` makes an equal failure of it."""
        return {"guardrail": str(self.guardrail), "decided_by": str(self.decided_by), "reason": self.reason}

    @classmethod
    def from_json(cls, document: Mapping[str, str]) -> Failure:
        """The failure `to_json` wrote."""
        return cls(
            guardrail=guardrail_name(document["guardrail"]),
            decided_by=DecidedBy(document["decided_by"]),
            reason=document["reason"],
        )


_NOTHING_DECIDES = "no enforcing guardrail has anything to judge by"

_MISSING = {
    Missing.THRESHOLDS: "nothing is called slow yet: {subject}",
    Missing.REPORTS: "not judged: nothing was reported that it could judge",
    Missing.YARDSTICK: "not judged: there is no stable release to compare with and no latency SLO is set",
}

_WORSE = {
    DecidedBy.RELATIVE: "worse than stable",
    DecidedBy.ABSOLUTE: "with all traffic on it, worse than acceptable or recorded",
    DecidedBy.NONE: "worse",
}


def _combined(log_e_relative: float | None, log_e_alone: float | None, alone_weight: float) -> tuple[float, DecidedBy]:
    """The weighted mean of both kinds of evidence, and the kind with the larger part in it."""
    if log_e_relative is None:
        return log_e_alone or 0.0, DecidedBy.ABSOLUTE
    if log_e_alone is None:
        return log_e_relative, DecidedBy.RELATIVE
    beside = math.log(1.0 - alone_weight) + log_e_relative if alone_weight < 1.0 else -math.inf
    alone = math.log(alone_weight) + log_e_alone if alone_weight > 0.0 else -math.inf
    decided_by = DecidedBy.ABSOLUTE if alone > beside else DecidedBy.RELATIVE
    return absolute.log_sum_exp([beside, alone]), decided_by


def _good(name: str, decided_by: DecidedBy, policy: judge_policy.JudgePolicy, subject: str | None) -> str:
    if name == spec.GuardrailName.DISAGREEMENT:
        return f"below the tolerated {percent(policy.disagreement_rate_max)}"
    if decided_by is DecidedBy.RELATIVE:
        return f"not {policy.margin_ratio:g} times as often as stable"
    if subject is not None and (name != spec.GuardrailName.LATENCY or policy.latency_slo_ms is None):
        return f"not {policy.margin_ratio:g} times as often as in stable's history"
    return f"below the acceptable {percent(policy.acceptable_rate)}"


def _happened(things: str, verb: str, events: tuple[int, int], trials: tuple[int, int]) -> str:
    said = f"{events[0]:,} of {trials[0]:,} candidate {things} {verb}"
    return f"{said}, {events[1]:,} of {trials[1]:,} on stable" if trials[1] else said
