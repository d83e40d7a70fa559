"""
The composition root of the control plane and of the command line: the only file that names concrete adapters.

(The model server has its own, serving/main.py.)
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.archive import files as file_archive
from softlaunch.adapters.attached import fleet as attached_fleet
from softlaunch.adapters.build_tools import downloads as http_downloads
from softlaunch.adapters.build_tools import tables as arrow_tables
from softlaunch.adapters.checks import http_checks
from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.adapters.git import source as git_source
from softlaunch.adapters.local import clock as local_clock
from softlaunch.adapters.local import fleet as local_fleet
from softlaunch.adapters.local import isolated as isolation
from softlaunch.adapters.local import launch as local_launch
from softlaunch.adapters.local import lock as local_lock
from softlaunch.adapters.local import prober as local_prober
from softlaunch.adapters.local import replay_process, replay_sender
from softlaunch.adapters.local import survey as local_survey
from softlaunch.adapters.notify import apprise_notify
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.python_env import uv as uv_environments
from softlaunch.adapters.python_env import workbench as local_workbench
from softlaunch.adapters.spool import local as local_spool
from softlaunch.adapters.sql import store as sql_store
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.config import settings as setting
from softlaunch.controller import attach as attaching
from softlaunch.controller import (
    commands,
    complaints,
    desired,
    drilling,
    hook_secret,
    loop,
    notifier,
    people,
    replay_schedule,
    runner,
    shelf,
)
from softlaunch.controller import replay as replaying
from softlaunch.controller.pipeline import build as building
from softlaunch.controller.pipeline import obtain, workshop
from softlaunch.core import env_references, fallbacks, release
from softlaunch.core import spec as spec_values
from softlaunch.core.shadow import pairing
from softlaunch.ports import archive, fleet, source, store
from softlaunch.ports import spool as spools
from softlaunch.serving import fallback as fallback_server
from softlaunch.serving import unpacked

_PORT_MAX = 65_535
NOTIFY_SECONDS = 1.0
REPLAY_TURN_SECONDS = 2.0
_NOTIFIER = "notifier"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Everything a control plane is made of, not yet running."""

    loop: loop.ControlLoop
    commands: commands.Commands
    drilling: drilling.Drilling
    whose: Callable[[str], str | None]
    """The name of the person with a token."""
    hook_key: Callable[[], bytes | None]
    """What webhooks are signed with; None while they are off."""
    find_release: complaints.FindRelease
    store: store.Store
    _runner: runner.Runner
    _beside: tuple[runner.Periodic, ...]
    _fleet: local_fleet.LocalFleet
    _gateway: envoy_gateway.EnvoyGateway

    def start(self) -> None:
        """Starts the control loop, and what runs beside it."""
        self._runner.start()
        for found in self._beside:
            found.start()

    def ready(self) -> bool:
        """The gateway believes the saved state and what was live is running again, or has failed to."""
        return self._runner.turned and self.loop.settled

    def stop(self, *, everything: bool) -> None:
        """
        Stops the loop; with `everything` also the model servers and the gateway, in that order of draining.

        Raises:
            UnavailableError: the last state could not be written (a full disk); everything is stopped all the same.
        """
        try:
            for found in self._beside:
                found.stop()
            self._runner.stop()
        finally:
            if everything:
                self._fleet.stop_all()
                self._gateway.stop()


