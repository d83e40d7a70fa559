"""The pipeline, with a home's caches, registry, keys and records."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.adapters.local import clock as local_clock
from softlaunch.config import home as homes
from softlaunch.controller.pipeline import passed_tests, run_record, shipping, workshop
from softlaunch.core import identities, intoto, release, spec
from softlaunch.wiring import builds, evidence, registering


def order(home: homes.Home, directory: pathlib.Path, ref: str, environment: str | None, by: str) -> shipping.Order:
    """
    What `ship` is asked for, looked up in the repository.

    Raises:
        ConfigError: no such ref, softlaunch.yaml or environment.
        UnavailableError: git failed.
    """
    home.prepare()
    found = builds.sources(directory, ref)
    return shipping.Order(
        service=found.spec,
        environment=_environment(found.spec, environment),
        commit=found.commit,
        ref=ref,
        by=by,
        dirty=tuple(found.repository.dirty()),
    )


def ship(
    home: homes.Home,
    directory: pathlib.Path,
    asked: shipping.Order,
    launches: shipping.Launches,
    *,
    show: workshop.Progress,
) -> run_record.RunRecord:
    """See controller.pipeline.shipping.ship."""

    def make(progress: workshop.Progress, reports: pathlib.Path) -> shipping.Made:
        found = builds.Sources(
            directory=directory, repository=builds.repository(directory), commit=asked.commit, spec=asked.service
        )
        built = builds.build_sources(home, found, progress=progress, reports=reports)
        _attest(home, built.result.digest, reports, progress, asked.service.keyless)
        return shipping.Made(digest=built.result.digest, reused=built.result.reused)

    def push(progress: workshop.Progress, digest: release.Digest) -> None:
        with workshop.step(progress, "push") as step:
            target = f"{asked.service.registry}:{asked.commit.id}"
            try:
                carried = registering.push(home, digest.value, target, _quietly)
            except errors.ConfigError as error:  # a login that ran out is no fault of the commit: it is tried again
                raise errors.UnavailableError(error.message, remedy=error.remedy, code=error.code) from error
            step.cached = carried.carried_bytes == 0
            step.detail = (
                f"{carried.reference} is there"
                if step.cached
                else f"{carried.reference}, {carried.carried_bytes:,} bytes sent, {carried.referrer_count} attached"
            )

    return shipping.ship(
        asked,
        run_record.Runs(home.pipelines),
        launches,
        build=make,
        push=push if asked.service.registry is not None else None,
        clock=local_clock.SystemClock(),
        show=show,
    )


def runs(home: homes.Home, service: str | None = None) -> Sequence[run_record.RunRecord]:
    """Runs of that home, newest first."""
    return run_record.Runs(home.pipelines).every(service)


def run(home: homes.Home, number: int) -> tuple[run_record.RunRecord, pathlib.Path]:
    """
    One run, and where its logs and reports are.

    Raises:
        ConfigError: there is none of that number.
    """
    kept = run_record.Runs(home.pipelines)
    found = kept.find(number)
    return found, kept.directory(found.service, found.environment, found.run)


def _quietly(_: str) -> None:
    """The step says at its end what was sent."""


def _attest(
    home: homes.Home,
    digest: release.Digest,
    reports: pathlib.Path,
    progress: workshop.Progress,
    keyless: identities.Keyless | None,
) -> None:
    """Signs the tests' reports as evidence of the release, where the home has a key or the job a token."""
    written = {"junit": reports / passed_tests.JUNIT, "coverage": reports / passed_tests.COVERAGE}
    there = {name: path for name, path in written.items() if path.is_file()}
    signer = evidence.signer_of(home, keyless) if there else None
    if signer is None:
        return
    with workshop.step(progress, "attest") as step:
        evidence.attest(home, digest.value, {intoto.Kind.TESTS: there}, signer=lambda: signer)
        step.detail = " and ".join(path.name for path in there.values())


def _environment(service: spec.ServiceSpec, name: str | None) -> spec.EnvironmentSpec:
    names = ", ".join(found.name for found in service.environments)
    if name is None and len(service.environments) == 1:
        return service.environments[0]
    found = service.environment(name) if name is not None else None
    if found is None:
        said = f"has no environment {name!r} at that commit; it has" if name is not None else "has the environments"
        raise errors.ConfigError(
            f"{service.service} {said} {names}.",
            remedy="Use one of them with --env, or add it to softlaunch.yaml and commit.",
            code=errors.Code.WHICH_PLACE,
        )
    return found
