"""Training runs, recorded in a home and tied to the releases that use them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from softlaunch import errors
from softlaunch.adapters.git import source as git_source
from softlaunch.adapters.training import command as commands
from softlaunch.adapters.training import produced
from softlaunch.config import home as homes
from softlaunch.controller import redaction, training
from softlaunch.controller.pipeline import files
from softlaunch.core import lockfile, training_record, units
from softlaunch.ports import process_meter

METRICS_VARIABLE, PARAMETERS_VARIABLE = "SOFTLAUNCH_METRICS", "SOFTLAUNCH_PARAMS"
RUN_VARIABLE, OUTPUT_VARIABLE = "SOFTLAUNCH_RUN", "SOFTLAUNCH_OUTPUT"
_PYTHON_SECONDS_MAX = 10.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    """What the record says of a command that runs in a copy of a commit, by another interpreter."""

    commit: str
    directory: pathlib.Path
    """Of the repository."""
    command: tuple[str, ...]
    """As it is written."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be run."""

    command: tuple[str, ...]
    directory: pathlib.Path
    name: str = ""
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics_file: pathlib.Path | None = None
    """A file of JSON lines the command writes by itself, in place of the one SOFTLAUNCH_METRICS names."""
    job: str = ""
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Added to the command's environment."""
    secrets: tuple[str, ...] = ()
    """Values among them that no record may hold."""
    environment: Mapping[str, str] | None = None
    """The command's environment otherwise; None: this process's."""
    timeout_seconds: float | None = None
    copy: Copy | None = None
    """Where the command runs in a copy of a commit."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """Who is shown what happens."""

    raw: Callable[[bool, bytes], None]
    """Output as it comes; whether it is standard error."""
    state: Callable[[Mapping[str, training_record.MetricSummary], process_meter.Sample], None]
    """Each second."""


Finish = Callable[[training_record.TrainingRecord, pathlib.Path], training_record.TrainingRecord]


def records(home: homes.Home) -> training.Records:
    """The training runs of that home."""
    return training.Records(home.training)


def record(home: homes.Home, asked: Order, view: View, finish: Finish | None = None) -> training_record.TrainingRecord:
    """
    Runs a command and keeps what it said, took and produced.

    Args:
        home: Where the record goes.
        asked: What is run.
        view: Told what happens.
        finish: Of a job: judges the output directory of a command that ended well, before the record is closed.

    Raises:
        ConfigError: there is no such program.
        UnavailableError: the record cannot be written.
    """
    kept = records(home)
    with kept.begun(time.time()) as run:
        folder = kept.directory(run)
        found = _opened(run, folder, asked)
        kept.write(found)
        output = folder / "output"
        if asked.job:
            output.mkdir(mode=0o700)
        root, without = (output, ()) if asked.job else (asked.directory, (home.root,))
        before, whole = produced.look(root, without)
        recorder = _Recorder(folder, asked, view)
        try:
            ended = _run(asked, run, folder, recorder)
        except errors.SoftlaunchError:
            kept.write(dataclasses.replace(found, outcome=training_record.Outcome.FAILED, finished_at=time.time()))
            raise
        finally:
            recorder.close()
        after, whole_after = produced.look(root, without)
        made, notes = produced.changed(root, before, after)
        notes += () if whole and whole_after else (f"only {produced.SEEN_MAX} files of the directory were looked at",)
        found = _closed(found, folder, asked, ended, recorder)
        found = dataclasses.replace(found, files=made, notes=(*notes, *found.notes))
        if finish is not None and found.outcome is training_record.Outcome.SUCCEEDED:
            try:
                found = finish(found, output)
            except errors.SoftlaunchError:
                kept.write(dataclasses.replace(found, outcome=training_record.Outcome.FAILED))
                raise
        kept.write(found)
        return found


def _opened(run: str, folder: pathlib.Path, asked: Order) -> training_record.TrainingRecord:
    """The record of a run that begins."""
    command, directory, code = asked.command, asked.directory, _code(asked)
    if asked.copy is not None:
        command, directory = asked.copy.command, asked.copy.directory
        code = dataclasses.replace(code, commit=asked.copy.commit, dirty=())
    return training_record.TrainingRecord(
        run=run,
        name=asked.name,
        command=training_record.without_secrets(command),
        directory=str(directory),
        started_at=time.time(),
        parameters=_parameters(asked, folder),
        code=code,
        job=asked.job,
    )


def _run(asked: Order, run: str, folder: pathlib.Path, recorder: _Recorder) -> commands.Ended:
    variables = {
        METRICS_VARIABLE: str(recorder.reported),
        PARAMETERS_VARIABLE: str(folder / training.PARAMETERS),
        RUN_VARIABLE: run,
        **({OUTPUT_VARIABLE: str(folder / "output")} if asked.job else {}),
    }
    return commands.run(
        asked.command,
        directory=asked.directory,
        variables={**asked.variables, **variables},
        environment=asked.environment,
        leaves_nothing=asked.copy is not None,
        timeout_seconds=asked.timeout_seconds,
        listener=commands.Listener(recorder.raw, recorder.line),
        on_sample=recorder.sample,
    )


def _closed(
    found: training_record.TrainingRecord,
    folder: pathlib.Path,
    asked: Order,
    ended: commands.Ended,
    recorder: _Recorder,
) -> training_record.TrainingRecord:
    """The record with what is known when the command has ended."""
    notes: tuple[str, ...] = (
        () if ended.drained else ("a process was left behind and holds the output: its end is not recorded",)
    )
    if ended.timed_out and asked.timeout_seconds is not None:
        notes += (f"stopped: it had not ended after {units.format_duration(asked.timeout_seconds)}",)
    good = ended.exit_code == 0 and not ended.timed_out
    return dataclasses.replace(
        found,
        outcome=training_record.Outcome.SUCCEEDED if good else training_record.Outcome.FAILED,
        finished_at=time.time(),
        exit_code=ended.exit_code,
        parameters={name: recorder.redacted(value) for name, value in _parameters(asked, folder).items()},
        metrics=tuple(recorder.summaries.values()),
        notes=(*notes, *recorder.notes()),
        resources=recorder.resources(ended),
        logs={name: _sha256(folder / name) for name in (training.METRICS, training.RESOURCES, training.OUTPUT)},
    )


class _Recorder:
    """Writes what comes, as it comes."""

    def __init__(self, folder: pathlib.Path, asked: Order, view: View) -> None:
        self.summaries: dict[str, training_record.MetricSummary] = {}
        given = asked.metrics_file
        self.reported = given.absolute() if given is not None else folder / training.REPORTED
        self._offset = self.reported.stat().st_size if self.reported.is_file() else 0
        self._view = view
        self._redactor = redaction.Redactor()
        for value in training_record.secrets_of(asked.command, asked.parameters, os.environ):
            self._redactor.learn(value)
        for value in asked.secrets:
            self._redactor.learn(value)
        self._metrics, self._resources, self._output = (
            _appended(folder / name) for name in (training.METRICS, training.RESOURCES, training.OUTPUT)
        )
        self._samples: list[process_meter.Sample] = []
        self._bad_lines = 0

    def raw(self, is_error: bool, chunk: bytes) -> None:  # noqa: FBT001 - a callback of commands.Listener
        self._view.raw(is_error, chunk)

    def line(self, line: str) -> None:
        self._output.write(self._redactor.text(line) + "\n")
        self._output.flush()
        for metric in training_record.metrics_of_line(line):
            self._add(metric)

    def sample(self, sample: process_meter.Sample) -> None:
        self._read_reported()
        self._samples.append(sample)
        self._resources.write(json.dumps(dataclasses.asdict(sample)) + "\n")
        self._resources.flush()
        self._view.state(dict(self.summaries), sample)

    def close(self) -> None:
        self._read_reported(at_the_end=True)
        for each in (self._metrics, self._resources, self._output):
            each.close()

    def redacted(self, text: str) -> str:
        """The text without secrets."""
        return self._redactor.text(text)

    def notes(self) -> tuple[str, ...]:
        return (f"{self._bad_lines} lines of the metrics file could not be read",) if self._bad_lines else ()

    def resources(self, ended: commands.Ended) -> training_record.Resources:
        last = self._samples[-1]
        busiest = [each.gpu_percent for each in self._samples if each.gpu_percent is not None]
        fullest = [each.gpu_memory_bytes for each in self._samples if each.gpu_memory_bytes is not None]
        return training_record.Resources(
            cpu_seconds=round(ended.cpu_seconds, 3),
            ram_bytes_max=max(each.ram_bytes for each in self._samples),
            received_bytes=last.received_bytes,
            sent_bytes=last.sent_bytes,
            gpu=next((each.gpu for each in self._samples if each.gpu is not None), None),
            gpu_percent_max=max(busiest, default=None),
            gpu_memory_bytes_max=max(fullest, default=None),
            sample_count=len(self._samples),
        )

    def _read_reported(self, *, at_the_end: bool = False) -> None:
        try:
            with self.reported.open("rb") as stream:
                stream.seek(self._offset)
                raw = stream.read()
        except OSError:
            return  # the command has written none yet
        whole = raw if at_the_end else raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            if not line.strip():
                continue
            try:
                found = training_record.metrics_of_entry(line.decode())
            except ValueError:
                self._bad_lines += 1
                continue
            for metric in found:
                self._add(metric)

    def _add(self, metric: training_record.Metric) -> None:
        self.summaries[metric.name] = training_record.summarised(self.summaries, metric)
        value = training_record.number(metric.value)
        entry = {"at": time.time(), "step": metric.step, "name": metric.name, "value": value}
        self._metrics.write(json.dumps(entry) + "\n")
        self._metrics.flush()


def _parameters(asked: Order, folder: pathlib.Path) -> dict[str, str]:
    """What the command's own file says goes before --param, and that before the command's arguments."""
    said: dict[str, str] = {}
    try:
        written = json.loads((folder / training.PARAMETERS).read_bytes())
    except (OSError, ValueError):
        written = {}
    if isinstance(written, dict):
        said = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in written.items()}
    own = training_record.parameters_of(asked.command)
    return training_record.parameters_kept({**own, **asked.parameters, **said})


def _code(asked: Order) -> training_record.Code:
    commit, dirty = "", tuple[str, ...]()
    try:
        repository = git_source.GitSource(asked.directory)
        commit, dirty = repository.resolve("HEAD").id, tuple(repository.dirty())
    except errors.SoftlaunchError:
        pass  # no repository: an empty commit says so
    locks = {name: asked.directory / name for name in (*files.LOCK_FILES, lockfile.NAME)}
    return training_record.Code(
        commit=commit,
        dirty=dirty,
        python=_python(asked),
        locks={name: _sha256(path) for name, path in locks.items() if path.is_file()},
        seeds={name: value for name, value in sorted(os.environ.items()) if "SEED" in name.upper()},
    )


def _python(asked: Order) -> str:
    program = shutil.which(asked.command[0], path=os.environ.get("PATH"))
    if program is None or not pathlib.Path(program).name.startswith("python"):
        return ""
    try:
        said = subprocess.run(
            [program, "-V"], capture_output=True, text=True, timeout=_PYTHON_SECONDS_MAX, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.strip().removeprefix("Python ")


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _appended(path: pathlib.Path) -> IO[str]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8")


def split_parameters(given: Sequence[str]) -> dict[str, str]:
    """
    Values of --param.

    Raises:
        ConfigError: one is not KEY=VALUE.
    """
    found = {}
    for each in given:
        key, sign, value = each.partition("=")
        if not sign or not key.strip():
            raise errors.ConfigError(
                f"The parameter {each!r:.80} is not KEY=VALUE.",
                remedy="For example: `--param learning_rate=0.1`.",
                code=errors.Code.BAD_OPTION,
            )
        found[key.strip()] = value
    return found
