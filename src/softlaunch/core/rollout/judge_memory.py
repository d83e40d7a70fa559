"""
Evidence of the guardrail on memory: does a process of the candidate grow where stable's did not?

A process is looked at in windows of 250 requests it has answered. A window's growth is the least memory in it less the
least in the window before, so a peak is no growth. The k-th window of a candidate process is held against what stable's
processes grew in theirs (and in the windows beside it), as recorded or seen now: at equal request counts a cache that
fills or a first batch that allocates is the same on both sides. The first window has no growth.

"Grew more than `margin_ratio` times the most that stable did, and 512 KiB" happens to an equal process less than every
second time, by exchange; so each window is a bet at rho 1/2, and a leak is found within some ten windows. Windows of
one process are not independent (one process may have met the larger requests), which is what the margin and the slack
are for. A process that starts again starts again with its first window.

An out-of-memory kill is an event of a second process, compared with stable's kills at rho 1/2 or the candidate's share,
whichever is larger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlaunch.core.rollout import evidence, judge_policy, judge_streams
from softlaunch.core.stats import absolute, relative

WINDOW_REQUESTS = 250
_SAMPLES_MIN = 5
"""Fewer answers in a window say too little about its least memory."""

_SLACK_KIB = 512
"""2 MiB per 1,000 requests: a guess. A slower leak takes 500,000 requests to a GiB, and allocators
grow in such steps."""

_INDEX_MAX = 63
"""Later windows are compared with each other: after 16,000 requests a process has warmed up. A guess."""

_KEPT_MAX = 8
_PROCESSES_MAX = 64
_KILL_WEIGHT = 0.3

_RESERVE = 0.3
_RESTART_WINDOWS = 10
"""A leak behind a cache that fills shows only when it is full: so much more is kept for it, and bet so often. Both are
guesses; a leak from the start costs half a window more."""


class GrowthRecord:
    """What stable's processes grew in their k-th windows, in KiB; the newest few of each."""

    __slots__ = ("_growth",)

    def __init__(self) -> None:
        self._growth: dict[int, list[int]] = {}

    def add(self, index: int, growth_kib: int) -> None:
        """Keep the growth in a window."""
        kept = self._growth.setdefault(min(index, _INDEX_MAX), [])
        kept.append(growth_kib)
        del kept[:-_KEPT_MAX]

    def most(self, index: int) -> int | None:
        """The most that any process grew in this window or one beside it; None when none was seen in this one."""
        index = min(index, _INDEX_MAX)
        if index not in self._growth:
            return None
        beside = (self._growth.get(index + step, []) for step in (-1, 0, 1))
        return max(0, *(growth for kept in beside for growth in kept))

    def to_json(self) -> list[Any]:
        """A small JSON list; `from_json` makes an equal record of it."""
        return [[index, kept] for index, kept in sorted(self._growth.items())]

    @classmethod
    def from_json(cls, document: list[Any]) -> GrowthRecord:
        """The record `to_json` wrote."""
        record = cls()
        record._growth = {int(index): [int(growth) for growth in kept] for index, kept in document}
        return record


class MemoryWindows:
    """Cuts the answers of processes into windows."""

    __slots__ = ("_processes",)

    def __init__(self) -> None:
        # Of each process: window, least memory, answers in it, and the least of the window before (-1: not known).
        self._processes: dict[str, list[int]] = {}

    def observe(self, replica: str, served_count: int, memory_kib: int) -> tuple[int, int] | None:
        """
        Take one answer into account.

        Returns:
            Index and growth of the window that it closes; None when it closes none that can be judged.
        """
        index = served_count // WINDOW_REQUESTS
        found = self._processes.get(replica)
        if found is None or index < found[0] - 1 or (index < found[0] and served_count < _SAMPLES_MIN):
            self._begin(replica, index, memory_kib)
            return None
        if index < found[0]:
            return None  # a slow answer of the window before
        if index == found[0]:
            found[1] = min(found[1], memory_kib)
            found[2] += 1
            return None
        closed, least, count, before = found
        enough = count >= _SAMPLES_MIN
        known = least if enough and index == closed + 1 else -1
        self._processes[replica] = [index, memory_kib, 1, known]
        return (closed, least - before) if enough and before >= 0 else None

    def _begin(self, replica: str, index: int, memory_kib: int) -> None:
        self._processes.pop(replica, None)
        if len(self._processes) >= _PROCESSES_MAX:
            del self._processes[next(iter(self._processes))]
        self._processes[replica] = [index, memory_kib, 1, -1]

    def state(self) -> list[Any]:
        """A JSON-able list; `load` goes on from it."""
        return [[replica, *found] for replica, found in self._processes.items()]

    def load(self, state: list[Any]) -> None:
        """Go on from `state()`."""
        self._processes = {str(replica): [int(value) for value in found] for replica, *found in state}


