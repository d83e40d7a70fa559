"""What became of the requests of a load, as the users saw it: outcomes, counts, latencies."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping

from softlaunch import errors
from softlaunch.testing import http_answers


class Outcome(enum.StrEnum):
    """What a sent request became for the user; exactly one."""

    OK = "ok"
    STATUS = "status"
    """Another status than expected."""
    FALLBACK = "fallback"
    """The gateway's static answer, marked x-softlaunch-fallback."""
    BODY = "body"
    """The validator refused the answer."""
    BROKEN = "broken"
    """No answer: refused, reset, garbage, or nothing within the timeout."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """When an answer is what the user wanted."""

    statuses: frozenset[int] = frozenset({200})
    valid: Callable[[http_answers.Answer], bool] | None = None

    def outcome(self, answer: http_answers.Answer) -> Outcome:
        """OK, STATUS, FALLBACK or BODY; a fallback is one whatever else it is."""
        if "x-softlaunch-fallback" in answer.headers:
            return Outcome.FALLBACK
        if answer.status not in self.statuses:
            return Outcome.STATUS
        if self.valid is not None and not self.valid(answer):
            return Outcome.BODY
        return Outcome.OK


ACCEPT_200 = Check()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What happened, in whole numbers, and how long it took."""

    planned: int
    sent: int
    dropped: int
    """Planned, but not sent within the timeout after their intended start because every connection was busy."""
    outcomes: Mapping[Outcome, int]
    statuses: Mapping[int, int]
    details: Mapping[str, int]
    """Why requests were BROKEN, and how often."""
    latencies: tuple[float, ...] = dataclasses.field(repr=False)
    """Seconds from the intended start to the whole answer, ascending; every answered request."""
    seconds: float
    """From the first intended start to the last outcome."""
    lag_seconds_max: float
    """The latest that this client itself started a request whose connection was free: above a few ms, trust nothing."""

    @property
    def failed(self) -> int:
        """Requests that failed for the user; a dropped one did."""
        return self.planned - self.outcomes[Outcome.OK]

    @property
    def rate_per_second(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds if self.seconds > 0 else 0.0

    def quantile(self, q: float) -> float:
        """
        The smallest latency that at least the share `q` of the answered requests kept, in seconds.

        Raises:
            ConfigError: q is outside 0 to 1, or nothing was answered.
        """
        if not 0 <= q <= 1 or not self.latencies:
            raise unusable(f"There is no quantile {q} of {len(self.latencies)} latencies.")
        rank = -int(-q * len(self.latencies) // 1)
        return self.latencies[max(rank, 1) - 1]


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts up to now, for a run that goes on."""

    planned: int
    ok: int
    failed: int
    """For the user; the rest is still waiting for its answer."""


def unusable(message: str) -> errors.ConfigError:
    """The error for a load that cannot be run, or asked."""
    return errors.ConfigError(
        message,
        remedy="Give a rate, a number of connections and a timeout above 0, and an end; make a new Load for each run.",
        code=errors.Code.LOAD_UNUSABLE,
    )
