"""How an environment without traffic is passed: smoke requests, recorded requests, a load test, in this order."""

from __future__ import annotations

import dataclasses
import enum


class Arrivals(enum.StrEnum):
    """How requests of a load test are spread over time."""

    POISSON = "poisson"
    """As independent users come: sometimes two at once."""
    CONSTANT = "constant"
    """Evenly."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplaySpec:
    """Requests recorded in another environment, sent to the candidate; its answers are compared with the recorded."""

    environment: str
    """Where they were recorded; its guardrails judge."""
    request_count: int = 500
    """The newest so many."""
    since_seconds: float = 7 * 86_400.0
    """None that is older."""
    rate: float = 50.0
    """Requests per second."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadSpec:
    """An open-loop load test of the candidate's replicas."""

    rate: float
    """Requests per second."""
    duration_seconds: float = 15.0
    latency_ms_p99_max: float
    """Measured from the intended start."""
    error_percent_max: float = 0.1
    arrivals: Arrivals = Arrivals.POISSON
    connection_count_max: int | None = None
    """None: as many as could be waiting when every answer takes as long as it may."""
    environment: str | None = None
    """Recorded requests of this environment are sent; None: rows of the reference."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifySpec:
    """What is sent straight to the candidate before it gets any traffic; all of it has to pass."""

    request_count: int = 20
    """Smoke requests, made from the reference rows."""
    replay: ReplaySpec | None = None
    load: LoadSpec | None = None
