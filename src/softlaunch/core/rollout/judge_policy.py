"""
What the judge was told before the rollout: error budgets, guardrails and how their evidence is weighed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from softlaunch import errors
from softlaunch.core import spec

GUARDRAILS = tuple(spec.GuardrailName)
"""Every guardrail of the judge, in the order of its reports."""

_WEIGHTS = {
    spec.GuardrailName.ERRORS: 0.68,
    spec.GuardrailName.CLIENT_ERRORS: 0.06,
    spec.GuardrailName.LATENCY: 0.19,
    spec.GuardrailName.INVALID: 0.07,
    spec.GuardrailName.OUTPUTS: 0.05,
    spec.GuardrailName.DISAGREEMENT: 0.05,
    spec.GuardrailName.SHED: 0.03,
    spec.GuardrailName.CPU: 0.05,
    spec.GuardrailName.MEMORY: 0.10,
    spec.GuardrailName.FEATURES: 0.05,
}
"""
Shares of alpha, before they are divided by the sum of those that enforce. With 0.68, three failed requests at a share
of 10 % still suffice (the e-value is 206), and 1 -> 5 % errors cost 6 % more requests than with all of it. Latency has
its share paid back by the attempts below its median.

The first four sum to 1, so a launch with only them is judged as it was calibrated. The others are small, because most
of them gather evidence with every answer and lose a weight of 0.05 (3 nats) in some tens of attempts more; memory has
one observation per window of requests, each worth at most a factor of 2, and 0.10 costs it four windows. All ten
together leave errors 0.51 of alpha: a candidate that only fails is then found with at most one more failed request.
"""

_EXPRESSION_WEIGHT = 0.03
"""Of each of a team's own expressions that enforces, beside the weights above; a guess."""

RESERVE = 0.03
"""Share of every process kept for differences that begin late. Errors that rise fivefold after 30,000 fair events at a
share of 95 % are found after some 800 further events, and after 4,900 without it; a launch that is bad from the start
pays 3 % of its e-value."""

_ALONE_WEIGHT_HOLDBACK = 0.02
_ALONE_WEIGHT_NO_HOLDBACK = 0.1
"""Share of a guardrail's alpha kept for the time when the candidate has all traffic; a guess: 5 % errors against an
acceptable 1 % take some 210 attempts at 0.1 and 250 at 0.02; the relative test loses 10 % or 2 % of its e-value."""


