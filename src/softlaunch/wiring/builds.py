"""Releases: built from commits, or made of URLs that run already."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import tempfile
from collections.abc import Callable

from softlaunch import errors
from softlaunch.adapters.build_tools import tables as arrow_tables
from softlaunch.adapters.data_sources import by_scheme
from softlaunch.adapters.git import source as git_source
from softlaunch.adapters.local import clock as local_clock
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.python_env import uv as uv_environments
from softlaunch.adapters.python_env import workbench as local_workbench
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.controller import attach as attaching
from softlaunch.controller.pipeline import build as building
from softlaunch.controller.pipeline import files, mlflow_registry, obtain, workshop
from softlaunch.core import fallbacks, release
from softlaunch.core import spec as spec_values
from softlaunch.ports import source
from softlaunch.serving import unpacked
from softlaunch.wiring import evidence, locking, training_ties


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A release and the commit it was built from."""

    commit: source.Commit
    spec: spec_values.ServiceSpec
    result: workshop.BuildResult


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """A commit of a service, as it stands in its repository."""

    directory: pathlib.Path
    repository: git_source.GitSource
    commit: source.Commit
    spec: spec_values.ServiceSpec


def build(home: homes.Home, directory: pathlib.Path, ref: str, *, progress: workshop.Progress) -> Built:
    """
    Builds a commit of the service in `directory`.

    Raises:
        ConfigError: the ref, softlaunch.yaml or something of the service is not right; nothing was stored.
        UnavailableError: disk, network, git or a package registry failed; nothing was stored.
    """
    home.prepare()
    return build_sources(home, sources(directory, ref), progress=progress)


def repository(directory: pathlib.Path) -> git_source.GitSource:
    """The repository around the service's folder."""
    return git_source.GitSource(directory)


def sources(directory: pathlib.Path, ref: str) -> Sources:
    """
    The commit that is to be built, and what its softlaunch.yaml says.

    Raises:
        ConfigError: as `build`.
        UnavailableError: git failed.
    """
    found = repository(directory)
    commit = found.resolve(ref)
    raw = found.read(commit, service_file.FILE_NAME)
    if raw is None:
        raise errors.ConfigError(
            f"There is no {service_file.FILE_NAME} in {directory.resolve().name} at {commit.id[:12]}.",
            remedy="Write one with `softlaunch init` and commit it, or name the service's folder with --dir.",
            code=errors.Code.SERVICE_FILE,
        )
    service = _with_fallback_files(
        service_file.parse_bytes(raw), lambda name: found.read(commit, name), f"in commit {commit.id[:12]}"
    )
    if service.model.source is spec_values.ModelSource.NONE:
        raise errors.ConfigError(
            f"{service.service} has {'no environments, only jobs' if not service.environments else 'no model'}: there"
            " is nothing to build.",
            remedy="Run `softlaunch attach` or `softlaunch job run`, or give `model:`.",
            code=errors.Code.ATTACH_URL,
        )
    return Sources(directory=directory, repository=found, commit=commit, spec=service)


def build_sources(
    home: homes.Home, found: Sources, *, progress: workshop.Progress, reports: pathlib.Path | None = None
) -> Built:
    """
    As `build`, for sources that were found.

    Args:
        home: Prepared.
        found: What `sources` gave.
        progress: Told of each step.
        reports: Directory that gets the tests' reports.

    Raises:
        SoftlaunchError: as `build`.
    """
    environments = uv_environments.UvEnvironments(home.venvs)
    bench = local_workbench.LocalWorkbench(environments.import_path())
    shop = workshop.Workshop(
        source=found.repository,
        registry=oci_registry.OciRegistry(home.registry),
        environments=environments,
        workbench=bench,
        tables=arrow_tables.ArrowTables(),
        downloads=by_scheme.Downloads(),
        materials=locking.materials_of(found.directory),
        clock=local_clock.SystemClock(),
        cache=home.cache,
        serving_python=pathlib.Path(sys.executable),
        loader=unpacked.__name__,
        reports=reports,
        train=training_ties.Trainer(
            home=home,
            bench=bench,
            directory=found.directory,
            commit=found.commit.id,
            service=found.spec.service,
        ),
    )
    result = building.build(found.spec, found.commit, shop, progress=progress)
    evidence.of_build(home, found.repository, found.commit, found.spec, result=result, progress=progress)
    training_ties.tie(home, found.repository, found.commit, found.spec, result=result, progress=progress)
    return Built(commit=found.commit, spec=found.spec, result=result)


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


def described(directory: pathlib.Path) -> spec_values.ServiceSpec:
    """
    The service as the files of the directory say now, committed or not.

    Raises:
        ConfigError: softlaunch.yaml is missing or wrong, or a file that a fallback answers from.
    """

    def read(name: str) -> bytes | None:
        path = directory / name
        return path.read_bytes() if path.is_file() else None

    return _with_fallback_files(service_file.load(directory / service_file.FILE_NAME), read, f"in {directory}")


def _with_fallback_files(
    service: spec_values.ServiceSpec, read: Callable[[str], bytes | None], where: str
) -> spec_values.ServiceSpec:
    """The service whose fallbacks carry the files they answer from: they run outside of any release."""

    def filled(found: spec_values.FallbackSpec) -> spec_values.FallbackSpec:
        if found.kind not in fallbacks.LOCAL:
            return found
        name = found.target.partition(":")[0] if found.kind is spec_values.FallbackKind.PYTHON else found.target
        raw = read(name)
        if raw is None:
            raise errors.ConfigError(
                f"The fallback's file {name!r} is not {where}.",
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


def pin(home: homes.Home, directory: pathlib.Path) -> dict[str, str]:
    """
    Fetches the model of the softlaunch.yaml in `directory` and pins what it is in softlaunch.lock.

    Returns:
        url and sha256; of an MLflow model also its version, under `model` in place of `url`.

    Raises:
        ConfigError: there is no such file, or its model has no URL and comes from no registry.
        UnavailableError: it cannot be fetched or written.
    """
    service = service_file.load(directory / service_file.FILE_NAME)
    uri = service.model.mlflow_uri
    if uri is None:
        return obtain.pin(service, directory, by_scheme.Downloads())
    home.prepare()
    environments = uv_environments.UvEnvironments(home.venvs)
    lock_name = files.lock_name(directory)
    interpreter = environments.building((directory / lock_name).read_bytes() if lock_name is not None else None)
    bench = local_workbench.LocalWorkbench(environments.import_path())
    return mlflow_registry.pin(uri, directory, bench, interpreter.python)
