"""
Evidence of the guardrails on values, latency and CPU time: is the candidate slower, does it cost more?

Thresholds are stable's p50, p75, p90, p95, p99 and the service's objective (SLO), fixed before the first attempt they
judge: from stable's history, or cut from its first attempts in this rollout, of which then only later ones are judged.
An attempt above a threshold is an event there, and each threshold has its own process; the evidence is their weighted
mean, so a shift of everything is seen at the median and a slow tail at the p99.

Tolerance. With a slack, stable's event is `latency > q` and the candidate's is `latency > q * ratio + ms`. "The
candidate is no slower than stable made slower by the slack" means P(candidate's event) <= P(stable's event) at every
threshold, which is all the test needs.

No user is dropped after a first slow attempt, unlike with failures: at the median half of all attempts are events,
every user would leave at once, and nothing could be seen of a slowdown that came later. The price: if few users make
most of the traffic and theirs are the slow requests, the arms differ by who is in them.

At p50 and p75 attempts below the threshold are evidence too (relative.ExceedanceProcess). So that this costs less than
a microsecond an attempt, attempts are gathered into blocks of at most 16, all judged at the share rho that was known
before the first of them; an attempt above the p95 ends its block at once.

Promotion asks at the p95: "are attempts slower than stable's p95 at least `margin` times as frequent on the candidate?"
At the median nothing can double sensibly, and at the p99 the answer takes five times as many attempts (about 300 events
are needed: at the p95 some 600 candidate attempts at a share of 10 %, 1,400 at 50 %).

Where the size of the input is known, thresholds and rho are those of its size class (judge_sizes.py).
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Any

from softlaunch.core.rollout import evidence, judge_policy, judge_sizes
from softlaunch.core.stats import absolute, quantiles, relative

_WEIGHTS = (0.15, 0.05, 0.03, 0.12, 0.65)
"""Of each threshold's evidence in the mean. The median sees a shift of everything much sooner than the p99 sees a slow
tail, so the tail gets what the median can spare."""

_SLO_WEIGHT = 0.25
"""Of the SLO's evidence beside theirs; a guess."""

_P95 = 3
"""Index of the threshold promotion asks about."""

_TWO_SIDED_COUNT = 2
"""At p50 and p75; further up, attempts below the threshold say less than a tenth."""

_BLOCK_MAX = 16
"""Attempts judged at once: the median then says what it has to say at most 16 attempts late."""

_GRIDS = (
    (1.1, 1.3, 1.7),
    (1.2, 1.5, 2.2),
    (1.3, 2.0, 5.0),
    (1.4, 2.2, 5.0),
    (2.5, 7.0, 25.0),
)
"""Ratios bet on: an exceedance of the p50 can become at most 2 times as frequent, one of the p99 100 times, and a
candidate that slow everywhere is seen at the median. Three each: every further bet takes a share from the others."""


