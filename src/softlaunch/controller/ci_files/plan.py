"""What every exported file is made of: a service's environments, their branches, and where the service is."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.core import spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """An environment that a branch is shipped to."""

    environment: str
    branch: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    service: str
    environments: tuple[str, ...]
    """Each of them can be rolled back; the one with users comes last in most files."""
    ways: tuple[Way, ...]
    folder: str
    """The service's, below the repository's top; empty: the top itself."""
    version: str
    """Of softlaunch, in which the files are written and which the checks install."""
    keyless: bool = False
    """Whether a ship signs as the job it runs in, and so needs an identity token."""

    @property
    def prefix(self) -> str:
        """How files and checks are called, so that services of one repository do not take each other's place."""
        return f"softlaunch-{self.service}" if self.folder else "softlaunch"

    @property
    def branches(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(way.branch for way in self.ways))

    def of(self, branch: str) -> tuple[str, ...]:
        """The environments that the branch is shipped to."""
        return tuple(way.environment for way in self.ways if way.branch == branch)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exported:
    """What one system needs."""

    files: Mapping[str, str]
    """Text by path below the repository's top."""
    next_steps: tuple[str, ...]
    """What only a person can do, one sentence each."""


def plan(service: spec.ServiceSpec, *, folder: pathlib.PurePath, version: str) -> Plan:
    """
    Of a service file.

    Raises:
        ConfigError: no environment says which branch it is made of.
    """
    ways = tuple(
        Way(environment=found.name, branch=found.branch) for found in service.environments if found.branch is not None
    )
    if not ways:
        raise errors.ConfigError(
            f"No environment of {service.service} has a `branch:`, so no merge would ship anything.",
            remedy="Say in softlaunch.yaml which branch each environment is made of, such as `branch: main`.",
            code=errors.Code.SERVICE_FILE,
        )
    return Plan(
        service=service.service,
        environments=tuple(found.name for found in service.environments),
        ways=ways,
        folder="" if folder == pathlib.PurePath() else folder.as_posix(),
        version=version,
        keyless=service.keyless is not None,
    )
