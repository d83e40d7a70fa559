"""MLflow's runs, read into a home."""

from __future__ import annotations

from softlaunch import errors
from softlaunch.adapters.training import mlflow_runs
from softlaunch.config import home as homes
from softlaunch.controller import training
from softlaunch.core import training_record

_SCHEME = "mlflow:"


def identity(run: str) -> str:
    """The id of the record of an MLflow run."""
    return mlflow_runs.identity(run)


def take(home: homes.Home, reference: str, where: str, *, artifacts: bool = True) -> training_record.TrainingRecord:
    """
    Reads a run and keeps its record; read again it is replaced.

    Args:
        home: Where the record goes.
        reference: mlflow:RUN_ID.
        where: URL of a tracking server, else the folder of a file store.
        artifacts: Their bytes are read, for their digests.

    Raises:
        ConfigError: there is no such run.
        UnavailableError: the server does not answer.
    """
    if not reference.startswith(_SCHEME):
        raise errors.ConfigError(
            f"{reference!r:.80} is no run of MLflow.",
            remedy="For example: `softlaunch runs import mlflow:0a1b2c --from http://127.0.0.1:5000`.",
            code=errors.Code.MLFLOW_RUN,
        )
    found = mlflow_runs.read(reference.removeprefix(_SCHEME), where, artifacts=artifacts)
    training.Records(home.training).write(found)
    return found
