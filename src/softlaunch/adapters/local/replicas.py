"""What the local fleet knows of one replica while it watches it; records.py holds the part that outlives it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess

from softlaunch.adapters.local import launch, process, records
from softlaunch.ports import fleet


@dataclasses.dataclass(kw_only=True, eq=False)
class Replica:
    """What is known of one replica in this control plane's life. Guarded by the fleet's lock."""

    record: records.Record
    child: subprocess.Popen[bytes] | None = None
    """None when an earlier control plane started it."""
    pidfd: int | None = None
    ready: bool = False
    detail: str = ""
    answered_at: float = 0.0
    probed_at: float = 0.0
    probing: bool = False
    killed: bool = False
    saved_at: float = 0.0
    wanted_again: fleet.ReplicaSpec | None = None
    """Asked to start while it was still stopping."""

    def status(self) -> fleet.ReplicaStatus | None:
        """None for one that was asked to stop: nobody should count on it any more."""
        record = self.record
        pid, detail = record.pid, self.detail
        match record.stage:
            case records.Stage.FAILED:
                phase, detail = fleet.ReplicaPhase.FAILED, record.detail
            case records.Stage.STOPPING:
                if self.wanted_again is None:
                    return None
                phase, pid, detail = fleet.ReplicaPhase.STARTING, 0, "it waits for its predecessor to end"
            case records.Stage.RUNNING if self.ready:
                phase = fleet.ReplicaPhase.READY
            case records.Stage.RUNNING | records.Stage.INTENDED:
                phase = fleet.ReplicaPhase.STARTING
        return fleet.ReplicaStatus(name=record.name, phase=phase, socket=record.socket, pid=pid, detail=detail)

    def end(self) -> str | None:
        """How the process ended; None while it lives."""
        if self.child is not None:
            returncode = self.child.poll()
            return None if returncode is None else launch.describe_exit(returncode)
        if process.is_alive(self.record.identity):
            return None
        return "ended (how is unknown: an earlier control plane had started it)"

    def send(self, number: signal.Signals) -> None:
        """Signals the process if it still is the very one."""
        if self.child is not None:
            self.child.send_signal(number)  # a child's pid is its own until it is waited for, under the fleet's lock
        else:
            process.send(self.record.identity, number)

    def close(self) -> None:
        """Gives the descriptor back."""
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None
