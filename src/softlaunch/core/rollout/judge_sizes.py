"""
Values of attempts by the size of their input: thresholds, shares and blocks of attempts per size class.

A candidate that happens to meet longer inputs is slower without being worse. So an attempt whose input size is known is
held against stable's quantiles for inputs of that size, and rho is the candidate's share of attempts of that size. The
processes stay common: whatever class an attempt is in, equal arms make its bet fair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from softlaunch.core.rollout import evidence, judge_policy
from softlaunch.core.stats import quantiles

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)

UNSIZED = -1
_CLASS_MAX = 14
"""4^13 bytes are 64 MiB: everything above is one class."""

_PRIOR = 100.0
"""Attempts the configured share is worth in a size class, where it is often wrong: users are drawn by it, not sizes. A
guess between the 500 of an epoch and nothing."""


def size_class(input_bytes: int | None) -> int:
    """The class of an input: powers of 4; UNSIZED when the size is not known."""
    if input_bytes is None:
        return UNSIZED
    return min(_CLASS_MAX, (max(input_bytes, 1).bit_length() + 1) // 2)


class Limits(NamedTuple):
    """What is exceeded, per quantile of stable's."""

    stable: list[float]
    candidate: list[float]


class Block:
    """Attempts gathered: how many exceeded exactly so many thresholds."""

    __slots__ = ("both", "candidate", "count", "epoch", "rho_high", "rho_low")

    def __init__(self, *, epoch: int, rho_low: float, rho_high: float) -> None:
        self.epoch = epoch
        self.rho_low = rho_low
        self.rho_high = rho_high
        self.count = 0
        self.candidate = [0] * (len(QUANTILES) + 1)
        self.both = [0] * (len(QUANTILES) + 1)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` makes an equal block of it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Block:
        """The block `state()` described."""
        block = cls(epoch=int(state["epoch"]), rho_low=float(state["rho_low"]), rho_high=float(state["rho_high"]))
        block.count = int(state["count"])
        block.candidate = [int(count) for count in state["candidate"]]
        block.both = [int(count) for count in state["both"]]
        return block


EMPTY_BLOCK = Block(epoch=0, rho_low=0.0, rho_high=0.0)


class SizeClasses:
    """
    What is known per size class.

    Args:
        needed: Stable's values before a class has limits of its own; until then the common ones hold.
        slack_ratio: The candidate may exceed stable's limits by this ratio.
        slack_us: And by this much more.
    """

    __slots__ = ("_limits", "_needed", "_seen", "_shares", "_slack", "blocks")

    def __init__(self, *, needed: int, slack_ratio: float, slack_us: float) -> None:
        self._needed = needed
        self._slack = (slack_ratio, slack_us)
        self._limits: dict[int, Limits] = {}
        self._seen: dict[int, quantiles.LatencyHistogram] = {}
        self._shares: dict[tuple[int, int], evidence.Share] = {}
        self.blocks: dict[int, Block] = {}

    def cut(self, history: quantiles.LatencyHistogram) -> Limits:
        """Limits at stable's quantiles."""
        ratio, more_us = self._slack
        stable = [history.quantile(probability) for probability in QUANTILES]
        return Limits(stable, [limit * ratio + more_us for limit in stable])

    def learn(self, histories: Mapping[int, quantiles.LatencyHistogram]) -> None:
        """Take stable's values from before the rollout."""
        for size, history in histories.items():
            if history.count >= self._needed:
                self._limits[size] = self.cut(history)

    def limits(self, size: int) -> Limits | None:
        """The limits of a class; None while they are not known."""
        return self._limits.get(size)

    def share(self, number: int, shares: evidence.RoutingEpoch | evidence.Share, size: int) -> evidence.Share:
        """The candidate's share of a class in an epoch."""
        found = self._shares.get((number, size))
        if found is None:
            configured = shares.candidate_prior / shares.prior
            prior = min(_PRIOR, shares.prior)
            found = self._shares[number, size] = evidence.Share(share=configured, prior=prior)
        return found

    def add(self, size: int, value_us: float) -> None:
        """Take one of stable's values into account, after it was judged."""
        if size in self._limits:
            return
        seen = self._seen.setdefault(size, quantiles.LatencyHistogram())
        seen.add(value_us)
        if seen.count >= self._needed:
            self._limits[size] = self.cut(seen)
            del self._seen[size]

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "limits": [[size, *limits] for size, limits in self._limits.items()],
            "seen": [[size, seen.to_json()] for size, seen in self._seen.items()],
            "shares": [[*place, share.state()] for place, share in self._shares.items()],
            "blocks": [[size, block.state()] for size, block in self.blocks.items()],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._limits = {
            int(size): Limits([float(limit) for limit in stable], [float(limit) for limit in candidate])
            for size, stable, candidate in state["limits"]
        }
        self._seen = {int(size): quantiles.LatencyHistogram.from_json(seen) for size, seen in state["seen"]}
        self._shares = {(int(number), int(size)): evidence.Share.load(share) for number, size, share in state["shares"]}
        self.blocks = {int(size): Block.load(block) for size, block in state["blocks"]}


class Rules(NamedTuple):
    """What is called too much of a value in microseconds."""

    slo_us: float | None
    slack_ratio: float
    slack_us: float


CPU_RULES = Rules(slo_us=None, slack_ratio=1.25, slack_us=200.0)
"""A quarter and 0.2 ms more are tolerated: a guess. Two processes of one release differ by some per cent for as long as
they live (where their memory lies, which core they share), and no number of attempts averages that away."""


def latency_rules(policy: judge_policy.JudgePolicy) -> Rules:
    """The rules of the latency guardrail."""
    slo_us = None if policy.latency_slo_ms is None else policy.latency_slo_ms * 1_000.0
    return Rules(slo_us, policy.latency_slack_ratio, policy.latency_slack_ms * 1_000.0)
