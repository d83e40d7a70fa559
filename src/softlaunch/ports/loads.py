"""Load tests, each in a process of its own: it neither slows the control plane nor is slowed by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from softlaunch.core import verify_specs


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """One POST of a load test."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One load test."""

    sockets: Sequence[str]
    """Of the candidate's replicas, asked in turn."""
    requests: Sequence[Request]
    """Sent in turn, again and again; not empty."""
    load: verify_specs.LoadSpec
    seed: int
    timeout_seconds: float


class Run(Protocol):
    """A load test that was started."""

    def progress(self) -> Mapping[str, Any]:
        """{"seconds", "p99_ms" (None before the first answer)} as told last; empty before the first word."""
        ...

    def result(self) -> Mapping[str, Any] | None:
        """
        core.load.tally.Tally.document with `seconds` and `cpu_percent` of the sender, when it has ended; None before.

        Raises:
            UnavailableError: the sender ended without a result.
        """
        ...

    def stop(self) -> None:
        """Ends the sender at once; nothing when it has ended."""
        ...


class Loads(Protocol):
    def start(self, job: Job) -> Run:
        """
        Starts a load test; returns at once.

        Raises:
            UnavailableError: no process can be started.
        """
        ...
