"""
Which line of the attempt log is a request's first attempt?

Only first attempts are trials: a retry on stable is there because the candidate failed, and says nothing about stable's
own traffic. The log does not mark them, so these are the rules:

* Under the composite [candidate, stable] an attempt on the candidate is the first and one on stable is a retry.
* Elsewhere number 1 is surely the first. Number 2 and above is a retry, or a first attempt whose line was written after
  a hedge or retry had started. If the request was not decided yet, the line is held until as many lines are there as
  the highest number says, or a bounded time has passed by the attempts' own clock; the earliest start is the first.
  Without a request id such a line is dropped.

A request is decided once. Its id is remembered for the same bounded time, but only if it can have further lines: an
answer below 500 at number 1 ends its request.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping
from typing import Any

from softlaunch.core import attempts


class FirstAttempts:
    """
    Picks first attempts of one rollout out of its log lines, in whatever order they come.

    Args:
        stable: First twelve digits of stable's digest; None when there is none.
        candidate: The candidate's.
        wait_seconds: How long a line waits for its siblings; longer than any request takes.
    """

    __slots__ = ("_candidate", "_due", "_stable", "_tracked", "_wait_seconds", "due_at", "ignored", "repeats")

    def __init__(self, *, stable: str | None, candidate: str, wait_seconds: float) -> None:
        self._stable = stable
        self._candidate = candidate
        self._wait_seconds = wait_seconds
        self._tracked: dict[str, list[attempts.Attempt] | None] = {}
        self._due: collections.deque[tuple[float, str]] = collections.deque()
        self.due_at = math.inf
        """Call `overdue` once an attempt started after this."""
        self.repeats = 0
        """Lines that were retries or hedges."""
        self.ignored = 0
        """Lines of releases outside this rollout."""

    def admit(self, attempt: attempts.Attempt) -> attempts.Attempt | None:
        """The first attempt this line reveals (itself, or a sibling held until now), None when it reveals none."""
        release = attempt.release
        number = attempt.number
        if attempt.composite:
            if release == self._candidate or (not release and number == 1):
                return attempt
            if release == self._stable or not release:
                self.repeats += 1
            else:
                self.ignored += 1
            return None
        if release and release not in (self._stable, self._candidate):
            self.ignored += 1
            return None
        if number == 1:
            return self._admit_number_one(attempt)
        return self._admit_later(attempt)

    def _admit_number_one(self, attempt: attempts.Attempt) -> attempts.Attempt | None:
        request_id = attempt.request_id
        if self._tracked and request_id in self._tracked:
            held = self._tracked[request_id]
            self.repeats += 1 if held is None else len(held)
            self._tracked[request_id] = None
            return None if held is None else attempt
        if request_id and not 0 < attempt.status < 500:
            self._track(attempt, None)
        return attempt

    def _admit_later(self, attempt: attempts.Attempt) -> attempts.Attempt | None:
        request_id = attempt.request_id
        if not request_id:
            # Its siblings cannot be found, so it is not known to be a first attempt.
            self.repeats += 1
            return None
        if request_id not in self._tracked:
            self._track(attempt, [attempt])
            return None
        held = self._tracked[request_id]
        if held is None:
            self.repeats += 1
            return None
        held.append(attempt)
        if len(held) < max(line.number for line in held):
            return None
        self._tracked[request_id] = None
        self.repeats += len(held) - 1
        return _earliest(held)

    def overdue(self, now: float) -> list[attempts.Attempt]:
        """First attempts among the lines that have waited long enough at `now`; also forgets decided requests."""
        found = []
        while self._due and self._due[0][0] < now:
            _, request_id = self._due.popleft()
            held = self._tracked.pop(request_id, None)
            if held:
                self.repeats += len(held) - 1
                found.append(_earliest(held))
        self.due_at = self._due[0][0] if self._due else math.inf
        return found

    @property
    def held_count(self) -> int:
        """Lines waiting for siblings."""
        return sum(len(held) for held in self._tracked.values() if held)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "due": [list(entry) for entry in self._due],
            "tracked": [
                [key, None if held is None else [list(line) for line in held]] for key, held in self._tracked.items()
            ],
            "repeats": self.repeats,
            "ignored": self.ignored,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        self._due = collections.deque((float(when), str(key)) for when, key in state["due"])
        self._tracked = {
            key: None if held is None else [attempts.Attempt(*line) for line in held] for key, held in state["tracked"]
        }
        self.due_at = self._due[0][0] if self._due else math.inf
        self.repeats = state["repeats"]
        self.ignored = state["ignored"]

    def _track(self, attempt: attempts.Attempt, held: list[attempts.Attempt] | None) -> None:
        self._tracked[attempt.request_id] = held
        self._due.append((attempt.started_at + self._wait_seconds, attempt.request_id))
        self.due_at = self._due[0][0]


def _earliest(held: list[attempts.Attempt]) -> attempts.Attempt:
    # A hedge starts when the first attempt's try timed out: of two with the same start, the one that timed out is
    # the first, then the one whose answer took longer.
    return min(held, key=lambda line: (line.started_at, "UT" not in line.flags, -(line.latency_us or 0), line.number))
