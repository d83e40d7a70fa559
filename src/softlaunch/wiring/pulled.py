"""Releases that are launched without being built, as the softlaunch.yaml of whoever launches them says."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Callable

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.core import release, spec
from softlaunch.wiring import builds, registering

_ELSEWHERE = re.compile(rf"{service_file.REGISTRY_HOST}/[^:@]+[:@].+")
"""HOST/NAME and a tag or digest: with its colon it is no name of git's."""
_HEX = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{12,64})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pulled:
    """A release of this home, and how it is to be launched."""

    digest: release.Digest
    spec: spec.ServiceSpec
    commit: str
    """Its lineage's; empty when it has none."""


def find(home: homes.Home, directory: pathlib.Path, reference: str, show: Callable[[str], None]) -> Pulled | None:
    """
    The release that HOST/NAME:TAG, HOST/NAME@sha256:HEX or a digest names; None when `reference` is none of these.

    Environments, their strategies and what evidence they ask for are those of `directory`'s softlaunch.yaml: what a
    registry holds has no say in whether it may run.

    Raises:
        ConfigError: no such release, a release of another service, or softlaunch.yaml is missing or wrong.
        UnavailableError: the registry does not answer and the release is not here, or what it answers is damaged.
    """
    home.prepare()
    releases = oci_registry.OciRegistry(home.registry)
    elsewhere = _ELSEWHERE.fullmatch(reference)
    if elsewhere is None:
        digest = _named(releases, reference)
        if digest is None:
            return None
        service = builds.described(directory)
    else:
        service = builds.described(directory)  # what is wrong with it is known before anything is fetched
        digest = _fetched(home, releases, reference, show)
    if releases.resolve(digest.value, service=service.service) != digest:
        raise errors.ConfigError(
            f"Release {digest.short} is not of {service.service}, which {service_file.FILE_NAME} describes.",
            remedy="Name the folder of its softlaunch.yaml with --dir.",
            code=errors.Code.NO_RELEASE,
        )
    lineage = releases.lineage(digest)
    return Pulled(digest=digest, spec=service, commit=lineage[-1].commit if lineage else "")


def _fetched(
    home: homes.Home, releases: oci_registry.OciRegistry, reference: str, show: Callable[[str], None]
) -> release.Digest:
    try:
        return registering.pull(home, reference, show).digest
    except errors.UnavailableError as error:
        _, at, wanted = reference.partition("@")
        if not at or releases.resolve(wanted) is None or wanted != str(releases.resolve(wanted)):
            raise
        digest = release.Digest(wanted)
        releases.check(digest)
        show(f"{error.message} {digest.short} was pulled before and is whole.")
        return digest


def _named(releases: oci_registry.OciRegistry, reference: str) -> release.Digest | None:
    match = _HEX.fullmatch(reference)
    found = releases.resolve(reference) if match is not None else None
    if match is not None and found is not None and found.value.startswith(f"sha256:{match['hex']}"):
        return found
    if reference.startswith("sha256:"):
        raise errors.ConfigError(
            f"This home has no release {reference[:19]}.",
            remedy="Pull it: `softlaunch deploy HOST/NAME@sha256:HEX`, or `softlaunch registry pull`.",
            code=errors.Code.NO_RELEASE,
        )
    return None
