"""
Records of training runs as files: HOME/training/ID/run.json, with metrics.jsonl, resources.jsonl and output.log.

run.json is replaced by rename. Whoever records a run holds a flock on its `lock`, which the kernel drops however that
process ends: a record that says `running` and is held by nobody is interrupted. Which releases use a run is written
beside the record, to releases.jsonl, so that a finished record and its digest never change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.controller import replacing
from softlaunch.core import training_record

RUN_FILE, METRICS, RESOURCES, OUTPUT = "run.json", "metrics.jsonl", "resources.jsonl", "output.log"
REPORTED, PARAMETERS = "reported.jsonl", "params.json"
BY_DIGEST, BY_MLFLOW = "digest", "mlflow run id"
"""The run's record lists the model; or the model says which run of MLflow logged it."""
_RELEASES, _LOCK = "releases.jsonl", "lock"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """A release that was built with a file or folder of a run."""

    release: str
    service: str
    sha256: str
    by: str = BY_DIGEST
    """How that is known."""


class Records:
    """
    The training runs of a home.

    Args:
        root: HOME/training; made when something is written.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def directory(self, run: str) -> pathlib.Path:
        """Where everything of that run is."""
        return self._root / run

    @contextlib.contextmanager
    def begun(self, at: float) -> Iterator[str]:
        """A new run's id. It is held, and so running, until the end of the block."""
        with _written("the record of the run"):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            run = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(at))}-{int(at * 1000) % 1000:03d}{secrets.token_hex(2)}"
            self.directory(run).mkdir(mode=0o700)
            descriptor = os.open(self.directory(run) / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield run
        finally:
            os.close(descriptor)

    def write(self, record: training_record.TrainingRecord) -> None:
        """
        Replaces run.json.

        Raises:
            UnavailableError: the disk does not take it; the file is as it was.
        """
        with _written("the record of the run"):
            self.directory(record.run).mkdir(mode=0o700, parents=True, exist_ok=True)
            replacing.replace_file(self.directory(record.run) / RUN_FILE, [record.dump()])

    def every(self) -> Sequence[training_record.TrainingRecord]:
        """All runs, newest first; directories without a record that can be read are left out."""
        if not self._root.is_dir():
            return ()
        found = [self._read(path.name) for path in self._root.iterdir()]
        return sorted((each for each in found if each is not None), key=lambda each: (-each.started_at, each.run))

    def find(self, run: str) -> training_record.TrainingRecord:
        """
        One run, by its id, or by the beginning of it or the name when only one has that.

        Raises:
            ConfigError: there is none, or more than one.
        """
        if run.startswith("mlflow:"):
            run = run.replace(":", "-", 1)  # as `runs import` is told it
        exact = self._read(run) if _ID.fullmatch(run) else None
        if exact is not None:
            return exact
        found = [each for each in self.every() if run and (each.run.startswith(run) or each.name == run)]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} runs are called" if found else "There is no run"
        raise errors.ConfigError(
            f"{what} {run!r:.120}.",
            remedy="`softlaunch runs` lists them; give the whole id.",
            code=errors.Code.NO_TRAINING_RUN,
        )

    def training_run_of(self, sha256: str) -> training_record.TrainingRecord | None:
        """The newest finished run that produced a file of these bytes, or a folder of this digest."""
        good = (each for each in self.every() if each.outcome is training_record.Outcome.SUCCEEDED)
        return next((each for each in good if each.produced(sha256) is not None), None)

    def used(self, run: str, use: Use) -> None:
        """Writes down that a release was built with a file of that run; twice is once."""
        if use in self.uses(run):
            return
        with _written("the link to the run"), (self.directory(run) / _RELEASES).open("a") as stream:
            stream.write(json.dumps(dataclasses.asdict(use)) + "\n")

    def uses(self, run: str) -> tuple[Use, ...]:
        """Releases that were built with files of that run."""
        return tuple(Use(**each) for each in entries(self.directory(run) / _RELEASES))

    def _read(self, run: str) -> training_record.TrainingRecord | None:
        try:
            found = training_record.load((self.directory(run) / RUN_FILE).read_bytes())
        except (OSError, ValueError):
            return None
        if found.run != run:
            return None
        if found.outcome is training_record.Outcome.RUNNING and not self._held(run):
            try:  # it may have ended between the two looks
                found = training_record.load((self.directory(run) / RUN_FILE).read_bytes())
            except (OSError, ValueError):
                return None
            if found.outcome is training_record.Outcome.RUNNING:
                return dataclasses.replace(found, outcome=training_record.Outcome.INTERRUPTED)
        return found

    def _held(self, run: str) -> bool:
        try:
            descriptor = os.open(self.directory(run) / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)


def training_run_of(root: pathlib.Path, sha256: str) -> training_record.TrainingRecord | None:
    """
    The newest finished run that produced a file of these bytes, or a folder of this digest.

    Args:
        root: HOME/training.
        sha256: Hex, of a model's file or folder.
    """
    return Records(root).training_run_of(sha256)


def entries(path: pathlib.Path) -> list[dict[str, Any]]:
    """Objects of a file of JSON lines; a last line that was cut off is left out."""
    try:
        raw = path.read_bytes()
    except OSError:
        return []
    found = []
    for line in raw.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


@contextlib.contextmanager
def _written(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.UnavailableError(
            f"{what.capitalize()} cannot be written: {error.strerror or error}.",
            remedy="Make room and run again." if full else "Check the disk and who may write there, then run again.",
            code=errors.Code.DISK_FULL,
        ) from error
