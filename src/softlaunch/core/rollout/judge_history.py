"""
What a release did while it was stable: the yardstick of the next rollout.

Thresholds of latency are cut from it before the candidate gets any traffic, and its rates are what a candidate without
anything running beside it is compared with. The controller feeds one from the attempt log, saves it and gives it to the
next Judge; histories of several days add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import first_attempts, judge_memory, judge_sizes
from softlaunch.core.stats import absolute, answers, quantiles

WARM_UP_REQUESTS = 50
"""A process's first answers cost more CPU time (imports, caches): they are not counted. A guess."""

_GUARDRAIL_OF_OUTCOME = {
    attempts.Outcome.ERROR: spec.GuardrailName.ERRORS,
    attempts.Outcome.CLIENT_ERROR: spec.GuardrailName.CLIENT_ERRORS,
    attempts.Outcome.INVALID: spec.GuardrailName.INVALID,
}


class ArmHistory:
    """
    First attempts of one release, counted.

    Args:
        release: First twelve digits of its digest.
        sibling_wait_seconds: As in JudgePolicy.
    """

    def __init__(self, *, release: str, sibling_wait_seconds: float = 10.0) -> None:
        self._firsts = first_attempts.FirstAttempts(
            stable=release, candidate=release, wait_seconds=sibling_wait_seconds
        )
        self.release = release
        self.latency = quantiles.LatencyHistogram()
        self.latency_sizes: dict[int, quantiles.LatencyHistogram] = {}
        """Latencies of attempts with a known input size, by judge_sizes.size_class."""
        self.cpu = quantiles.LatencyHistogram()
        self.cpu_sizes: dict[int, quantiles.LatencyHistogram] = {}
        self.answers = answers.AnswerCounts()
        self.growth = judge_memory.GrowthRecord()
        self._windows = judge_memory.MemoryWindows()
        self.trials = 0
        self.shed = 0
        """Refused for overload; not among the trials."""
        self.events: dict[spec.GuardrailName, int] = dict.fromkeys(_GUARDRAIL_OF_OUTCOME.values(), 0)

    def observe(self, attempt: attempts.Attempt) -> None:
        """Count one line of the attempt log; lines of other releases and retries under the composite do not count."""
        if attempt.release != self.release or attempt.composite:
            return
        if attempt.started_at > self._firsts.due_at:
            for held in self._firsts.overdue(attempt.started_at):
                self._count(held)
        first = self._firsts.admit(attempt)
        if first is not None:
            self._count(first)

    def _count(self, attempt: attempts.Attempt) -> None:
        kind = attempts.outcome(attempt)
        if kind is attempts.Outcome.CENSORED:
            return
        if kind is attempts.Outcome.SHED:
            self.shed += 1
            return
        self.trials += 1
        if kind is attempts.Outcome.OK:
            if attempt.latency_us is not None:
                self.latency.add(attempt.latency_us)
                _add_sized(self.latency_sizes, attempt, attempt.latency_us)
        else:
            self.events[_GUARDRAIL_OF_OUTCOME[kind]] += 1
        self.answers.add(attempt.output)
        served = attempt.served_count
        if attempt.cpu_us is not None and (served is None or served >= WARM_UP_REQUESTS):
            self.cpu.add(attempt.cpu_us)
            _add_sized(self.cpu_sizes, attempt, attempt.cpu_us)
        if attempt.memory_kib is not None and served is not None and attempt.replica:
            closed = self._windows.observe(attempt.replica, served, attempt.memory_kib)
            if closed is not None:
                self.growth.add(*closed)

    def rate_upper(self, guardrail: spec.GuardrailName) -> float | None:
        """Upper end of the 95 % interval of the recorded rate; None when nothing was recorded."""
        if guardrail is spec.GuardrailName.SHED:
            count = self.trials + self.shed
            return absolute.wilson_upper(bad=self.shed, count=count) if count else None
        if self.trials == 0:
            return None
        return absolute.wilson_upper(bad=self.events[guardrail], count=self.trials)

    def to_json(self) -> dict[str, Any]:
        """A small JSON object; `from_json` makes an equal history of it (lines still waiting for siblings are lost)."""
        return {
            "release": self.release,
            "trials": self.trials,
            "events": {str(name): count for name, count in self.events.items()},
            "latency": self.latency.to_json(),
            "latency_sizes": [[size, found.to_json()] for size, found in sorted(self.latency_sizes.items())],
            "cpu": self.cpu.to_json(),
            "cpu_sizes": [[size, found.to_json()] for size, found in sorted(self.cpu_sizes.items())],
            "answers": self.answers.to_json(),
            "growth": self.growth.to_json(),
            "windows": self._windows.state(),
            "shed": self.shed,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ArmHistory:
        """The history `to_json` wrote."""
        history = cls(release=document["release"])
        history.trials = int(document["trials"])
        history.events.update({spec.GuardrailName(name): int(count) for name, count in document["events"].items()})
        history.latency = quantiles.LatencyHistogram.from_json(document["latency"])
        if "cpu" in document:  # later than the rest
            history.latency_sizes = _sized(document["latency_sizes"])
            history.cpu = quantiles.LatencyHistogram.from_json(document["cpu"])
            history.cpu_sizes = _sized(document["cpu_sizes"])
            history.answers = answers.AnswerCounts.from_json(document["answers"])
            history.growth = judge_memory.GrowthRecord.from_json(document["growth"])
            history._windows.load(document["windows"])
            history.shed = int(document["shed"])
        return history


def _add_sized(found: dict[int, quantiles.LatencyHistogram], attempt: attempts.Attempt, value_us: int) -> None:
    size = judge_sizes.size_class(attempt.input_bytes)
    if size != judge_sizes.UNSIZED:
        found.setdefault(size, quantiles.LatencyHistogram()).add(value_us)


def _sized(document: Sequence[Any]) -> dict[int, quantiles.LatencyHistogram]:
    return {int(size): quantiles.LatencyHistogram.from_json(found) for size, found in document}
