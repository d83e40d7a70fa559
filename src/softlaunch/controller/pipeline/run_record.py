"""
Runs of the pipeline as files: PIPELINES/SERVICE/ENVIRONMENT/N/run.json, logs and reports beside it.

run.json is replaced by rename after every step, so that whoever reads it sees a whole record, and a run that was killed
is found where it stood. One run at a time holds an environment: a flock on its `lock`, which the kernel drops when the
process ends, however it ends. Numbers are unique in the home.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from softlaunch import errors

RUN_FILE = "run.json"
LOCK_FILE = "lock"
_PRIVATE = 0o700


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepRecord:
    """One step that began."""

    name: str
    state: str
    """started, done, skipped or failed (workshop.StepState)."""
    seconds: float = 0.0
    detail: str = ""
    cached: bool = False
    """It had been done before with the same inputs, and was not done again."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run, under way or finished."""

    run: int
    service: str
    environment: str
    commit: str
    ref: str
    by: str
    started_at: float
    release: str = ""
    """Digest; empty until it is known."""
    outcome: str = ""
    """Empty while it runs; see docs/reference/pipelines.md."""
    reason: str = ""
    finished_at: float | None = None
    dirty: tuple[str, ...] = ()
    """Tracked files with changes that are in no commit, and are not shipped."""
    rollouts: tuple[tuple[str, int], ...] = ()
    """Environment and number of each rollout this run began."""
    steps: tuple[StepRecord, ...] = ()

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found = dataclasses.asdict(self)
        found["rollouts"] = dict(self.rollouts)
        found["dirty"] = list(self.dirty)
        return found


def load(path: pathlib.Path) -> RunRecord | None:
    """The record of that file; None when there is none that can be read."""
    try:
        found = json.loads(path.read_bytes())
        found["steps"] = tuple(StepRecord(**each) for each in found["steps"])
        found["rollouts"] = tuple(found["rollouts"].items())
        found["dirty"] = tuple(found["dirty"])
        return RunRecord(**found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Runs:
    """
    The runs of a home.

    Args:
        root: HOME/pipelines; made when something is written.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def directory(self, service: str, environment: str, run: int) -> pathlib.Path:
        """Where the record, the logs and the reports of a run lie."""
        return self._root / service / environment / str(run)

    def begin(self, record: RunRecord) -> RunRecord:
        """
        The record with a number of its own, stored.

        Raises:
            UnavailableError: it cannot be written.
        """
        with _written(self._root):
            self._root.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            with (self._root / LOCK_FILE).open("a") as numbers:
                fcntl.flock(numbers, fcntl.LOCK_EX)
                used = [int(found.name) for found in self._root.glob("*/*/*") if found.name.isdigit()]
                numbered = dataclasses.replace(record, run=max(used, default=0) + 1)
                self.directory(record.service, record.environment, numbered.run).mkdir(mode=_PRIVATE, parents=True)
        self.save(numbered)
        return numbered

    def save(self, record: RunRecord) -> None:
        """
        Replaces the stored record, durably.

        Raises:
            UnavailableError: it cannot be written; the one before is still there.
        """
        path = self.directory(record.service, record.environment, record.run) / RUN_FILE
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with _written(path):
            try:
                with unfinished.open("w") as sink:
                    json.dump(record.document(), sink, indent=1)
                    sink.flush()
                    os.fsync(sink.fileno())
                unfinished.rename(path)
            except OSError:
                unfinished.unlink(missing_ok=True)
                raise

    def every(self, service: str | None = None, environment: str | None = None) -> Sequence[RunRecord]:
        """All of them that can be read, newest first."""
        found = [load(path) for path in self._root.glob(f"{service or '*'}/{environment or '*'}/*/{RUN_FILE}")]
        return sorted((each for each in found if each is not None), key=lambda each: each.run, reverse=True)

    def find(self, run: int) -> RunRecord:
        """
        The run of that number.

        Raises:
            ConfigError: there is none.
        """
        found = next((each for each in self.every() if each.run == run), None)
        if found is None:
            raise errors.ConfigError(
                f"There is no pipeline run {run}.",
                remedy="`softlaunch pipelines` lists them.",
                code=errors.Code.NO_PIPELINE,
            )
        return found

    @contextlib.contextmanager
    def held(self, service: str, environment: str) -> Iterator[None]:
        """
        Nobody else runs a pipeline to that environment meanwhile.

        Raises:
            ConflictError: somebody does; the message names the run.
            UnavailableError: the lock file cannot be made.
        """
        path = self._root / service / environment / LOCK_FILE
        with _written(path):
            path.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise self._taken(service, environment) from error
            yield
        finally:
            os.close(descriptor)

    def _taken(self, service: str, environment: str) -> errors.ConflictError:
        running = next((each for each in self.every(service) if not each.outcome and _goes(each, environment)), None)
        which = f"Run {running.run} ships {running.commit[:12]}" if running is not None else "Another run ships"
        return errors.ConflictError(
            f"{which} to {environment!r} of {service!r} right now.",
            remedy="Wait for its end (`softlaunch pipelines` shows it), then ship again.",
            code=errors.Code.PIPELINE_RUNS,
        )


def _goes(record: RunRecord, environment: str) -> bool:
    return environment == record.environment or any(step.name == f"launch {environment}" for step in record.steps)


@contextlib.contextmanager
def _written(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.UnavailableError(
            f"The record of the pipeline cannot be written: {error.strerror or error} ({path.name}).",
            remedy="Make room and ship again." if full else "Check the disk and who may write there, then ship again.",
            code=errors.Code.DISK_FULL,
        ) from error