@contextlib.contextmanager
def control_plane(home: homes.Home, settings: setting.Settings) -> Iterator[ControlPlane]:
    """
    A control plane over this home, holding its lock.

    Raises:
        ConflictError: another control plane serves this home.
        ConfigError: the home cannot be used, or its state was written by a newer softlaunch.
        UnavailableError: the gateway does not start, or the disk is full.
    """
    home.prepare()
    with local_lock.HomeLock(home.root), contextlib.ExitStack() as stack:
        registry = oci_registry.OciRegistry(home.registry)
        shelves = shelf.Shelf(registry, home.releases)
        saved = stack.enter_context(contextlib.closing(sql_store.SqlStore(home.state_file)))
        gateway = _gateway(home, settings)
        gateway.start()
        local = stack.enter_context(contextlib.closing(_fleet(home, settings, shelves)))
        fleets = stack.enter_context(
            contextlib.closing(attached_fleet.AttachedFleet(local, lambda digest: _attachment(shelves, digest)))
        )
        spool = local_spool.LocalSpool(home.spool)
        turning = loop.ControlLoop(
            store=saved,
            gateway=gateway,
            fleet=fleets,
            shelf=shelves,
            prober=local_prober.HttpProber(),
            clock=local_clock.SystemClock(),
            spool=spool,
            archive=evidence(home),
            checks=stack.enter_context(contextlib.closing(http_checks.HttpChecks())),
        )
        operations = commands.Commands(
            loop=turning,
            store=saved,
            registry=registry,
            choose_port=lambda name, used: choose_port(settings, name, used),
            variables=os.environ,
        )
        replays = stack.enter_context(
            contextlib.closing(
                replay_process.ReplayProcess(home=home.root, log=home.logs / "replays" / "scheduled.log")
            )
        )
        nightly = replay_schedule.Nightly(loop=turning, store=saved, registry=registry, process=replays)
        yield ControlPlane(
            loop=turning,
            commands=operations,
            whose=people.People(home.people_file).whose,
            hook_key=hook_secret.HookSecret(home.hook_file).read,
            find_release=complaints.recorded(spool),
            drilling=drilling.Drilling(loop=turning, operations=operations, registry=registry, shelf=shelves),
            store=saved,
            _runner=runner.Runner(turning, tick_seconds=settings.tick_seconds),
            _beside=(
                runner.Periodic("notifier", _notifier(turning, saved), seconds=NOTIFY_SECONDS),
                runner.Periodic("replays", nightly.turn, seconds=REPLAY_TURN_SECONDS),
            ),
            _fleet=local,
            _gateway=gateway,
        )


def _notifier(turning: loop.ControlLoop, saved: store.Store) -> Callable[[], None]:
    """One turn of telling people what has happened."""
    kept = saved.bookmark(_NOTIFIER)
    outbox = notifier.Outbox(json.loads(kept)) if kept is not None else notifier.Outbox.begin(saved)

    def targets(service: str, environment: str) -> Mapping[str, str]:
        with turning.lock:
            running = turning.ledger.rollouts.get((service, environment))
            live = turning.ledger.lives.get((service, environment))
        known = running or live
        return known.spec.notify if known is not None else {}

    telling = notifier.Notifier(
        port=apprise_notify.AppriseNotify(),
        history=saved,
        outbox=outbox,
        targets=targets,
        variables=os.environ,
        threads=concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="notify"),
    )

    def turn() -> None:
        if telling.turn(turning.now()):
            saved.commit(store.Change(bookmarks={_NOTIFIER: json.dumps(outbox.state())}))

    return turn


def evidence(home: homes.Home) -> archive.Archive:
    """The evidence archive, to be read; the control plane alone writes it."""
    return file_archive.FileArchive(home.evidence)


def stop_leftovers(home: homes.Home, settings: setting.Settings) -> bool:
    """
    Stops what a killed control plane left running; says whether there was anything.

    Raises:
        ConflictError: a control plane holds the home but does not answer.
    """
    if not home.root.is_dir():
        return False
    home.prepare()
    with local_lock.HomeLock(home.root):
        fleets = _fleet(home, settings, shelf.Shelf(oci_registry.OciRegistry(home.registry), home.releases))
        with contextlib.closing(fleets):
            found = bool(fleets.observe())
            fleets.stop_all()
        gateway = _gateway(home, settings)
        found = found or gateway.pid is not None
        gateway.stop()
        home.control_file.unlink(missing_ok=True)
    return found