class ValueEvidence:
    """
    The evidence of a guardrail on a value in microseconds.

    Args:
        policy: Margin, and how much history is needed.
        rules: Slack and SLO.
        history: Stable's values before the rollout; None or too short: thresholds are cut during it.
        histories: The same per size class.
    """

    def __init__(
        self,
        *,
        policy: judge_policy.JudgePolicy,
        rules: judge_sizes.Rules,
        history: quantiles.LatencyHistogram | None,
        histories: Mapping[int, quantiles.LatencyHistogram] | None = None,
    ) -> None:
        self._slack = (rules.slack_ratio, rules.slack_us)
        self._sizes = judge_sizes.SizeClasses(
            needed=policy.latency_history_min, slack_ratio=rules.slack_ratio, slack_us=rules.slack_us
        )
        self._sizes.learn(histories or {})
        self._history_needed = policy.latency_history_min
        self._slo_us = rules.slo_us
        self._seen: quantiles.LatencyHistogram | None = quantiles.LatencyHistogram()
        self._limits = judge_sizes.Limits([], [])
        self._processes: list[relative.ExceedanceProcess] = []
        self._block = judge_sizes.Block(epoch=0, rho_low=0.0, rho_high=0.0)
        self._mirror = relative.MirrorProcess(margin_ratio=policy.margin_ratio)
        self._slo_process = relative.RelativeProcess(reserve=judge_policy.RESERVE)
        tail = 1.0 - judge_sizes.QUANTILES[_P95]
        self._alone_rate = min(0.5, policy.margin_ratio * tail)
        self._alone_above = absolute.above(self._alone_rate)
        self._alone_below = absolute.below(self._alone_rate)
        self._slo_above = absolute.above(policy.acceptable_rate)
        self._slo_below = absolute.below(policy.acceptable_rate)
        self.relative_e = 1.0
        self.alone_e = 1.0
        self.trials_stable = 0
        """Attempts judged, so none before the thresholds were there."""
        self.trials_candidate = 0
        self.events_stable = 0
        """Attempts above the p95; above the SLO while there is no p95."""
        self.events_candidate = 0
        self.slo_trials = 0
        self.slo_events = 0
        self.alone_trials = 0
        self.alone_events = 0
        self.alone_slo_trials = 0
        self.alone_slo_events = 0
        if history is not None and history.count >= self._history_needed:
            self._cut(history)
        self._weigh()

    def _cut(self, history: quantiles.LatencyHistogram) -> None:
        self._limits = self._sizes.cut(history)
        self._build()
        self._seen = None
        self._weigh()

    def _build(self) -> None:
        self._processes = [
            relative.ExceedanceProcess(
                tail=1.0 - probability, grid=grid, two_sided=index < _TWO_SIDED_COUNT, reserve=judge_policy.RESERVE
            )
            for index, (probability, grid) in enumerate(zip(judge_sizes.QUANTILES, _GRIDS, strict=True))
        ]

    def observe(
        self,
        epoch_number: int,
        shares: evidence.RoutingEpoch | evidence.Share,
        from_candidate: bool,  # noqa: FBT001  # an observation, not an option
        value_us: float,
        size: int = judge_sizes.UNSIZED,
    ) -> None:
        """
        Take one attempt into account that happened while both arms had traffic.

        Args:
            epoch_number: The population it was routed in.
            shares: Who makes values there, without this attempt; what an attempt without a size is judged by.
            from_candidate: Which arm it came from.
            value_us: Infinite for a try that was given up.
            size: Its size class.
        """
        if size == judge_sizes.UNSIZED:
            self._observe(epoch_number, shares, from_candidate, value_us, size)
            return
        share = self._sizes.share(epoch_number, shares, size)
        self._observe(epoch_number, share, from_candidate, value_us, size)
        share.count(from_candidate)
        if not from_candidate and math.isfinite(value_us):
            self._sizes.add(size, value_us)

    def _observe(
        self,
        epoch_number: int,
        shares: evidence.RoutingEpoch | evidence.Share,
        from_candidate: bool,  # noqa: FBT001  # an observation, not an option
        value_us: float,
        size: int,
    ) -> None:
        if self._slo_us is not None:
            self._observe_slo(shares, from_candidate, value_us, self._slo_us)
        if self._seen is not None:
            if not from_candidate and math.isfinite(value_us):
                self._seen.add(value_us)
                if self._seen.count >= self._history_needed:
                    self._cut(self._seen)
            return
        unsized = size == judge_sizes.UNSIZED
        block = self._block if unsized else self._sizes.blocks.get(size, judge_sizes.EMPTY_BLOCK)
        if block.epoch != epoch_number or not block.count:
            if block.count:
                self._judge_block(block, size)
            rho_low, rho_high = shares.rho_values()
            block = judge_sizes.Block(epoch=epoch_number, rho_low=rho_low, rho_high=rho_high)
            self._put(block, size)
        limits = self._limits if unsized else self._sizes.limits(size) or self._limits
        block.count += 1
        if from_candidate:
            exceeded_count = bisect.bisect_left(limits.candidate, value_us)
            self.trials_candidate += 1
            block.candidate[exceeded_count] += 1
        else:
            exceeded_count = bisect.bisect_left(limits.stable, value_us)
            self.trials_stable += 1
        block.both[exceeded_count] += 1
        if exceeded_count > _P95:
            self._mirror.update(from_candidate, shares.rho_values()[0])
            if from_candidate:
                self.events_candidate += 1
            else:
                self.events_stable += 1
            self._judge_block(block, size)
        elif block.count >= _BLOCK_MAX:
            self._judge_block(block, size)

    def _put(self, block: judge_sizes.Block, size: int) -> None:
        if size == judge_sizes.UNSIZED:
            self._block = block
        else:
            self._sizes.blocks[size] = block

    def _judge_block(self, block: judge_sizes.Block, size: int) -> None:
        under_candidate = under = 0
        candidate_count = sum(block.candidate)
        for process, candidate, both in zip(self._processes, block.candidate, block.both, strict=False):
            under_candidate += candidate
            under += both
            process.update(
                relative.ArmCounts(candidate_count - under_candidate, block.count - under, under_candidate, under),
                rho_low=block.rho_low,
                rho_high=block.rho_high,
            )
        self._put(judge_sizes.Block(epoch=block.epoch, rho_low=0.0, rho_high=0.0), size)
        self._weigh()

    def _observe_slo(
        self,
        shares: evidence.RoutingEpoch | evidence.Share,
        from_candidate: bool,  # noqa: FBT001  # an observation, not an option
        value_us: float,
        limit_us: float,
    ) -> None:
        if from_candidate:
            self.slo_trials += 1
            self.slo_events += value_us > limit_us
            limit_us = limit_us * self._slack[0] + self._slack[1]
        if value_us > limit_us:
            self._slo_process.update(from_candidate, shares.rho_values()[1])
            self._weigh()

    def _weigh(self) -> None:
        total = 1.0
        if self._seen is None:
            total = sum(weight * process.e for weight, process in zip(_WEIGHTS, self._processes, strict=True))
        if self._slo_us is not None:
            total = (1.0 - _SLO_WEIGHT) * total + _SLO_WEIGHT * self._slo_process.e
        self.relative_e = total

    def observe_alone(self, value_us: float, size: int = judge_sizes.UNSIZED) -> None:
        """Take one attempt into account that happened while the candidate had all traffic."""
        rose = False
        if self._slo_us is not None:
            self.slo_trials += 1
            self.alone_slo_trials += 1
            if value_us > self._slo_us:
                self.slo_events += 1
                self.alone_slo_events += 1
                rose = True
        if self._seen is None:
            self.trials_candidate += 1
            self.alone_trials += 1
            if value_us > (self._sizes.limits(size) or self._limits).candidate[_P95]:
                self.events_candidate += 1
                self.alone_events += 1
                rose = True
        if rose:
            self.alone_e = relative.exp_capped(self.log_e_alone)

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "slower than stable"."""
        return math.log(self.relative_e) if self.relative_e > 0.0 else -math.inf

    @property
    def log_e_alone(self) -> float:
        """Logarithm of the evidence for "slower than the SLO or twice stable's recorded tail, while alone"."""
        terms = []
        if self._slo_us is not None:
            terms.append(self._slo_above.log_e(bad=self.alone_slo_events, count=self.alone_slo_trials))
        if self._seen is None:
            terms.append(self._alone_above.log_e(bad=self.alone_events, count=self.alone_trials))
        if not terms:
            return 0.0
        return absolute.log_sum_exp([term - math.log(len(terms)) for term in terms])

    def promotion(self) -> evidence.Promotion:
        """
        The evidence for "within the SLO, or its slow tail is not the margin larger than stable's".

        Larger than it is on stable now, or than it was recorded before the rollout: a record taken on a busy day leaves
        neither arm anything above its p95, and a comparison without events would never end.
        """
        absolute_parts = []
        relative_parts = []
        if self._slo_us is not None:
            absolute_parts.append((3.0, self._slo_below.log_e(bad=self.slo_events, count=self.slo_trials)))
        if self._seen is None:
            absolute_parts.append(
                (1.0, self._alone_below.log_e(bad=self.events_candidate, count=self.trials_candidate))
            )
            relative_parts.append((3.0, self._mirror.log_e))
        return evidence.Promotion.mean(absolute_parts=absolute_parts, relative_parts=relative_parts)

    @property
    def can_judge(self) -> bool:
        """Whether there is anything to hold latencies against: thresholds of stable's, or an SLO."""
        return self._seen is None or self._slo_us is not None

    @property
    def trials(self) -> tuple[int, int]:
        """Attempts judged, of the candidate and of stable."""
        return (self.trials_candidate, self.trials_stable) if self._seen is None else (self.slo_trials, 0)

    @property
    def events(self) -> tuple[int, int]:
        """Slow attempts, of the candidate and of stable."""
        return (self.events_candidate, self.events_stable) if self._seen is None else (self.slo_events, 0)

    @property
    def subject(self) -> str:
        """What the slow attempts were slower than, or what they exceeded."""
        if self._seen is None:
            return f"stable's p95 of {self._limits.stable[_P95] / 1_000.0:,.3g} ms"
        if self._slo_us is not None:
            return f"the SLO of {self._slo_us / 1_000.0:,.3g} ms"
        return f"stable's p95 ({self._seen.count} of {self._history_needed} stable attempts seen that it needs)"

    _COUNTS = (
        "trials_stable",
        "trials_candidate",
        "events_stable",
        "events_candidate",
        "slo_trials",
        "slo_events",
        "alone_trials",
        "alone_events",
        "alone_slo_trials",
        "alone_slo_events",
    )

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "seen": None if self._seen is None else self._seen.to_json(),
            "limits": list(self._limits),
            "processes": [process.state() for process in self._processes],
            "block": self._block.state(),
            "sizes": self._sizes.state(),
            "slo_process": self._slo_process.state(),
            "mirror": self._mirror.state(),
            "alone_e": self.alone_e,
            "counts": {name: getattr(self, name) for name in self._COUNTS},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._seen = None if state["seen"] is None else quantiles.LatencyHistogram.from_json(state["seen"])
        self._limits = judge_sizes.Limits(*([float(limit) for limit in limits] for limits in state["limits"]))
        if "sizes" in state:  # later than the rest
            self._sizes.load(state["sizes"])
        if self._seen is None:
            self._build()
            for process, saved in zip(self._processes, state["processes"], strict=True):
                process.load(saved)
        self._block = judge_sizes.Block.load(state["block"])
        self._slo_process.load(state["slo_process"])
        self._mirror.load(state["mirror"])
        self.alone_e = float(state["alone_e"])
        for name in self._COUNTS:
            setattr(self, name, int(state["counts"][name]))
        self._weigh()
