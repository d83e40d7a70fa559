"""What a build works with, and how it tells what it is doing."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from softlaunch import errors
from softlaunch.core import release
from softlaunch.ports import clock, download, materials, python_env, registry, source, tables


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOrigin:
    """What is known of the model that was obtained, before it was compiled."""

    sha256: str = ""
    """Of its file, or the digest of its folder (files.model_digest); empty: there is none, or nobody looked."""
    mlflow_run: str = ""
    """The run that logged it, as the MLmodel file in its folder says."""


class Train(Protocol):
    """Runs `model.train`; see ports.python_env.Workbench.command."""

    def __call__(
        self, words: str, *, python: pathlib.Path, directory: pathlib.Path, timeout_seconds: float
    ) -> python_env.CommandResult:
        """How it ended."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workshop:
    source: source.Source
    registry: registry.Registry
    environments: python_env.Environments
    workbench: python_env.Workbench
    tables: tables.Tables
    downloads: download.Downloads
    clock: clock.Clock
    cache: pathlib.Path
    """Directory of what can be made again: downloads, trained models, records of builds."""
    serving_python: pathlib.Path
    """The interpreter that serves ONNX models: softlaunch's own."""
    loader: str
    """Module of the model server that reads a release directory and loads its model (read, load_model)."""
    materials: Sequence[materials.Materials] = ()
    """Ways of keeping files outside of Git, asked in this order."""
    reports: pathlib.Path | None = None
    """Directory that gets what the tests printed, junit.xml and coverage.xml; None: they are not kept."""
    train_timeout_seconds: float = 21_600.0
    train: Train | None = None
    """Runs and records training; None: the workbench runs it, and nothing is kept."""


class StepState(enum.StrEnum):
    STARTED = "started"
    DONE = "done"
    CACHED = "cached"
    """Done before with the same inputs."""
    SKIPPED = "skipped"
    FAILED = "failed"


Progress: TypeAlias = Callable[[str, str, str], None]
"""Called with the step's name, a StepState and one line of detail."""


def silent(name: str, state: str, detail: str) -> None:
    """Tells nobody."""


@dataclasses.dataclass(kw_only=True)
class Step:
    """One step under way; what is put here is told when it ends."""

    detail: str = ""
    skipped: bool = False
    cached: bool = False


@contextlib.contextmanager
def step(progress: Progress, name: str) -> Iterator[Step]:
    """Tells the step's start and end; an error ends it as failed and goes on up."""
    progress(name, StepState.STARTED, "")
    under_way = Step()
    try:
        yield under_way
    except errors.SoftlaunchError as error:
        progress(name, StepState.FAILED, error.message)
        raise
    ended = StepState.CACHED if under_way.cached else StepState.DONE
    progress(name, StepState.SKIPPED if under_way.skipped else ended, under_way.detail)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildResult:
    digest: release.Digest
    lineage: release.Lineage
    gates: tuple[release.GateResult, ...]
    notes: tuple[str, ...]
    """What a reader should know and no gate says: gaps, why the original is served, measured latency."""
    reused: bool
    """The same inputs were built before: nothing was run again."""
    model: ModelOrigin = dataclasses.field(default_factory=ModelOrigin)
