"""
The fleet of one machine: model servers as processes that outlive the control plane.

Every replica is started in a session of its own and remembered in a record (records.py tells how that survives kill -9
at any moment). A new control plane adopts what it finds alive and goes on where the old one stopped, unfinished stops
included. One thread watches: it learns of an exit at once through a pidfd, asks starting replicas 20 times a second and
ready ones once a second for their health, and ends those that were asked to stop. So `observe` only reads memory.

The fleet starts nothing again by itself: a FAILED replica stays FAILED until the controller decides.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import secrets
import select
import signal
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from softlaunch import errors
from softlaunch.adapters.local import launch, logs, probe, process, records, replicas, rundir
from softlaunch.core import release
from softlaunch.ports import fleet

_log = structlog.get_logger(__name__)

_TICK_SECONDS = 0.05
"""While something starts or stops; otherwise _IDLE_SECONDS."""
_IDLE_SECONDS = 0.25
_READY_PROBE_SECONDS = 1.0
_PROBE_TIMEOUT_SECONDS = 1.0
_SILENCE_SECONDS = 10.0
"""A ready replica that has not answered for so long is STARTING again. Long on purpose (a guess): busy is not dead, and
the gateway's own fuse acts within milliseconds."""
_SAVE_SECONDS = 600.0
"""Records are written again so often, because cleaners of /tmp remove what looks old (systemd: after ten days)."""
_ADOPTION_SECONDS = 1.0
"""How long the constructor waits for the health of adopted replicas, so that the first `observe` is true."""
_PROBE_THREADS = 8
_KILL_SECONDS = 5.0
"""How long a killed process may take to end before stop_all gives up."""
_STOPPED_POLL_SECONDS = 0.02


