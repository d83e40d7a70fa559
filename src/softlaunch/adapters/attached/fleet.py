"""
Releases that somebody else runs, beside those of another fleet.

Nothing is started or stopped here: an attached release is a URL, and its one replica is ready while the URL answers.
Everything else about a launch (routes, evidence, the way back) is as for any other release.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Sequence

import httpx

from softlaunch.core import release
from softlaunch.ports import fleet

PROBE_SECONDS = 1.0
"""Between two looks at an attached URL; traffic shows a dead one at once."""
PROBE_TIMEOUT_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attachment:
    """Where a release runs already."""

    url: str
    """Scheme, host and port."""
    ready_path: str = ""
    """Answers 2xx when it is ready; empty: an open port is enough."""

    @property
    def address(self) -> str:
        """As the gateway reads it: tcp://HOST:PORT or tls://HOST:PORT."""
        parts = urllib.parse.urlsplit(self.url)
        tls = parts.scheme == "https"
        return f"{'tls' if tls else 'tcp'}://{parts.hostname}:{parts.port or (443 if tls else 80)}"


Attachments = Callable[[release.Digest], Attachment | None]
"""Where a release is attached; None: it is an ordinary one. May take as long as unpacking it."""


@dataclasses.dataclass(kw_only=True)
class _Attached:
    spec: fleet.ReplicaSpec
    attachment: Attachment
    ready: bool = False
    detail: str = "it has not answered yet"
    probe: concurrent.futures.Future[None] | None = None
    probed_at: float = 0.0


class AttachedFleet:
    """
    A ports.fleet.Fleet: attached releases here, all others in the fleet it is given.

    Args:
        others: Runs everything that is not attached.
        attachments: Tells the two apart.
    """

    def __init__(self, others: fleet.Fleet, attachments: Attachments) -> None:
        self._others = others
        self._attachments = attachments
        self._lock = threading.Lock()
        self._attached: dict[str, _Attached] = {}
        self._probes = concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="attached")

    def start(self, spec: fleet.ReplicaSpec) -> None:
        attachment = self._attachments(spec.release) if spec.fallback is None else None
        if attachment is None:
            self._others.start(spec)
            return
        if spec.number > 0:
            return  # how many processes are behind the URL is not ours to say
        with self._lock:
            self._attached.setdefault(spec.name, _Attached(spec=spec, attachment=attachment))

    def stop(self, name: str, *, grace_seconds: float = 10.0) -> None:
        with self._lock:
            known = self._attached.pop(name, None)
        if known is None:
            self._others.stop(name, grace_seconds=grace_seconds)

    def observe(self) -> Sequence[fleet.ReplicaStatus]:
        with self._lock:
            attached = list(self._attached.values())
        for found in attached:
            self._look(found)
        return (*self._others.observe(), *(_status(found) for found in attached))

    def stopping(self) -> frozenset[str]:
        return self._others.stopping()

    def close(self) -> None:
        """Ends probing."""
        self._probes.shutdown(wait=False, cancel_futures=True)

    def _look(self, found: _Attached) -> None:
        now = time.monotonic()
        if found.probe is not None and not found.probe.done():
            return
        if found.probe is not None and now - found.probed_at < PROBE_SECONDS:
            return
        found.probed_at = now
        found.probe = self._probes.submit(_probe, found)


def _probe(found: _Attached) -> None:
    url = found.attachment.url
    try:
        if found.attachment.ready_path:
            answer = httpx.get(url + found.attachment.ready_path, timeout=PROBE_TIMEOUT_SECONDS, trust_env=False)
            answer.raise_for_status()
        else:
            parts = urllib.parse.urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=PROBE_TIMEOUT_SECONDS).close()
    except (httpx.HTTPError, OSError) as error:
        found.ready, found.detail = False, f"{url}{found.attachment.ready_path} does not answer: {error}"
        return
    found.ready, found.detail = True, ""


def _status(found: _Attached) -> fleet.ReplicaStatus:
    phase = fleet.ReplicaPhase.READY if found.ready else fleet.ReplicaPhase.STARTING
    return fleet.ReplicaStatus(
        name=found.spec.name, phase=phase, socket=found.attachment.address, pid=0, detail=found.detail
    )
