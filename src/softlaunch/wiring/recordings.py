"""What was recorded: evidence, predictions, and replays of them."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable

from softlaunch import errors
from softlaunch.adapters.archive import files as file_archive
from softlaunch.adapters.git import source as git_source
from softlaunch.adapters.local import clock as local_clock
from softlaunch.adapters.local import isolated as isolation
from softlaunch.adapters.local import launch as local_launch
from softlaunch.adapters.local import replay_sender
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.spool import local as local_spool
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.controller import (
    desired,
    shelf,
)
from softlaunch.controller import replay as replaying
from softlaunch.core import release
from softlaunch.core import spec as spec_values
from softlaunch.core.shadow import pairing
from softlaunch.ports import archive, fleet, store
from softlaunch.ports import spool as spools
from softlaunch.wiring import places


def evidence(home: homes.Home) -> archive.Archive:
    """The evidence archive, to be read; the control plane alone writes it."""
    return file_archive.FileArchive(home.evidence)


def spool(home: homes.Home) -> spools.Spool:
    """What model servers recorded, to be read; they alone write it."""
    return local_spool.LocalSpool(home.spool)


def find_release(home: homes.Home, reference: str, *, service: str, directory: pathlib.Path) -> release.Digest:
    """
    The release of a service that a digest or its beginning, a commit, tag or branch names.

    Args:
        home: Whose registry has it.
        reference: What git makes a commit of in `directory` (HEAD, main~1) is understood as well.
        service: The service.
        directory: The service's folder.

    Raises:
        ConfigError: there is none.
    """
    found, _ = _find(home, reference, service, directory)
    if found is None:
        raise errors.ConfigError(
            f"No release of {service!r} is called {reference!r}.",
            remedy="Give a digest, commit, tag or branch that was built with `softlaunch build`.",
            code=errors.Code.NO_RELEASE,
        )
    return found


def known_as(home: homes.Home, reference: str, *, service: str, directory: pathlib.Path) -> str:
    """
    `reference` as the control plane understands it, which knows no repository: a digest or a commit.

    The commit is told where one was named: a release may have been launched from several, with other settings each.
    What is not found here is left as it is: the control plane may know more.
    """
    found, commit = _find(home, reference, service, directory)
    if commit or found is None:
        return commit or reference
    return found.value if found.value.removeprefix("sha256:").startswith(reference) else reference


def _find(home: homes.Home, reference: str, service: str, directory: pathlib.Path) -> tuple[release.Digest | None, str]:
    """The release, and the commit that git made of its name; empty where git was not needed."""
    registry = oci_registry.OciRegistry(home.registry)
    found = registry.resolve(reference, service=service)
    if found is not None:
        return found, ""
    with contextlib.suppress(errors.ConfigError):  # no repository, or no such commit: then it is no release either
        commit = git_source.GitSource(directory).resolve(reference).id
        found = registry.resolve(commit, service=service)
        return found, commit if found is not None else ""
    return None, ""


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
    usual = places.launcher(home, settings, shelves)

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
            compared = dataclasses.replace(plan, compared_paths=environment.compared_paths)
            return replaying.run(compared, records, to=sender, clock=clock, progress=progress, see=see)