class LocalFleet:
    """
    A ports.fleet.Fleet of processes on this machine.

    One object per home may exist at a time: whoever makes it holds the home's lock (local.lock).

    Args:
        run_dir: Where sockets live; see local.rundir. Made when missing.
        logs_dir: Replicas print to LOGS_DIR/replicas/SERVICE.ENVIRONMENT.DIGEST12.NUMBER.log.
        launcher: Prepares a release for running, see launch.Launcher.
        redact: Takes secrets out of what replicas printed, before anybody sees it.
        records_dir: Where records live; RUN_DIR/replicas when None.

    Raises:
        ConflictError, UnavailableError: the run directory is not ours, or cannot be made.
        ConfigError: the run directory's path is too long for sockets.
    """

    def __init__(
        self,
        *,
        run_dir: pathlib.Path,
        logs_dir: pathlib.Path,
        launcher: launch.Launcher,
        redact: Callable[[str], str] = str,
        records_dir: pathlib.Path | None = None,
    ) -> None:
        rundir.prepare(run_dir)
        self._run_dir = run_dir
        self._logs_dir = logs_dir / "replicas"
        self._logs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs.prune(self._logs_dir)
        records_dir = records_dir or run_dir / "replicas"
        records_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records = records.Records(records_dir)
        self._launcher, self._redact = launcher, redact
        self._lock = threading.RLock()
        self._replicas: dict[str, replicas.Replica] = {}
        self._preparing: dict[release.Digest, threading.Lock] = {}
        self._closed = False
        self._probes = concurrent.futures.ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="fleet-probe")
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._pipe_closed = False
        self._adopt()
        self._watcher = threading.Thread(target=self._watch, name="fleet-watcher", daemon=True)
        self._watcher.start()

    def start(self, spec: fleet.ReplicaSpec) -> None:
        """
        Raises:
            UnavailableError: the intent cannot be recorded (a full disk); nothing was started.
        """
        with self._lock:
            self._refuse_when_closed()
            replica = self._replicas.get(spec.name)
            if replica is not None and replica.record.stage is records.Stage.STOPPING:
                replica.wanted_again = spec
            elif replica is None or replica.record.stage is records.Stage.FAILED:
                self._begin(spec)

    def stop(self, name: str, *, grace_seconds: float = 10.0) -> None:
        with self._lock:
            self._refuse_when_closed()
            replica = self._replicas.get(name)
            if replica is None:
                return
            replica.wanted_again = None
            record = replica.record
            if record.stage in {records.Stage.INTENDED, records.Stage.FAILED}:
                self._forget(replica)
                return
            kill_at = time.time() + grace_seconds
            if record.stage is records.Stage.STOPPING:
                kill_at = min(kill_at, record.kill_at)
            self._save(replica, stage=records.Stage.STOPPING, kill_at=kill_at)
            if record.stage is not records.Stage.STOPPING:
                replica.send(signal.SIGTERM)
        self._wake()

    def observe(self) -> Sequence[fleet.ReplicaStatus]:
        """A replica that was asked to stop is no longer listed, although its process may still be draining."""
        with self._lock:
            statuses = [replica.status() for replica in self._replicas.values()]
        return tuple(
            dataclasses.replace(status, detail=self._redact(status.detail)) for status in statuses if status is not None
        )

    def stopping(self) -> frozenset[str]:
        with self._lock:
            return frozenset(
                name for name, replica in self._replicas.items() if replica.record.stage is records.Stage.STOPPING
            )

    def stop_all(self, *, grace_seconds: float = 10.0) -> None:
        """
        Stops every replica, orphans included, and returns when all are gone.

        Raises:
            UnavailableError: a process did not even end when it was killed.
        """
        with self._lock:
            for name in tuple(self._replicas):
                self.stop(name, grace_seconds=grace_seconds)
        give_up_at = time.monotonic() + grace_seconds + _KILL_SECONDS
        while self._replicas and time.monotonic() < give_up_at:
            time.sleep(_STOPPED_POLL_SECONDS)
        orphans = self.orphans()
        for orphan in orphans:
            process.send(orphan, signal.SIGKILL)
        while any(map(process.is_alive, orphans)) and time.monotonic() < give_up_at:
            time.sleep(_STOPPED_POLL_SECONDS)
        left = [*sorted(self._replicas), *(f"process {orphan.pid}" for orphan in orphans if process.is_alive(orphan))]
        if left:
            raise errors.UnavailableError(
                f"These replicas did not end when they were killed: {', '.join(left)}.",
                remedy="Their processes hang in the kernel (a dead network disk?): look at `ps -o pid,stat,wchan`.",
                code=errors.Code.REPLICA_UNSTOPPABLE,
            )

    def orphans(self) -> tuple[process.Identity, ...]:
        """Living processes of this fleet that no record knows: their record was removed by somebody else."""
        with self._lock:
            known = {replica.record.token for replica in self._replicas.values()}
        found = []
        for pid in process.holders(launch.FLEET_VARIABLE, str(self._run_dir)):
            token = process.environment_value(pid, process.TOKEN_VARIABLE)
            if token is not None and token not in known:
                identity = process.identify(pid, token)
                if identity is not None:
                    found.append(identity)
        return tuple(found)

    def close(self) -> None:
        """Ends watching, and only that: the replicas go on serving. Nothing else may be called afterwards."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake()
        self._watcher.join()
        self._probes.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            for replica in self._replicas.values():
                replica.close()
            self._pipe_closed = True
            os.close(self._wake_read)
            os.close(self._wake_write)

    # -- starting ------------------------------------------------------------------------------------------------

    def _begin(self, spec: fleet.ReplicaSpec) -> None:
        log = self._logs_dir / f"{records.file_name(spec.name)}.log"
        record = records.Record(
            name=spec.name,
            token=secrets.token_hex(16),
            stage=records.Stage.INTENDED,
            socket=str(self._run_dir / records.socket_name(spec)),
            log=str(log),
            log_offset=logs.size(log),
        )
        try:
            self._records.save(record)
        except OSError as error:
            raise errors.UnavailableError(
                f"Replica {spec.name} was not started because its record cannot be written: {error.strerror}.",
                remedy="Free disk space for the softlaunch home and /tmp; `softlaunch doctor` shows how much there is.",
                code=errors.Code.REPLICA_UNRECORDABLE,
            ) from error
        replica = replicas.Replica(record=record, detail="its release is being prepared")
        self._replicas[spec.name] = replica
        threading.Thread(
            target=self._prepare, args=(replica, spec), name=f"fleet-start-{spec.name}", daemon=True
        ).start()

    def _prepare(self, replica: replicas.Replica, spec: fleet.ReplicaSpec) -> None:
        with self._lock:
            one_at_a_time = self._preparing.setdefault(spec.release.release, threading.Lock())
        try:
            with one_at_a_time:
                if not self._is_current(replica):
                    return
                prepared = self._launcher(spec)
            with self._lock:
                if self._is_current(replica):
                    self._spawn(replica, spec, prepared)
        except Exception as error:  # noqa: BLE001 (whatever goes wrong here has no other way to be seen than the detail)
            with self._lock:
                if self._is_current(replica):
                    self._fail(replica, f"It could not be started: {error or type(error).__name__}")
        self._wake()

    def _is_current(self, replica: replicas.Replica) -> bool:
        with self._lock:
            current = self._replicas.get(replica.record.name) is replica
            return current and replica.record.stage is records.Stage.INTENDED and not self._closed

    def _spawn(self, replica: replicas.Replica, spec: fleet.ReplicaSpec, prepared: launch.Launch) -> None:
        child = launch.spawn(prepared, spec, replica.record, fleet_mark=str(self._run_dir))
        replica.child = child
        replica.detail = "it has not answered a health check yet"
        replica.pidfd = process.open_pidfd(child.pid)
        identity = process.identify_child(child.pid, replica.record.token)
        replica.record = replica.record.running_as(identity)
        self._save(replica)

    # -- adopting ------------------------------------------------------------------------------------------------

    def _adopt(self) -> None:
        for record in self._records.load():
            if isinstance(record, pathlib.Path):  # torn by a power loss, which also ended its process
                _log.warning("replica_record_unreadable", path=str(record))
                record.unlink(missing_ok=True)
            elif record.stage is records.Stage.INTENDED:
                self._adopt_intended(record)
            else:
                self._adopt_started(record)
        for orphan in self.orphans():
            # Without its record nobody can use it, and its successor will take its socket: let it drain.
            _log.warning("replica_orphaned", pid=orphan.pid)
            process.send(orphan, signal.SIGTERM)
        running = [found for found in self._replicas.values() if found.record.stage is records.Stage.RUNNING]
        asked = [self._ask(replica) for replica in running]
        concurrent.futures.wait(asked, timeout=_ADOPTION_SECONDS)

    def _adopt_intended(self, record: records.Record) -> None:
        """See the rules in records.py."""
        identity = process.find_leader(record.token)
        if identity is None:
            self._records.remove(record.name)
            return
        self._adopt_started(record.running_as(identity))

    def _adopt_started(self, record: records.Record) -> None:
        replica = replicas.Replica(record=record, detail="it was adopted and has not answered yet")
        self._replicas[record.name] = replica
        self._save(replica)
        if record.stage is records.Stage.FAILED:
            return
        replica.pidfd = process.open_pidfd(record.pid)
        if replica.end() is None:  # asked after the descriptor was opened, so that it is surely this process's
            _log.info("replica_adopted", replica=record.name, pid=record.pid, stage=record.stage.value)
        else:
            self._tend(replica)

    # -- watching ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._closed:
            self._wait()
            with self._lock:
                for replica in tuple(self._replicas.values()):
                    if self._closed:
                        return
                    try:
                        self._tend(replica)
                    except Exception:  # noqa: BLE001 (one replica's trouble must not end the watch over the others)
                        _log.exception("replica_watch_failed", replica=replica.record.name)

    def _wait(self) -> None:
        """Until a process ends, something was asked for, or it is time to look."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        seconds = _IDLE_SECONDS
        with self._lock:
            for replica in self._replicas.values():
                if replica.pidfd is not None:
                    poll.register(replica.pidfd, select.POLLIN)
                settled = replica.ready or replica.record.stage is records.Stage.FAILED
                if not settled or replica.record.stage is records.Stage.STOPPING:
                    seconds = _TICK_SECONDS
        if any(fd == self._wake_read for fd, _ in poll.poll(seconds * 1000)):
            os.read(self._wake_read, 4096)

    def _wake(self) -> None:
        with self._lock:
            if not self._pipe_closed:
                # A full pipe has woken the watcher already.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake_write, b"!")

    def _tend(self, replica: replicas.Replica) -> None:
        stage = replica.record.stage
        if stage not in {records.Stage.RUNNING, records.Stage.STOPPING}:
            return
        end = replica.end()
        if end is not None:
            self._clear_away(replica)
            if stage is records.Stage.STOPPING:
                self._forget(replica)
                if replica.wanted_again is not None:
                    self._begin(replica.wanted_again)
            else:
                last_words = logs.tail(pathlib.Path(replica.record.log), offset=replica.record.log_offset)
                self._fail(replica, f"It {end}." + (f" Its last lines:\n{last_words}" if last_words else ""))
        elif stage is records.Stage.STOPPING:
            if time.time() >= replica.record.kill_at and not replica.killed:
                replica.killed = True
                replica.send(signal.SIGKILL)
        elif self._is_probe_due(replica):
            logs.cap(pathlib.Path(replica.record.log))
            if time.monotonic() - replica.saved_at > _SAVE_SECONDS:
                self._save(replica)
            self._ask(replica)

    def _clear_away(self, replica: replicas.Replica) -> None:
        """What a dead replica leaves: processes it started, its socket."""
        replica.close()
        for pid in process.holders(process.TOKEN_VARIABLE, replica.record.token):
            identity = process.identify(pid, replica.record.token)
            if identity is not None:
                process.send(identity, signal.SIGKILL)
        with contextlib.suppress(OSError):
            pathlib.Path(replica.record.socket).unlink()

    # -- health --------------------------------------------------------------------------------------------------

    def _is_probe_due(self, replica: replicas.Replica) -> bool:
        every = _READY_PROBE_SECONDS if replica.ready else _TICK_SECONDS
        return not replica.probing and time.monotonic() - replica.probed_at >= every

    def _ask(self, replica: replicas.Replica) -> concurrent.futures.Future[None]:
        replica.probing = True
        replica.probed_at = time.monotonic()
        return self._probes.submit(self._probe, replica)

    def _probe(self, replica: replicas.Replica) -> None:
        answer = probe.ask(replica.record.socket, replica.record.token, timeout_seconds=_PROBE_TIMEOUT_SECONDS)
        with self._lock:
            now = time.monotonic()
            replica.probing = False
            replica.detail = answer.detail
            if answer.health is probe.Health.READY:
                replica.ready, replica.answered_at = True, now
            elif answer.health is probe.Health.NOT_READY or now - replica.answered_at > _SILENCE_SECONDS:
                replica.ready = False

    # -- records -------------------------------------------------------------------------------------------------

    def _fail(self, replica: replicas.Replica, detail: str) -> None:
        replica.ready = False
        replica.detail = detail
        self._save(replica, stage=records.Stage.FAILED, detail=detail)

    def _save(self, replica: replicas.Replica, **changes: object) -> None:
        replica.record = dataclasses.replace(replica.record, **changes)  # type: ignore[arg-type]
        replica.saved_at = time.monotonic()
        # Why a failure is harmless here stands in records.py.
        with contextlib.suppress(OSError):
            self._records.save(replica.record)

    def _forget(self, replica: replicas.Replica) -> None:
        self._records.remove(replica.record.name)
        del self._replicas[replica.record.name]

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise errors.InvariantError("A closed fleet was asked for something.")
