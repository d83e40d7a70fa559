"""Keeps the replicas that shall run running, and ends the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import structlog

from softlaunch.ports import fleet

LOG = structlog.get_logger()

BACKOFF_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before restarts of one replica; the last one repeats. The first restart comes at once: a killed process is
no sign of a broken one."""
CALM_SECONDS = 60.0
"""A replica that lived this long starts its backoff anew."""


@dataclasses.dataclass(kw_only=True)
class _Patience:
    restarts: int = 0
    failed_at: float = 0.0


class Keeper:
    """Starts what is missing, restarts what ended with growing patience, stops what is not wanted."""

    def __init__(self, fleet: fleet.Fleet) -> None:
        self._fleet = fleet
        self._patience: dict[str, _Patience] = {}

    def keep(
        self, wanted: Mapping[str, fleet.ReplicaSpec], statuses: Mapping[str, fleet.ReplicaStatus], *, now: float
    ) -> None:
        """One round; returns at once."""
        for name in statuses:
            if name not in wanted:
                self._fleet.stop(name)
                self._patience.pop(name, None)
        for name, spec in wanted.items():
            status = statuses.get(name)
            if status is None:
                self._fleet.start(spec)
            elif status.phase is fleet.ReplicaPhase.FAILED:
                self._restart(spec, status, now)
            else:
                patience = self._patience.get(name)
                if patience is not None and now - patience.failed_at > CALM_SECONDS:
                    del self._patience[name]

    def _restart(self, spec: fleet.ReplicaSpec, status: fleet.ReplicaStatus, now: float) -> None:
        patience = self._patience.setdefault(spec.name, _Patience(failed_at=now))
        wait = BACKOFF_SECONDS[min(patience.restarts, len(BACKOFF_SECONDS) - 1)]
        if now - patience.failed_at < wait:
            return
        LOG.warning("replica_restarted", replica=spec.name, detail=status.detail, restarts=patience.restarts + 1)
        patience.restarts += 1
        patience.failed_at = now
        self._fleet.start(spec)
