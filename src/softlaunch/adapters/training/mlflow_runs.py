"""Runs that MLflow recorded: of a tracking server by its REST API 2.0, or of a file store (`mlruns/`)."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import ruamel.yaml
import ruamel.yaml.error

from softlaunch import errors
from softlaunch.core import training_record

FILES_MAX = 1000
"""Artifacts of a run, with their folders, that are read; a guess."""
_TIMEOUT = httpx.Timeout(30.0, read=120.0)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_STATES = {"FINISHED": training_record.Outcome.SUCCEEDED, "RUNNING": training_record.Outcome.RUNNING}
_FILE_STATES = {1: "RUNNING", 3: "FINISHED"}
_COMMIT = "mlflow.source.git.commit"
_MILLISECONDS = 1000


def identity(run: str) -> str:
    """The id of the record of that run."""
    return f"mlflow-{run}"


def read(run: str, where: str, *, artifacts: bool = True) -> training_record.TrainingRecord:
    """
    The run of that id, with the digests of its artifacts.

    A server that asks who is there gets MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD, as from
    MLflow's own client.

    Args:
        run: MLflow's run id.
        where: URL of a tracking server, else the folder of a file store.
        artifacts: Their bytes are read, for their digests; else a note says that they were not.

    Raises:
        ConfigError: there is no such run.
        UnavailableError: the server does not answer.
    """
    if not _ID.fullmatch(run):
        raise _refused(run, where, "that is no run id of MLflow")
    if where.startswith(("http://", "https://")):
        found = _of_server(run, where.rstrip("/"), artifacts=artifacts)
    else:
        found = _of_folder(run, pathlib.Path(where.removeprefix("file://")), artifacts=artifacts)
    if artifacts:
        return found
    note = f"its artifacts were not read; `softlaunch runs import mlflow:{run}` reads them"
    return dataclasses.replace(found, notes=(*found.notes, note))


def _client() -> httpx.Client:
    token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    if user is not None:
        return httpx.Client(timeout=_TIMEOUT, auth=(user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")))
    return httpx.Client(timeout=_TIMEOUT, headers={"Authorization": f"Bearer {token}"} if token else {})


def _of_server(run: str, url: str, *, artifacts: bool) -> training_record.TrainingRecord:
    shown = training_record.without_secrets([url])[0]
    try:
        with _client() as client:
            answer = client.get(f"{url}/api/2.0/mlflow/runs/get", params={"run_id": run})
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise _refused(run, shown, "there is no such run")
            found = answer.raise_for_status().json()["run"]
            info, said = found["info"], found["data"]
            metrics: dict[str, training_record.MetricSummary] = {}
            for each in said.get("metrics", ()):
                query = {"run_id": run, "metric_key": each["key"]}
                history = client.get(f"{url}/api/2.0/mlflow/metrics/get-history", params=query).raise_for_status()
                for value in history.json().get("metrics", ()):
                    _add(metrics, each["key"], value["value"], value.get("step", 0))
            files = tuple(_artifacts(client, url, run)) if artifacts else ()
    except httpx.HTTPError as error:
        said = training_record.without_secrets([" ".join(str(error).split())])[0]  # it repeats the address
        raise _unavailable(run, shown, said or type(error).__name__) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _unavailable(run, shown, f"its answer is not MLflow's ({error})") from error
    return _record(
        run,
        where=shown,
        name=info.get("run_name", ""),
        state=info.get("status", ""),
        times=(info.get("start_time"), info.get("end_time")),
        parameters={each["key"]: each["value"] for each in said.get("params", ())},
        tags={each["key"]: each["value"] for each in said.get("tags", ())},
        metrics=metrics,
        files=files,
    )


def _artifacts(client: httpx.Client, url: str, run: str) -> Iterator[training_record.ProducedFile]:
    folders, count = [""], 0
    while folders:
        query = {"run_id": run, **({"path": folder} if (folder := folders.pop()) else {})}
        listed = client.get(f"{url}/api/2.0/mlflow/artifacts/list", params=query).raise_for_status().json()
        for each in listed.get("files", ()):
            count += 1
            if count > FILES_MAX:
                return
            if each.get("is_dir"):
                folders.append(each["path"])
                continue
            sha256, size = hashlib.sha256(), 0
            place = f"{url}/get-artifact?{urllib.parse.urlencode({'path': each['path'], 'run_id': run})}"
            with client.stream("GET", place) as answer:
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    sha256.update(chunk)
                    size += len(chunk)
            yield training_record.ProducedFile(path=each["path"], sha256=sha256.hexdigest(), bytes=size)


def _of_folder(run: str, store: pathlib.Path, *, artifacts: bool) -> training_record.TrainingRecord:
    folder = next((path.parent for path in sorted(store.glob(f"*/{run}/meta.yaml"))), None)
    if folder is None:
        raise _refused(run, str(store), "there is no such run")
    try:
        meta = ruamel.yaml.YAML(typ="safe").load((folder / "meta.yaml").read_text())
        texts = {
            kind: {str(path.relative_to(folder / kind)): path.read_text() for path in _files(folder / kind)}
            for kind in ("params", "tags", "metrics")
        }
        metrics: dict[str, training_record.MetricSummary] = {}
        for key, lines in texts["metrics"].items():
            for line in lines.splitlines():
                _, value, *step = line.split()
                _add(metrics, key, value, step[0] if step else 0)
        files = tuple(
            training_record.ProducedFile(
                path=str(path.relative_to(folder / "artifacts")), sha256=_sha256(path), bytes=path.stat().st_size
            )
            for path in (_files(folder / "artifacts")[:FILES_MAX] if artifacts else ())
        )
        return _record(
            run,
            where=store.name,
            name=str(meta.get("run_name") or texts["tags"].get("mlflow.runName", "")),
            state=_FILE_STATES.get(meta.get("status"), "FAILED"),
            times=(meta.get("start_time"), meta.get("end_time")),
            parameters=texts["params"],
            tags=texts["tags"],
            metrics=metrics,
            files=files,
        )
    except (OSError, ValueError, AttributeError, TypeError, ruamel.yaml.error.YAMLError) as error:
        raise _refused(run, str(store), f"the file store cannot be read ({' '.join(str(error).split())})") from error


def _record(
    run: str,
    *,
    where: str,
    name: str,
    state: str,
    times: tuple[Any, Any],
    parameters: Mapping[str, str],
    tags: Mapping[str, str],
    metrics: Mapping[str, training_record.MetricSummary],
    files: tuple[training_record.ProducedFile, ...],
) -> training_record.TrainingRecord:
    started, ended = (int(each) / _MILLISECONDS if each else None for each in times)
    notes = (f"only {FILES_MAX} artifacts were read",) if len(files) >= FILES_MAX else ()
    return training_record.TrainingRecord(
        run=identity(run),
        name=name,
        command=(),
        directory="",
        source=f"mlflow {where}",
        started_at=started or 0.0,
        finished_at=ended,
        outcome=_STATES.get(state, training_record.Outcome.FAILED),
        parameters=training_record.parameters_kept(parameters),
        metrics=tuple(metrics.values()),
        files=files,
        notes=notes,
        code=training_record.Code(commit=tags.get(_COMMIT, "").strip()),
    )


def _add(metrics: dict[str, training_record.MetricSummary], name: str, value: Any, step: Any) -> None:
    metric = training_record.Metric(name=name, value=float(value), step=int(step))
    metrics[name] = training_record.summarised(metrics, metric)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refused(run: str, where: str, why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The MLflow run {run!r:.80} of {where} cannot be read: {why}.",
        remedy="Name the tracking server or the folder of the file store with --from.",
        code=errors.Code.MLFLOW_RUN,
    )


def _unavailable(run: str, where: str, why: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The MLflow run {run!r:.80} of {where} cannot be read: {why}.",
        remedy="Check the tracking server's address and that it runs.",
        code=errors.Code.MLFLOW_RUN,
    )
