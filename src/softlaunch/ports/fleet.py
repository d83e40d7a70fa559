"""The fleet: model server processes, started, found again, stopped."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Protocol

from softlaunch.core import evidence_policy, release, secret_references, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplicaSpec:
    """A replica that shall exist. Two specs with equal `name` are the same replica."""

    name: str
    """SERVICE/ENVIRONMENT/DIGEST12/NUMBER."""
    service: str
    environment: str
    release: release.Digest
    number: int
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: Mapping[str, secret_references.SecretReference] = dataclasses.field(default_factory=dict)
    """Read when the process is started; in its environment they win over `env`."""
    keys: tuple[str, ...] = ()
    """Business keys its requests may carry, recorded or not."""
    capture: spec.CaptureSpec | None = None
    """What the process writes to the spool; None: nothing."""
    predict_paths: tuple[str, ...] = ()
    """Of an app or a command: whose POST requests are predictions."""
    evidence: evidence_policy.EvidenceSpec = dataclasses.field(default_factory=evidence_policy.EvidenceSpec)
    """What the release has to show before its model is loaded."""
    fallback: spec.FallbackSpec | None = None
    """Set: the process is a fallback server, and `release` only its identity."""


class ReplicaPhase(enum.StrEnum):
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    """Exited by itself; `detail` says how, with the last lines it printed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    name: str
    phase: ReplicaPhase
    socket: str
    pid: int
    detail: str = ""


class Fleet(Protocol):
    def start(self, spec: ReplicaSpec) -> None:
        """Starts the replica's process; returns at once. A replica that already runs is left alone."""
        ...

    def stop(self, name: str, *, grace_seconds: float = 10.0) -> None:
        """Asks the replica to drain and end, kills it after the grace; returns at once. Unknown names are ignored."""
        ...

    def observe(self) -> Sequence[ReplicaStatus]:
        """
        Every replica of this home, also those a previous control plane started (adopted).

        Not those that were asked to stop: nobody may count on them, although their processes may still drain.
        """
        ...

    def stopping(self) -> frozenset[str]:
        """Names of replicas that were asked to stop and whose processes have not ended yet."""
        ...
