"""
Attempts: one try of one request on one replica, as the gateway logged it.

The first attempt of a request is the trial the judge counts; every later one is a retry or a hedge and says nothing
about the arm it landed on (a retry on stable is not stable's own traffic).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

RECORDED = "r"
"""Behind the count in x-softlaunch-served: the model server has taken this answer to be written to its spool."""


class Arm(enum.StrEnum):
    """The two sides of a rollout."""

    STABLE = "stable"
    CANDIDATE = "candidate"


class Attempt(NamedTuple):
    """
    One line of the attempt log.

    A NamedTuple, not a dataclass: one is built for every attempt, and this is the cheapest typed record there is.
    """

    started_at: float
    """Unix seconds at which this attempt began."""
    request_id: str
    service: str
    environment: str
    epoch: int
    """Number of the routing decision (RouteSpec.epoch) under which the request was routed."""
    release: str
    """First twelve hex digits of the digest that served it; empty when no replica was reached."""
    composite: bool
    """True when the request was routed to [candidate, stable]; a stable release there is a retry."""
    number: int
    """The request's attempt count when the line was written: 1 is surely the first, above it may be a hedged first."""
    status: int
    """HTTP status of this attempt; 0 when there was no answer (reset, timeout, client gone)."""
    flags: str
    """Envoy's response flags, "-" when none."""
    latency_us: int | None
    """From the first byte sent upstream to the first byte received; None when nothing came back."""
    key: str
    """The sticky key (user), empty when the request carried none."""
    invalid: bool
    """The model server marked the answer invalid (NaN, infinite, off-schema)."""
    shed: bool
    """The model server refused for overload; never a failure."""
    output: str = ""
    """
    The answer in short, as the model server reports it (x-softlaunch-out): `n:` and a number, or `c:` and a class;
    empty when it reports none. Of an answer with several rows, the first.
    """
    cpu_us: int | None = None
    """CPU time the model server spent on it (x-softlaunch-cpu-us); its share of a batch."""
    memory_kib: int | None = None
    """Resident memory of the process when it answered (x-softlaunch-memory-kib)."""
    served_count: int | None = None
    """Requests this process had answered before this one (x-softlaunch-served)."""
    input_bytes: int | None = None
    """Size of the request's body; None when it was not declared."""
    replica: str = ""
    """The process that served it: file name of its socket, or its address; empty when none was reached."""
    features_defaulted: int | None = None
    """Looked-up values that were missing, late or stale (x-softlaunch-features); None where nothing is looked up."""
    recorded: bool = False
    """The model server has taken the answer to be written to its spool; killed before that, it has lost it."""


class Outcome(enum.StrEnum):
    """What an attempt says about the arm that served it; one attempt has exactly one outcome."""

    OK = "ok"
    ERROR = "error"
    """5xx, reset, or try timeout that lost."""
    CLIENT_ERROR = "client_error"
    """4xx."""
    INVALID = "invalid"
    SHED = "shed"
    CENSORED = "censored"
    """A losing hedge before its timeout, or a client that left: never a failure, never a trial."""


def outcome(attempt: Attempt) -> Outcome:
    """
    What the attempt says.

    Source:
        Measured with Envoy 1.40: reset is status 0 with UC (UF when the connection failed); a try timeout that lost
        is 0 with UT; a hedged attempt that won late is 200 with UT (slow, not failed); a losing hedge before its
        timeout and a client that left are 0 with "-" or DC.
    """
    if attempt.invalid:
        return Outcome.INVALID
    if attempt.shed:
        return Outcome.SHED
    status = attempt.status
    if status == 0:
        if attempt.flags in ("-", "DC", ""):
            return Outcome.CENSORED
        return Outcome.ERROR
    if status >= 500:
        return Outcome.ERROR
    if status >= 400:
        return Outcome.CLIENT_ERROR
    return Outcome.OK
