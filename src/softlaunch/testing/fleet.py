"""
A fleet in memory: replicas that are only entries in a table, for tests of whatever commands a fleet.

It passes the contract suite of ports.fleet (tests/contract/test_fleet.py), as the real one does. What a test wants to
happen to a replica is a method: `crash`, `refuse`, `hang`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from softlaunch.core import release
from softlaunch.ports import clock as clock_port
from softlaunch.ports import fleet
from softlaunch.testing import clock as testing_clock


@dataclasses.dataclass(kw_only=True)
class _Entry:
    spec: fleet.ReplicaSpec
    pid: int
    ready_at: float
    failure: str | None = None


class InMemoryFleet:
    """
    A ports.fleet.Fleet without processes.

    Args:
        clock: Tells when a replica has been starting for long enough.
        start_seconds: How long a replica is STARTING before it is READY; 0: it is READY when first observed.
        stop_seconds: How long a replica's process takes to end once it was asked to; 0: it ends at once.
    """

    def __init__(
        self, *, clock: clock_port.Clock | None = None, start_seconds: float = 0.0, stop_seconds: float = 0.0
    ) -> None:
        self._clock = clock or testing_clock.ManualClock()
        self._start_seconds = start_seconds
        self._stop_seconds = stop_seconds
        self._ends_at: dict[str, float] = {}
        self._entries: dict[str, _Entry] = {}
        self._refusals: dict[release.Digest, str] = {}
        self._pids = itertools.count(1000)
        self.started: list[str] = []
        """Name of each replica whose process was started, in order, again for each time."""
        self.stopped: list[str] = []
        """Name of each replica that was asked to stop, in order."""

    def start(self, spec: fleet.ReplicaSpec) -> None:
        entry = self._entries.get(spec.name)
        if entry is not None and entry.failure is None:
            return
        self.started.append(spec.name)
        refusal = self._refusals.get(spec.release, self._refusals.get(spec.release.release))
        self._entries[spec.name] = _Entry(
            spec=spec,
            pid=0 if refusal is not None else next(self._pids),
            ready_at=max(self._clock.now(), self._ends_at.get(spec.name, 0.0)) + self._start_seconds,
            failure=refusal,
        )

    def stop(self, name: str, *, grace_seconds: float = 10.0) -> None:
        entry = self._entries.pop(name, None)
        if entry is None:
            return
        self.stopped.append(name)
        if entry.failure is None and name not in self.stopping():
            self._ends_at[name] = self._clock.now() + min(self._stop_seconds, grace_seconds)

    def observe(self) -> Sequence[fleet.ReplicaStatus]:
        return tuple(self._status(entry) for entry in self._entries.values())

    def stopping(self) -> frozenset[str]:
        return frozenset(name for name, ends_at in self._ends_at.items() if ends_at > self._clock.now())

    def crash(self, name: str, detail: str = "killed by SIGKILL") -> None:
        """The replica's process ends by itself."""
        self._entries[name].failure = detail

    def refuse(self, digest: release.Digest, detail: str = "cannot be started") -> None:
        """From now on replicas of this release fail when they are started."""
        self._refusals[digest] = detail

    def specs(self) -> list[fleet.ReplicaSpec]:
        """What every replica was started with."""
        return [entry.spec for entry in self._entries.values()]

    def hang(self, name: str) -> None:
        """The replica's process lives on but is never ready (again)."""
        self._entries[name].ready_at = float("inf")

    def _status(self, entry: _Entry) -> fleet.ReplicaStatus:
        if entry.failure is not None:
            phase, detail = fleet.ReplicaPhase.FAILED, entry.failure
        elif self._clock.now() >= entry.ready_at:
            phase, detail = fleet.ReplicaPhase.READY, ""
        else:
            phase, detail = fleet.ReplicaPhase.STARTING, "has not answered a health check yet"
        spec = entry.spec
        socket = f"/in-memory/{spec.release.short}.{spec.number}.{spec.service}.{spec.environment}.sock"
        return fleet.ReplicaStatus(name=spec.name, phase=phase, socket=socket, pid=entry.pid, detail=detail)
