"""
Evidence of one guardrail whose events are bad answers: errors, client errors, invalid answers.

Three questions are asked of the same events:

* relative: does the candidate make them more often than stable? (rolls back)
* alone: while the candidate had all traffic, was its rate above what is acceptable or recorded? (rolls back)
* promotion: is it either below what is acceptable, or not worse by the margin? (lets pass)

Heavy users. With a sticky key all attempts of a user land on one arm, and one user whose requests always fail would
look like a bad arm. So a user's events are compared only with those of users who have had as many: the second event of
a user is judged at the share rho of attempts by users with exactly one. That is the conditional model of Prentice,
Williams and Peterson (Biometrika 1981) for repeated events. A user who always fails soon is alone in a stratum, where
rho is 1 and nothing can be learned; everybody else goes on counting however long the rollout takes. (Counting first
events only does the first and not the second: after a day of 1 % errors every user has had one.) The alarm without
comparison counts first events only. The absolute bound of promotion counts every event: leaving some out would flatter
the candidate.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softlaunch.core.rollout import judge_keys, judge_policy
from softlaunch.core.stats import absolute, relative

_PROMOTION_WEIGHT_ABSOLUTE = 0.8
"""The rest is for the comparison. 0.8 costs 22 of 532 clean attempts; 0.2 costs the comparison 1.6 of about 7 nats.
Both are evidence against "worse by the margin and above acceptable", so any fixed mean of them is."""


_QUICK = 0.1
"""The second, weaker prior is worth this part of the first: 50 attempts."""

_UNSEEN = 10
"""Attempts of stable imagined beside the seen ones for the lowest share (without a candidate attempt it is 0), and of
the candidate for the highest where nothing was configured (without an attempt it is 1)."""

_NOBODY = (0, 0)


def bracket(prior: float, candidate_prior: float, candidate: int, total: int) -> tuple[float, float]:
    """The candidate's share of `total` trials: at least, and at most (see RoutingEpoch)."""
    likely = (candidate_prior + candidate) / (prior + total)
    quick = (candidate_prior * _QUICK + candidate) / (prior * _QUICK + total)
    seen = candidate / (total + _UNSEEN)
    return (min(seen, likely)), (max(quick, likely))


class Share:
    """
    The candidate's share among trials that are not simply all attempts of an epoch: those with a size, a CPU time, ...

    Args:
        share: As configured.
        prior: How many trials that is worth.
    """

    __slots__ = ("candidate", "candidate_prior", "prior", "total")

    def __init__(self, *, share: float, prior: float) -> None:
        self.prior = prior
        self.candidate_prior = prior * share
        self.candidate = 0
        self.total = 0

    def rho_values(self) -> tuple[float, float]:
        """The share before the next trial: at least, and at most."""
        return bracket(self.prior, self.candidate_prior, self.candidate, self.total)

    def count(self, from_candidate: bool) -> None:  # noqa: FBT001  # an observation, not an option
        """Count a trial, after it was judged."""
        self.total += 1
        self.candidate += from_candidate

    def state(self) -> list[float]:
        """What `load` needs."""
        return [self.prior, self.candidate_prior, self.candidate, self.total]

    @classmethod
    def load(cls, state: Sequence[float]) -> Share:
        """The share `state()` described."""
        found = cls(share=0.0, prior=float(state[0]))
        found.candidate_prior = float(state[1])
        found.candidate, found.total = int(state[2]), int(state[3])
        return found


class Shares:
    """A Share per routing epoch, begun with its first trial: epochs are never compared with each other."""

    __slots__ = ("_shares",)

    def __init__(self) -> None:
        self._shares: dict[int, Share] = {}

    def of(self, number: int, epoch: RoutingEpoch) -> Share:
        """The epoch's share."""
        found = self._shares.get(number)
        if found is None:
            found = self._shares[number] = Share(share=epoch.share, prior=epoch.prior)
        return found

    def state(self) -> list[Any]:
        """A JSON-able list; `load` goes on from it."""
        return [[number, share.state()] for number, share in self._shares.items()]

    def load(self, state: Sequence[Any]) -> None:
        """Go on from `state()`."""
        self._shares = {int(number): Share.load(saved) for number, saved in state}


