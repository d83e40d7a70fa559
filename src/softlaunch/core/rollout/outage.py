"""
Is everything broken, or only the candidate? A shared outage (a database, a network) holds a rollout and rolls nothing
back.

    watch = OutageWatch(history_rate=0.004)
    watch.observe(started_at=..., from_candidate=..., bad=...)     # every trial, also censored ones left out
    watch.reason                                                   # "" when there is no shared outage

It begins when both arms' recent trials are bad far more often than stable ever was, and ends when stable's are not any
more. A candidate that fails while stable does not is none: that is for the judge. It knows no clock but the trials'.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from softlaunch import errors

_RATE_MIN = 0.2
_HISTORY_RATIO = 5.0
"""Above the larger of 20 % and five times the record it is an outage; both are guesses."""

_OVER_FRACTION = 0.5
"""Over at half of the rate that began it, so that it does not begin and end with every line; a guess."""

_TRIALS_MAX = 200
_SECONDS_MAX = 10.0
"""Recent: so many trials of an arm, none older than this."""

_STABLE_MIN = 20
_CANDIDATE_MIN = 5
"""Fewer say nothing. At a rate of 2 % twenty trials hold five bad ones once in 4,000 times."""


class OutageWatch:
    """
    Sees a shared outage begin and end.

    Args:
        history_rate: Share of bad attempts in stable's record, 0 when there is none.
    """

    def __init__(self, history_rate: float) -> None:
        if not 0.0 <= history_rate <= 1.0:
            raise errors.InvariantError(f"a recorded rate of {history_rate} is not between 0 and 1.")
        self._history_rate = history_rate
        self._limit = min(0.9, max(_RATE_MIN, _HISTORY_RATIO * history_rate))
        self._recent: tuple[collections.deque[tuple[float, bool]], ...] = (
            collections.deque(maxlen=_TRIALS_MAX),
            collections.deque(maxlen=_TRIALS_MAX),
        )
        self._bad = [0, 0]
        self._now = 0.0
        self.reason = ""
        """What is seen, for people; empty while nothing shared is broken."""

    def observe(self, started_at: float, from_candidate: bool, bad: bool) -> None:  # noqa: FBT001  # observations
        """Take one trial into account, in the order of the log."""
        self._now = max(self._now, started_at)
        recent = self._recent[from_candidate]
        if len(recent) == _TRIALS_MAX:
            self._bad[from_candidate] -= recent[0][1]
        recent.append((started_at, bad))
        self._bad[from_candidate] += bad
        if not bad and not self.reason:
            return  # a good trial begins nothing
        self._forget()
        stable, candidate = self._rate(0, _STABLE_MIN), self._rate(1, _CANDIDATE_MIN)
        if self.reason:
            if stable is not None and stable <= self._limit * _OVER_FRACTION:
                self.reason = ""
        elif stable is not None and candidate is not None and min(stable, candidate) > self._limit:
            self.reason = (
                f"{stable:.0%} of stable's and {candidate:.0%} of the candidate's last requests failed, "
                f"{self._history_rate:.2g} of stable's did before: both are hit by something they share"
            )

    def _forget(self) -> None:
        oldest = self._now - _SECONDS_MAX
        for arm, recent in enumerate(self._recent):
            while recent and recent[0][0] < oldest:
                self._bad[arm] -= recent.popleft()[1]

    def _rate(self, arm: int, count_min: int) -> float | None:
        count = len(self._recent[arm])
        return self._bad[arm] / count if count >= count_min else None

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "history_rate": self._history_rate,
            "recent": [[[when, int(bad)] for when, bad in recent] for recent in self._recent],
            "now": self._now,
            "reason": self.reason,
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> OutageWatch:
        """The watch `state()` described."""
        watch = cls(state["history_rate"])
        for arm, saved in enumerate(state["recent"]):
            watch._recent[arm].extend((float(when), bool(bad)) for when, bad in saved)
            watch._bad[arm] = sum(bad for _, bad in watch._recent[arm])
        watch._now = float(state["now"])
        watch.reason = str(state["reason"])
        return watch
