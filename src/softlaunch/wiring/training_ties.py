"""Releases and the training runs that made their models: recorded by the build, or found by what they produced."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shlex
import time
from typing import Any

from softlaunch import errors
from softlaunch.adapters.python_env import workbench as local_workbench
from softlaunch.config import home as homes
from softlaunch.controller import training as kept_training
from softlaunch.controller.pipeline import workshop
from softlaunch.core import intoto, spec, training_record
from softlaunch.ports import python_env, source
from softlaunch.wiring import evidence, mlflow_runs, training

_TRACKING = "MLFLOW_TRACKING_URI"
_LINES = 40
"""Of the training's output, for people; as many as a workbench keeps."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
    """
    Runs a build's own training and records it as `softlaunch run` does; see controller.pipeline.workshop.Train.

    Args:
        home: Where the record goes.
        bench: Knows how commands are run in a release's environment.
        directory: Of the service; the training runs in a copy.
        commit: What is built.
        service: Its name names the run.
    """

    home: homes.Home
    bench: local_workbench.LocalWorkbench
    directory: pathlib.Path
    commit: str
    service: str

    def __call__(
        self, words: str, *, python: pathlib.Path, directory: pathlib.Path, timeout_seconds: float
    ) -> python_env.CommandResult:
        """See controller.pipeline.workshop.Train."""
        arguments, environment = self.bench.prepared(words, python=python, directory=directory, variables={})
        asked = training.Order(
            command=tuple(arguments),
            directory=directory,
            name=f"{self.service}-{self.commit[:12]}",
            environment=environment,
            timeout_seconds=timeout_seconds,
            copy=training.Copy(
                commit=self.commit, directory=self.directory.absolute(), command=tuple(shlex.split(words))
            ),
        )
        began = time.monotonic()
        found = training.record(self.home, asked, training.View(raw=_ignore, state=_ignore))
        seconds = time.monotonic() - began
        log = training.records(self.home).directory(found.run) / kept_training.OUTPUT
        return python_env.CommandResult(
            exit_code=found.exit_code if seconds < timeout_seconds else None,
            output="\n".join(log.read_text(errors="replace").splitlines()[-_LINES:]),
            seconds=seconds,
        )


def tie(
    home: homes.Home,
    repository: source.Source,
    commit: source.Commit,
    service: spec.ServiceSpec,
    *,
    result: workshop.BuildResult,
    progress: workshop.Progress,
) -> None:
    """
    Ties a release to the run that produced its model: written beside the run, and signed where the home has a key.

    A run that recorded the model's bytes goes before the one that an MLflow model names.

    Raises:
        ConfigError: the key cannot be read or unlocked, or the token not be used; the release is there.
        UnavailableError: the tie cannot be written, or Sigstore's services refuse.
    """
    sha256 = result.model.sha256 or _named(repository, commit, service)
    found = kept_training.training_run_of(home.training, sha256) if sha256 else None
    if found is None and not result.model.mlflow_run:
        return
    with workshop.step(progress, "training") as step:
        by = kept_training.BY_DIGEST
        if found is None:
            by, step.detail = kept_training.BY_MLFLOW, f"the model is of MLflow's run {result.model.mlflow_run}"
            found, why = _of_mlflow(home, result.model.mlflow_run)
            if found is None:
                step.detail += f", which is not in this home: {why}"
                step.skipped = True
                return
        else:
            step.detail = f"the model is of run {found.run}"
        use = kept_training.Use(release=result.digest.value, service=service.service, sha256=sha256, by=by)
        training.records(home).used(found.run, use)
        signer = evidence.signer_of(home, service.keyless)
        if signer is None:
            return
        statement = intoto.Statement(
            kind=intoto.Kind.TRAINING,
            service=service.service,
            subject=result.digest,
            predicate=predicate(found, sha256, by),
        )
        evidence.of(home).attach([statement], signer)
        step.detail += f", signed by {evidence.name_of(signer)}"


def predicate(found: training_record.TrainingRecord, sha256: str, by: str) -> dict[str, Any]:
    """
    What is said of the run that produced a release's model.

    Args:
        found: The run.
        sha256: Of the model's file, or the digest of its folder.
        by: How the two were found to belong together.
    """
    return {
        "run": found.run,
        "model": {"sha256": sha256, "path": found.produced(sha256) or "", "tied_by": by},
        "digest": {"sha256": found.digest},
        "record": found.document(),
    }


def _named(repository: source.Source, commit: source.Commit, service: spec.ServiceSpec) -> str:
    """The sha256 of the model as committed or pinned, for builds that were recorded without it."""
    given = evidence.inputs(repository, commit, service)
    return next((each.sha256 for each in given if each.name == "model"), "")


def _of_mlflow(home: homes.Home, run: str) -> tuple[training_record.TrainingRecord | None, str]:
    """The record of an MLflow run, read from the tracking server when it is not here; else why there is none."""
    known = next((each for each in training.records(home).every() if each.run == mlflow_runs.identity(run)), None)
    if known is not None:
        return known, ""
    where = os.environ.get(_TRACKING)
    if not where:
        return None, f"set {_TRACKING}, or `softlaunch runs import mlflow:{run}`"
    try:
        return mlflow_runs.take(home, f"mlflow:{run}", where, artifacts=False), ""
    except errors.SoftlaunchError as error:  # a release is not worth less because a tracking server is down
        return None, error.message


def _ignore(*_: object) -> None:
    """The build's own steps are what is shown."""