class Expression(NamedTuple):
    """A team's own guardrail over attempts."""

    name: str
    text: str
    """As expressions.compile_ reads it."""
    enforcing: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgePolicy:
    """
    Rules of one rollout, fixed before it starts.

    Raises:
        InvariantError: a value no parser should have let through.
    """

    alpha: float = 0.01
    """Probability of ever rolling back a release that is not worse, over the whole rollout and all guardrails."""
    beta: float = 0.01
    """Probability of ever passing, per guardrail, a release worse than the margin and above `acceptable_rate`."""
    margin_ratio: float = 2.0
    acceptable_rate: float = 0.01
    enforcing: tuple[spec.GuardrailName, ...] = spec.GUARDRAILS_DEFAULT
    """These decide; the others are reported with all of alpha to themselves and decide nothing."""
    expressions: tuple[Expression, ...] = ()
    """A team's own guardrails, each under a name of its own."""
    disagreement_rate_max: float = 0.05
    """More answers than this that differ from stable's to the same request break the guardrail."""
    latency_slo_ms: float | None = None
    latency_slack_ratio: float = 1.0
    latency_slack_ms: float = 0.0
    """The candidate may be slower by this ratio, and by this much more, before an attempt counts as slow."""
    dedupe_keys: bool = True
    """Compare a user's events only with those of users who have had as many; without a key nobody is known."""
    alone_weight: float = _ALONE_WEIGHT_HOLDBACK
    """Share of the error budget of the absolute alarm, which judges while the candidate has all traffic."""
    rho_prior_attempts: float = 500.0
    """How many attempts the configured share is worth against the observed one."""
    sibling_wait_seconds: float = 10.0
    """How long a hedged attempt waits for its siblings' lines; longer than any request may take."""
    latency_history_min: int = 200
    """Stable latencies needed before thresholds are cut; fewer leave the p95 itself uncertain by half."""

    def __post_init__(self) -> None:
        for name, rate in (
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("acceptable_rate", self.acceptable_rate),
            ("disagreement_rate_max", self.disagreement_rate_max),
        ):
            if not 0.0 < rate < 1.0:
                raise errors.InvariantError(f"the judge's {name} is {rate}, not between 0 and 1.")
        if self.margin_ratio <= 1.0:
            raise errors.InvariantError(f"the judge's margin_ratio is {self.margin_ratio}, not above 1.")
        if self.latency_slack_ratio < 1.0 or self.latency_slack_ms < 0.0:
            raise errors.InvariantError(
                f"latency slack of ratio {self.latency_slack_ratio} and {self.latency_slack_ms} ms tolerates nothing."
            )
        if not 0.0 <= self.alone_weight <= 1.0:
            raise errors.InvariantError(f"the judge's alone_weight is {self.alone_weight}, not between 0 and 1.")
        names = [*GUARDRAILS, *(rule.name for rule in self.expressions)]
        if len(set(names)) != len(names):
            raise errors.InvariantError(f"two guardrails have one name: {', '.join(names)}.")
        if not self.enforcing and not any(rule.enforcing for rule in self.expressions):
            raise errors.InvariantError("a judge without an enforcing guardrail would pass everything.")

    def weight(self, guardrail: str) -> float:
        """The guardrail's share of alpha: 0 when it only observes; the enforcing ones sum to 1."""
        if not self.enforces(guardrail):
            return 0.0
        own_count = sum(rule.enforcing for rule in self.expressions)
        total = sum(_WEIGHTS[name] for name in self.enforcing) + own_count * _EXPRESSION_WEIGHT
        return next((weight for name, weight in _WEIGHTS.items() if name == guardrail), _EXPRESSION_WEIGHT) / total

    def enforces(self, guardrail: str) -> bool:
        """Whether the guardrail decides."""
        return guardrail in self.enforcing or any(
            rule.enforcing and rule.name == guardrail for rule in self.expressions
        )

    def to_json(self) -> dict[str, Any]:
        """A small JSON object; `from_json` makes an equal policy of it."""
        document = dataclasses.asdict(self)
        document["enforcing"] = [str(name) for name in self.enforcing]
        document["expressions"] = [list(rule) for rule in self.expressions]
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> JudgePolicy:
        """The policy `to_json` wrote."""
        names = tuple(spec.GuardrailName(name) for name in document["enforcing"])
        rules = tuple(Expression(*rule) for rule in document.get("expressions", ()))  # later than the rest
        return cls(**{**document, "enforcing": names, "expressions": rules})


def of_strategy(
    strategy: spec.StrategySpec,
    *,
    has_stable: bool = True,
    request_timeout_seconds: float = 5.0,
    latency_slack_ratio: float = 1.0,
    latency_slack_ms: float = 0.0,
) -> JudgePolicy:
    """
    The policy a strategy asks for.

    Args:
        strategy: From softlaunch.yaml.
        has_stable: False for the first release of an environment: the absolute tests get all of alpha.
        request_timeout_seconds: No line of a request is written later than this after its start.
        latency_slack_ratio: The candidate may be slower by this ratio.
        latency_slack_ms: And by this much more.
    """
    if not has_stable:
        alone_weight = 1.0
    elif strategy.holdback_percent > 0.0:
        alone_weight = _ALONE_WEIGHT_HOLDBACK
    else:
        alone_weight = _ALONE_WEIGHT_NO_HOLDBACK
    return JudgePolicy(
        alpha=strategy.alpha,
        beta=strategy.beta,
        margin_ratio=strategy.margin_ratio,
        acceptable_rate=strategy.acceptable_percent / 100.0,
        enforcing=tuple(name for name in GUARDRAILS if name in strategy.guardrails),
        expressions=tuple(
            Expression(check.name, check.target, check.enforcing)
            for check in strategy.checks
            if check.kind is spec.CheckKind.EXPRESSION
        ),
        disagreement_rate_max=min(0.99, max(1e-4, strategy.disagreement_percent_max / 100.0)),
        latency_slo_ms=strategy.latency_slo_ms,
        latency_slack_ratio=latency_slack_ratio,
        latency_slack_ms=latency_slack_ms,
        alone_weight=alone_weight,
        sibling_wait_seconds=request_timeout_seconds + 5.0,
    )