class RoutingEpoch:
    """
    Counts of first attempts routed under one routing decision: who was at risk, per arm.

    A wrong rho is the one way to fool the test, and what was configured is not always what happens: sticky users are
    not equally busy. So rho is the running observed share, drawn to the configured one by a prior of 500 attempts; and
    because 500 attempts are long when the truth is twice the configured share, it is a bracket. Evidence against the
    candidate is judged at the larger of this and the same with a prior of 50, evidence for it at the smaller of this
    and what was seen. Either costs a few per cent of the attempts to a verdict when the configured share is true.
    """

    __slots__ = (
        "alone",
        "candidate",
        "candidate_left",
        "candidate_prior",
        "latency_candidate",
        "latency_total",
        "left",
        "prior",
        "repeats",
        "share",
        "total",
    )

    def __init__(self, *, share: float, prior: float, alone: bool) -> None:
        self.share = share
        self.prior = prior
        self.candidate_prior = prior * share
        self.alone = alone
        self.candidate = 0
        self.total = 0
        guardrail_count = len(judge_keys.COUNTED)
        self.candidate_left = [0] * guardrail_count
        self.left = [0] * guardrail_count
        self.repeats: list[dict[int, list[int]]] = [{} for _ in range(guardrail_count)]
        """Per guardrail and number of events: attempts of users who have had so many, the candidate's and all."""
        self.latency_candidate = 0
        self.latency_total = 0

    def rho(self, index: int, had: int) -> tuple[float, float]:
        """The candidate's share of attempts by users with `had` events of guardrail `index`: at least, and at most."""
        if not had:
            return bracket(
                self.prior,
                self.candidate_prior,
                self.candidate - self.candidate_left[index],
                self.total - self.left[index],
            )
        candidate, total = self.repeats[index].get(had, _NOBODY)
        # Who has already failed is not drawn by the configured share: nothing is known here but what was seen.
        return candidate / (total + _UNSEEN), (candidate + _UNSEEN) / (total + _UNSEEN)

    def count(self, from_candidate: bool, had: tuple[int, ...]) -> None:  # noqa: FBT001  # an observation
        """Count an attempt of a user with so many events per guardrail."""
        self.total += 1
        self.candidate += from_candidate
        if had is judge_keys.NO_EVENTS:
            return
        for index, number in enumerate(had):
            if number:
                self.left[index] += 1
                self.candidate_left[index] += from_candidate
                if number < judge_keys.STRATA:
                    seen = self.repeats[index].setdefault(number, [0, 0])
                    seen[0] += from_candidate
                    seen[1] += 1

    def rho_values(self) -> tuple[float, float]:
        """The candidate's share of the attempts that have a latency: at least, and at most."""
        return bracket(self.prior, self.candidate_prior, self.latency_candidate, self.latency_total)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` makes an equal epoch of it."""
        state = {name: getattr(self, name) for name in self.__slots__ if name not in ("candidate_prior", "repeats")}
        state["repeats"] = [[[had, *seen] for had, seen in sorted(strata.items())] for strata in self.repeats]
        return state

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> RoutingEpoch:
        """The epoch `state()` described."""
        epoch = cls(share=state["share"], prior=state["prior"], alone=state["alone"])
        for name in ("candidate", "total", "latency_candidate", "latency_total"):
            setattr(epoch, name, int(state[name]))
        epoch.candidate_left = [int(count) for count in state["candidate_left"]]
        epoch.left = [int(count) for count in state["left"]]
        epoch.repeats = [
            {int(had): [int(candidate), int(total)] for had, candidate, total in strata} for strata in state["repeats"]
        ]
        return epoch


def trials(epochs: Iterable[RoutingEpoch]) -> tuple[int, int]:
    """First attempts counted in the epochs, of the candidate and of stable."""
    counts = [(epoch.candidate, epoch.total) for epoch in epochs]
    candidate = sum(count for count, _ in counts)
    return candidate, sum(total for _, total in counts) - candidate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promotion:
    """Evidence that a candidate may pass, and which kind of test has the larger part in it."""

    log_e: float
    absolute: bool

    @classmethod
    def mean(
        cls, *, absolute_parts: Sequence[tuple[float, float]], relative_parts: Sequence[tuple[float, float]]
    ) -> Promotion:
        """The weighted mean of e-values given as (weight, log_e); nothing is known without any."""
        total = sum(weight for weight, _ in (*absolute_parts, *relative_parts))
        if total == 0.0:
            return cls(log_e=0.0, absolute=False)
        alone = absolute.log_sum_exp([math.log(weight / total) + log_e for weight, log_e in absolute_parts])
        beside = absolute.log_sum_exp([math.log(weight / total) + log_e for weight, log_e in relative_parts])
        return cls(log_e=absolute.log_sum_exp([alone, beside]), absolute=alone >= beside)


class CountEvidence:
    """
    The evidence of one guardrail.

    Args:
        acceptable_rate: Promotion without comparison below this.
        alone_rate: The alarm without comparison above this.
        margin_ratio: A candidate this many times worse must not pass.
    """

    __slots__ = (
        "_above",
        "_below",
        "_margin_ratio",
        "_mirror",
        "_relative",
        "alone_count",
        "alone_e",
        "alone_events",
        "alone_rate",
        "events_candidate",
        "events_stable",
        "relative_e",
    )

    def __init__(self, *, acceptable_rate: float, alone_rate: float, margin_ratio: float) -> None:
        self._relative = relative.RelativeProcess(reserve=judge_policy.RESERVE)
        self._mirror = relative.MirrorProcess(margin_ratio=margin_ratio)
        self._below = absolute.below(acceptable_rate)
        self._above = absolute.above(alone_rate)
        self.alone_rate = alone_rate
        self.relative_e = self._relative.e
        self.alone_e = 1.0
        self.alone_count = 0
        """The candidate's attempts at risk while it had all traffic."""
        self.alone_events = 0
        self.events_stable = 0
        """Every event, a user's later ones too."""
        self.events_candidate = 0

    def count_event(self, from_candidate: bool) -> None:  # noqa: FBT001  # an observation, not an option
        """Count an event, whether it is compared or not."""
        if from_candidate:
            self.events_candidate += 1
        else:
            self.events_stable += 1

    def compare(self, from_candidate: bool, rho_low: float, rho_high: float) -> None:  # noqa: FBT001  # an observation
        """Take an event into account that happened while both arms had traffic."""
        self._relative.update(from_candidate, rho_high)
        self._mirror.update(from_candidate, rho_low)
        self.relative_e = self._relative.e

    def alarm(self) -> None:
        """Take an event into account that happened while the candidate had all traffic."""
        self.alone_events += 1
        # Only a bad attempt raises the alarm's evidence, so between them nothing has to be looked at.
        self.alone_e = relative.exp_capped(self._above.log_e(bad=self.alone_events, count=self.alone_count + 1))

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "worse than stable"."""
        return self._relative.log_e

    @property
    def log_e_alone(self) -> float:
        """Logarithm of the evidence for "above the acceptable or recorded rate while alone"."""
        return self._above.log_e(bad=self.alone_events, count=self.alone_count)

    def promotion(self, trials_candidate: int) -> Promotion:
        """The evidence for "good enough or not worse by the margin"."""
        return Promotion.mean(
            absolute_parts=[
                (_PROMOTION_WEIGHT_ABSOLUTE, self._below.log_e(bad=self.events_candidate, count=trials_candidate))
            ],
            relative_parts=[(1.0 - _PROMOTION_WEIGHT_ABSOLUTE, self._mirror.log_e)],
        )

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "relative": self._relative.state(),
            "mirror": self._mirror.state(),
            "alone": [self.alone_count, self.alone_events, self.alone_e],
            "events": [self.events_stable, self.events_candidate],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._relative.load(state["relative"])
        self._mirror.load(state["mirror"])
        self.relative_e = self._relative.e
        alone_count, alone_events, self.alone_e = state["alone"]
        self.alone_count, self.alone_events = int(alone_count), int(alone_events)
        self.events_stable, self.events_candidate = (int(count) for count in state["events"])


def consecutive_events_to_fail(*, rho: float, threshold: float, alone_rate: float | None, limit: int) -> int:
    """How many events of the candidate in a row, and none of stable, reach the threshold; at most `limit`."""
    process = relative.RelativeProcess(reserve=judge_policy.RESERVE)
    alarm = None if alone_rate is None else absolute.above(alone_rate)
    for count in range(1, limit):
        if alarm is None:
            process.update(from_candidate=True, rho=rho)
            reached = process.e
        else:
            reached = relative.exp_capped(alarm.log_e(bad=count, count=count))
        if reached >= threshold:
            return count
    return limit
