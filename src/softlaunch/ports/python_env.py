"""Python environments: a release's own packages, and the commands and tools that a build runs with them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interpreter:
    python: pathlib.Path
    own: bool
    """False: softlaunch's interpreter stands in, because the service has no lock file."""
    compile_problem: str | None = None
    """Why models cannot be compiled with it, one clause; None when they can. Only asked of building interpreters."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandResult:
    exit_code: int | None
    """None when it was stopped after the timeout; negative when a signal ended it."""
    output: str
    """The last lines it printed, both streams."""
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Container:
    """In what a command runs, and what it may take there."""

    image: str
    """As podman and docker name images; pulled when absent."""
    memory_bytes_max: int | None = None
    """Swap included; None: as much as there is."""
    cpus: float | None = None
    """So many CPUs' time; None: all of them."""


class Environments(Protocol):
    def serving(self, lock: bytes | None) -> Interpreter:
        """
        The environment of a lock file with what serving needs; made when absent, never half.

        Raises:
            UnavailableError: it cannot be made.
        """
        ...

    def building(self, lock: bytes | None) -> Interpreter:
        """The same with test tools and, where they fit the lock, the model compiler."""
        ...


class Workbench(Protocol):
    def command(
        self,
        words: str,
        *,
        python: pathlib.Path,
        directory: pathlib.Path,
        timeout_seconds: float,
        variables: Mapping[str, str],
        log: pathlib.Path | None = None,
        container: Container | None = None,
        writable: Sequence[pathlib.Path] = (),
    ) -> CommandResult:
        """
        Runs a user's command, split like a shell does but without one, with the environment's programs first.

        Args:
            words: The command.
            python: Of the environment.
            directory: Where it runs.
            timeout_seconds: After which it is killed, with everything it started.
            variables: Added to its environment.
            log: File that gets everything it prints, while it prints; only the last lines are returned.
            container: Runs it there; only `directory` and `writable` can be written.
            writable: Directories besides.

        Raises:
            ConfigError: it cannot be split, or there is no such program.
            UnavailableError: a container cannot be made.
        """
        ...

    def tool(self, name: str, request: Mapping[str, Any], *, python: pathlib.Path) -> dict[str, Any]:
        """
        Runs one of our own programs with that interpreter: JSON in, JSON out.

        Raises:
            SoftlaunchError: what the program refused, under its own code.
            UnavailableError: it died or hung.
        """
        ...

    def coverage(self, *, python: pathlib.Path, directory: pathlib.Path, command: str) -> CoverageProbe:
        """Prepares measuring the coverage of one command that runs in `directory`."""
        ...


class CoverageProbe(Protocol):
    command: str
    """The command to run instead."""
    variables: Mapping[str, str]
    """What it must see in its environment."""
    place: pathlib.Path
    """The directory that it writes to."""

    def percent(self, xml: pathlib.Path | None = None) -> float | None:
        """Share of lines run, 0 to 100; None when nothing was measured. The report goes to `xml` (Cobertura) too."""
        ...