def examine(home: homes.Home, settings: setting.Settings) -> list[dict[str, Any]]:
    """The checks of `doctor`, as JSON documents."""
    return [
        dataclasses.asdict(check)
        for check in local_survey.examine(
            home=home.root,
            run_dir=home.run,
            ports={
                settings.api_port: "the control plane's API",
                settings.production_port: "production",
                settings.environment_port_first: "other environments",
            },
            envoy=settings.envoy,
        )
    ]


def choose_port(settings: setting.Settings, environment: str, used: Sequence[int]) -> int:
    """
    The listener port of a new environment.

    Raises:
        ConflictError: something else listens on production's port.
    """
    if environment == "production":
        if settings.production_port in used or not _free(settings.production_port):
            raise errors.ConflictError(
                f"Port {settings.production_port} on 127.0.0.1, where production shall listen, is taken.",
                remedy="Stop what listens there, or choose another with SOFTLAUNCH_PRODUCTION_PORT and `down`, `up`.",
                code=errors.Code.PORT_TAKEN,
            )
        return settings.production_port
    taken = {*used, settings.production_port, settings.api_port}
    for port in range(settings.environment_port_first, _PORT_MAX + 1):
        if port not in taken and _free(port):
            return port
    raise errors.ConflictError(
        f"No port from {settings.environment_port_first} upward is free for environment {environment!r}.",
        remedy="Choose a lower first one with SOFTLAUNCH_ENVIRONMENT_PORT_FIRST.",
        code=errors.Code.PORT_TAKEN,
    )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _gateway(home: homes.Home, settings: setting.Settings) -> envoy_gateway.EnvoyGateway:
    return envoy_gateway.EnvoyGateway(
        directory=home.gateway,
        run_directory=home.run,
        log=home.logs / "envoy.log",
        timekeeper=local_clock.SystemClock(),
        binary=settings.envoy,
        log_budget_bytes=settings.attempt_log_bytes_max,
    )


def _fleet(home: homes.Home, settings: setting.Settings, shelves: shelf.Shelf) -> local_fleet.LocalFleet:
    launcher = _launcher(home, settings, shelves)
    return local_fleet.LocalFleet(run_dir=home.run, logs_dir=home.logs, launcher=launcher)


def _launcher(home: homes.Home, settings: setting.Settings, shelves: shelf.Shelf) -> local_launch.Launcher:
    environments = uv_environments.UvEnvironments(home.venvs)

    def launcher(spec: fleet.ReplicaSpec) -> local_launch.Launch:
        variables = env_references.resolve(spec.env, os.environ)
        if spec.fallback is not None:
            return local_launch.Launch(
                python=pathlib.Path(sys.executable),
                release_directory=None,
                module=fallback_server.__name__,
                env=variables,
                arguments=("--spec", str(_fallback_file(home, spec))),
            )
        directory, content = shelves.take(spec.release)
        arguments: tuple[str, ...] = ("--batch-rows-max", str(settings.batch_rows_max))
        if spec.capture is not None:
            arguments = (*arguments, *_capture(home, spec, spec.capture))
        if content.runtime is release.Runtime.ONNX:
            python = pathlib.Path(sys.executable)
        else:
            python = environments.serving_python(directory)
            variables["PYTHONPATH"] = str(environments.import_path())
        return local_launch.Launch(python=python, release_directory=directory, env=variables, arguments=arguments)

    return launcher


def _capture(home: homes.Home, spec: fleet.ReplicaSpec, capture: spec_values.CaptureSpec) -> tuple[str, ...]:
    directory = home.spool / spec.service / spec.environment
    return (
        "--spool",
        str(directory),
        "--spool-bytes-max",
        str(capture.disk_bytes_max),
        "--capture-percent",
        str(capture.percent),
    )


