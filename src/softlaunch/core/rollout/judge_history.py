"""
What a release did while it was stable: the yardstick of the next rollout.

Thresholds of latency are cut from it before the candidate gets any traffic, and its rates are what a candidate without
anything running beside it is compared with. The controller feeds one from the attempt log, saves it and gives it to the
next Judge; histories of several days add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlaunch.core import attempts, spec
from softlaunch.core.rollout import first_attempts
from softlaunch.core.stats import absolute, quantiles

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
        self.trials = 0
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
        if kind is attempts.Outcome.CENSORED or kind is attempts.Outcome.SHED:
            return
        self.trials += 1
        if kind is attempts.Outcome.OK:
            if attempt.latency_us is not None:
                self.latency.add(attempt.latency_us)
        else:
            self.events[_GUARDRAIL_OF_OUTCOME[kind]] += 1

    def rate_upper(self, guardrail: spec.GuardrailName) -> float | None:
        """Upper end of the 95 % interval of the recorded rate; None when nothing was recorded."""
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
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ArmHistory:
        """The history `to_json` wrote."""
        history = cls(release=document["release"])
        history.trials = int(document["trials"])
        history.events.update({spec.GuardrailName(name): int(count) for name, count in document["events"].items()})
        history.latency = quantiles.LatencyHistogram.from_json(document["latency"])
        return history