class MemoryEvidence(judge_streams.Stream):
    """
    The evidence of the guardrail.

    Args:
        policy: Rules.
        history: What stable's processes grew before the rollout; None: only what they do during it.
    """

    relative_only = True

    def __init__(self, *, policy: judge_policy.JudgePolicy, history: GrowthRecord | None) -> None:
        super().__init__()
        self._margin_ratio = policy.margin_ratio
        self._record = GrowthRecord.from_json(history.to_json()) if history else GrowthRecord()
        self._windows = MemoryWindows()
        self._growth = relative.RelativeProcess(reserve=_RESERVE, restart_every=_RESTART_WINDOWS)
        self._kills = relative.RelativeProcess(reserve=judge_policy.RESERVE)
        self._mirror = relative.MirrorProcess(margin_ratio=policy.margin_ratio)
        self._trials = [0, 0]
        self._events = 0
        self._kill_counts = [0, 0]

    def observe(self, *, from_candidate: bool, replica: str, served_count: int, memory_kib: int) -> None:
        """Take one answer into account."""
        closed = self._windows.observe(replica, served_count, memory_kib)
        if closed is None:
            return
        index, growth = closed
        if not from_candidate:
            self._record.add(index, growth)
            self._trials[1] += 1
            return
        most = self._record.most(index)
        if most is None:
            return
        grew = growth > self._margin_ratio * most + _SLACK_KIB
        self._trials[0] += 1
        self._events += grew
        self._growth.update(grew, 0.5)
        self._mirror.update(grew, 0.5)
        self._weigh()

    def kill(self, *, from_candidate: bool, rho: float) -> None:
        """Take an out-of-memory kill into account."""
        self._kill_counts[not from_candidate] += 1
        self._kills.update(from_candidate, max(0.5, rho))
        self._weigh()

    def _weigh(self) -> None:
        self.relative_e = (1.0 - _KILL_WEIGHT) * self._growth.e + _KILL_WEIGHT * self._kills.e

    @property
    def log_e_relative(self) -> float:
        """Logarithm of the evidence for "grows, or is killed, more than stable"."""
        weights = (1.0 - _KILL_WEIGHT, _KILL_WEIGHT)
        parts = (self._growth, self._kills)
        return absolute.log_mean([(weight, part.log_e) for weight, part in zip(weights, parts, strict=True)])

    @property
    def trials(self) -> tuple[int, int]:
        """Windows judged of the candidate, and learned from of stable."""
        return self._trials[0], self._trials[1]

    @property
    def events(self) -> tuple[int, int]:
        """Windows that grew and kills, of the candidate; kills of stable."""
        return self._events + self._kill_counts[0], self._kill_counts[1]

    @property
    def verb(self) -> str:
        """What an event did."""
        killed = f" (or were killed: {self._kill_counts[0]})" if self._kill_counts[0] else ""
        return f"of {WINDOW_REQUESTS} requests grew more than stable's and {_SLACK_KIB} KiB{killed}"

    def promotion(self) -> evidence.Promotion:
        """The evidence for "does not grow": windows that did not, against two of three that do."""
        return evidence.Promotion(log_e=self._mirror.log_e, absolute=False)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "record": self._record.to_json(),
            "windows": self._windows.state(),
            "growth": self._growth.state(),
            "kills": self._kills.state(),
            "mirror": self._mirror.state(),
            "counts": [*self._trials, self._events, *self._kill_counts],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._record = GrowthRecord.from_json(state["record"])
        self._windows.load(state["windows"])
        self._growth.load(state["growth"])
        self._kills.load(state["kills"])
        self._mirror.load(state["mirror"])
        counts = [int(count) for count in state["counts"]]
        self._trials, self._events, self._kill_counts = counts[:2], counts[2], counts[3:]
        self._weigh()