def _fallback_file(home: homes.Home, spec: fleet.ReplicaSpec) -> pathlib.Path:
    """What a fallback server answers from, as the file it is started with."""
    assert spec.fallback is not None
    path = home.fallbacks / f"{spec.release.short}.json"
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        unfinished.write_bytes(fallbacks.dump(fallbacks.Task(fallback=spec.fallback)))
        unfinished.replace(path)
    return path


def _attachment(shelves: shelf.Shelf, digest: release.Digest) -> attached_fleet.Attachment | None:
    _, content = shelves.take(digest)
    if content.attached_url is None:
        return None
    return attached_fleet.Attachment(url=content.attached_url, ready_path=content.attached_ready)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A release and the commit it was built from."""

    commit: source.Commit
    spec: spec_values.ServiceSpec
    result: workshop.BuildResult


def build(home: homes.Home, directory: pathlib.Path, ref: str, *, progress: workshop.Progress) -> Built:
    """
    Builds a commit of the service in `directory`.

    Raises:
        ConfigError: the ref, softlaunch.yaml or something of the service is not right; nothing was stored.
        UnavailableError: disk, network, git or a package registry failed; nothing was stored.
    """
    home.prepare()
    repository = git_source.GitSource(directory)
    commit = repository.resolve(ref)
    raw = repository.read(commit, service_file.FILE_NAME)
    if raw is None:
        raise errors.ConfigError(
            f"There is no {service_file.FILE_NAME} in {directory.resolve().name} at {commit.id[:12]}.",
            remedy="Write one with `softlaunch init` and commit it, or name the service's folder with --dir.",
            code=errors.Code.SERVICE_FILE,
        )
    service = _with_fallback_files(service_file.parse_bytes(raw), repository, commit)
    if service.model.source is spec_values.ModelSource.NONE:
        raise errors.ConfigError(
            f"{service.service} only attaches what runs already: there is nothing to build.",
            remedy="Run `softlaunch attach`, or give `model:`.",
            code=errors.Code.ATTACH_URL,
        )
    environments = uv_environments.UvEnvironments(home.venvs)
    shop = workshop.Workshop(
        source=repository,
        registry=oci_registry.OciRegistry(home.registry),
        environments=environments,
        workbench=local_workbench.LocalWorkbench(environments.import_path()),
        tables=arrow_tables.ArrowTables(),
        downloads=http_downloads.HttpDownloads(),
        clock=local_clock.SystemClock(),
        cache=home.cache,
        serving_python=pathlib.Path(sys.executable),
        loader=unpacked.__name__,
    )
    return Built(commit=commit, spec=service, result=building.build(service, commit, shop, progress=progress))


def attach(home: homes.Home, service: str, url: str, ready: str) -> release.Digest:
    """
    The release that stands for a running URL.

    Raises:
        ConfigError: the URL is none that requests can be sent to.
        UnavailableError: the registry cannot be written.
    """
    home.prepare()
    with tempfile.TemporaryDirectory(prefix="softlaunch-attach-") as scratch:
        made = attaching.write(pathlib.Path(scratch) / "release", service=service, url=url, ready_path=ready)
        return oci_registry.OciRegistry(home.registry).push(made)


def _with_fallback_files(
    service: spec_values.ServiceSpec, repository: git_source.GitSource, commit: source.Commit
) -> spec_values.ServiceSpec:
    """The service whose fallbacks carry the files they answer from: they run outside of any release."""

    def filled(found: spec_values.FallbackSpec) -> spec_values.FallbackSpec:
        if found.kind not in fallbacks.LOCAL:
            return found
        name = found.target.partition(":")[0] if found.kind is spec_values.FallbackKind.PYTHON else found.target
        raw = repository.read(commit, name)
        if raw is None:
            raise errors.ConfigError(
                f"The fallback's file {name!r} is not in commit {commit.id[:12]}.",
                remedy="Commit it beside softlaunch.yaml, or correct `fallback:`.",
                code=errors.Code.FALLBACK_UNUSABLE,
            )
        try:
            whole = dataclasses.replace(found, content=raw.decode())
        except UnicodeDecodeError as error:
            raise errors.ConfigError(
                f"The fallback's file {name!r} is no UTF-8 text.",
                remedy="Save it as UTF-8.",
                code=errors.Code.FALLBACK_UNUSABLE,
            ) from error
        fallbacks.check(whole)
        return whole

    return dataclasses.replace(
        service,
        environments=tuple(
            dataclasses.replace(environment, fallbacks=tuple(filled(found) for found in environment.fallbacks))
            for environment in service.environments
        ),
    )


def pin(directory: pathlib.Path) -> dict[str, str]:
    """
    Fetches the URL of the model of the softlaunch.yaml in `directory` and pins its sha256 in softlaunch.lock.

    Raises:
        ConfigError: there is no such file, or its model has no URL.
        UnavailableError: it cannot be fetched or written.
    """
    service = service_file.load(directory / service_file.FILE_NAME)
    return obtain.pin(service, directory, http_downloads.HttpDownloads())


def spool(home: homes.Home) -> spools.Spool:
    """What model servers recorded, to be read; they alone write it."""
    return local_spool.LocalSpool(home.spool)


def find_release(home: homes.Home, reference: str, *, service: str) -> release.Digest:
    """
    The release of a service that a digest or its beginning, a commit, tag or branch names.

    Raises:
        ConfigError: there is none.
    """
    found = oci_registry.OciRegistry(home.registry).resolve(reference, service=service)
    if found is None:
        raise errors.ConfigError(
            f"No release of {service!r} is called {reference!r}.",
            remedy="Give a digest, commit, tag or branch that was built with `softlaunch build`.",
            code=errors.Code.NO_RELEASE,
        )
    return found


def replay(
    home: homes.Home,
    settings: setting.Settings,
    plan: replaying.Plan,
    *,
    candidate: release.Digest,
    environment: spec_values.EnvironmentSpec,
    since: float,
    until: float,
    progress: Callable[[replaying.Progress], None],
    see: Callable[[pairing.Pair], None],
) -> replaying.ReplayReport:
    """
    Starts the candidate where no user can reach it, sends what was recorded in [since, until) and judges the answers.

    Raises:
        ConfigError: the candidate is no release that can be started, or nothing of stable's was recorded.
        ConflictError: another replay runs on this home.
        UnavailableError: the candidate does not become ready.
    """
    home.prepare()
    shelves = shelf.Shelf(oci_registry.OciRegistry(home.registry), home.releases)
    if shelves.take(candidate)[1].attached_url is not None:
        raise errors.ConfigError(
            f"Release {candidate.short} is an address that somebody else runs: no copy of it can be started.",
            remedy="Replay a release that was built; launch this one with `softlaunch attach`.",
            code=errors.Code.ATTACH_URL,
        )
    usual = _launcher(home, settings, shelves)

    def launcher(spec: fleet.ReplicaSpec) -> local_launch.Launch:
        found = usual(spec)
        return dataclasses.replace(found, arguments=(*found.arguments, "--tell-service-time"))

    place = store.LiveRecord(service=plan.service, environment=plan.environment, spec=environment, stable=None)
    specs = [dataclasses.replace(found, capture=None) for found in desired.arm_specs(place, candidate, environment)]
    clock = local_clock.SystemClock()
    isolated = isolation.isolated_fleet(run_dir=home.run / "replay", logs_dir=home.logs / "replays", launcher=launcher)
    with isolated as replicas:
        sockets = replaying.candidate_sockets(replicas, specs, clock=clock)
        sender = replay_sender.SocketSender(
            sockets, release=candidate.short, timeout_seconds=plan.request_timeout_seconds
        )
        with contextlib.closing(sender):
            records = spool(home).scan(plan.service, plan.environment, since=since, until=until)
            return replaying.run(plan, records, to=sender, clock=clock, progress=progress, see=see)
