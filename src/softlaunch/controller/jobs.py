"""
Batch jobs as files: HOME/jobs/NAME/job.json says what runs, HOME/jobs/NAME/good/RUN/ are good outputs.

What a job publishes is a symbolic link to one of them, replaced by rename: whoever opens a file through it reads an old
output or a new one, whole. A good output is moved to its place by rename before the link is, so whatever dies when,
the link leads to a whole one. One run of a job at a time holds a flock on its `lock`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.controller import replacing
from softlaunch.core import job_spec, secret_references

_JOB, _LOCK, _GOOD = "job.json", "lock", "good"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What a job is, and where."""

    name: str
    command: tuple[str, ...]
    directory: str
    """Where the command runs."""
    publish: str
    """Absolute path of the link."""
    outputs: tuple[job_spec.Output, ...] = (job_spec.Output(),)
    keep: int = job_spec.KEEP
    """So many good outputs are kept."""
    timeout_seconds: float | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """As written: references to variables are looked up when it runs."""
    secrets: Mapping[str, secret_references.SecretReference] = dataclasses.field(default_factory=dict)
    file: str = ""
    """Absolute path of the softlaunch.yaml it stands in; empty: a command line named all of it."""


def of_file(found: job_spec.JobSpec, path: pathlib.Path) -> Job:
    """
    A job of a softlaunch.yaml.

    Args:
        found: What stands there.
        path: Of the file, absolute.
    """
    return Job(
        name=found.name,
        command=found.command,
        directory=str(path.parent),
        publish=str(path.parent / (found.publish or found.name)),
        outputs=found.outputs,
        keep=found.keep,
        timeout_seconds=found.timeout_seconds,
        env=found.env,
        secrets=found.secrets,
        file=str(path),
    )


class Jobs:
    """
    The jobs of a home.

    Args:
        root: HOME/jobs; made when something is written.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[None]:
        """
        Nobody else runs or restores that job meanwhile.

        Raises:
            ConflictError: somebody does.
            ConfigError: the name cannot be used.
        """
        if not _NAME.fullmatch(name):
            raise errors.ConfigError(
                f"A job cannot be called {name!r:.80}.",
                remedy="Use letters, digits, - and _, beginning with a letter or digit.",
                code=errors.Code.JOB_NAME,
            )
        folder = self._root / name
        with _written():
            (folder / _GOOD).mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise errors.ConflictError(
                    f"The job {name!r} runs already.",
                    remedy="Wait for its end (`softlaunch runs` shows it), then run it again.",
                    code=errors.Code.JOB_RUNS,
                ) from error
            yield
        finally:
            os.close(descriptor)

    def write(self, job: Job) -> None:
        """Keeps what a job is; its command may hold secrets: mode 0600."""
        with _written():
            text = json.dumps(dataclasses.asdict(job), indent=1)
            replacing.replace_file(self._root / job.name / _JOB, [text.encode()])

    def every(self) -> Sequence[Job]:
        """All jobs, by name."""
        if not self._root.is_dir():
            return ()
        found = (self._read(path.name) for path in sorted(self._root.iterdir()))
        return [job for job in found if job is not None]

    def find(self, name: str) -> Job:
        """
        Raises:
            ConfigError: there is none of that name.
        """
        found = self._read(name) if _NAME.fullmatch(name) else None
        if found is None:
            raise errors.ConfigError(
                f"There is no job {name!r:.80}.",
                remedy="`softlaunch job list` lists them; a first run names its command behind `--`.",
                code=errors.Code.NO_JOB,
            )
        return found

    def good(self, name: str) -> Sequence[str]:
        """Runs whose good outputs are kept, newest first."""
        folder = self._root / name / _GOOD
        return sorted((path.name for path in folder.iterdir()), reverse=True) if folder.is_dir() else ()

    def folder(self, name: str, run: str) -> pathlib.Path:
        """Where that good output is."""
        return self._root / name / _GOOD / run

    def published(self, job: Job) -> str | None:
        """The run whose output is published; None: nothing of this job is."""
        try:
            target = pathlib.Path(job.publish).readlink()
        except OSError:
            return None
        return target.name if target.parent == self._root / job.name / _GOOD and target.is_dir() else None

    def check_place(self, job: Job) -> None:
        """
        Raises:
            ConfigError: what is at the job's path is no link of the job, or the job publishes elsewhere.
        """
        before = self._read(job.name)
        if before is not None and before.publish != job.publish and self.published(before) is not None:
            raise errors.ConfigError(
                f"The job {job.name!r} publishes at {before.publish} already.",
                remedy="Publish there, or remove that link first; another job needs another name.",
                code=errors.Code.JOB_PUBLISH,
            )
        path = pathlib.Path(job.publish)
        there = path.is_symlink() or path.exists()
        ours = path.is_symlink() and path.readlink().parent == self._root / job.name / _GOOD
        if (there and not ours) or not path.parent.is_dir():
            what = "is taken by something that is not of this job" if there else "is in a folder that does not exist"
            raise errors.ConfigError(
                f"{path} {what}.",
                remedy="Publish at another path (--publish, or `publish` in softlaunch.yaml), or make room there.",
                code=errors.Code.JOB_PUBLISH,
            )

    def keep(self, job: Job, run: str, output: pathlib.Path) -> None:
        """Moves an output to the good ones, after all of it is on the disk."""
        with _written():
            for folder, _, names in os.walk(output):
                for name in (*names, "."):
                    _sync(pathlib.Path(folder) / name)
            output.rename(self.folder(job.name, run))
            _sync(self._root / job.name / _GOOD)

    def publish(self, job: Job, run: str) -> None:
        """Lets the job's link lead to that good output."""
        self.check_place(job)
        path = pathlib.Path(job.publish)
        fresh = path.with_name(f".{path.name}.softlaunch")
        with _written():
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(self.folder(job.name, run))
            fresh.replace(path)
            _sync(path.parent)

    def prune(self, job: Job) -> None:
        """Removes good outputs beyond those that are kept; never the published one."""
        published = self.published(job)
        for run in self.good(job.name)[job.keep :]:
            if run != published:
                shutil.rmtree(self.folder(job.name, run), ignore_errors=True)

    def _read(self, name: str) -> Job | None:
        """The job; None when there is none of that name."""
        path = self._root / name / _JOB
        try:
            return _job(json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.ConfigError(
                f"The job in {path} cannot be read ({type(error).__name__}).",
                remedy="Mend or remove the file; the next run that names its command writes it anew.",
                code=errors.Code.NO_JOB,
            ) from error


def _job(found: dict[str, Any]) -> Job:
    if "output" in found:  # of before there were several
        found["outputs"] = [{"pattern": found.pop("output"), "checks": found.pop("checks")}]
    outputs = []
    for each in found["outputs"]:
        checks = each["checks"]
        checks = {**checks, "columns": tuple(checks["columns"]), "ranges": tuple(map(tuple, checks["ranges"]))}
        outputs.append(job_spec.Output(pattern=each["pattern"], checks=job_spec.Checks(**checks)))
    secrets = {
        name: secret_references.SecretReference(kind=secret_references.SecretKind(each["kind"]), target=each["target"])
        for name, each in found.get("secrets", {}).items()
    }
    return Job(**{**found, "command": tuple(found["command"]), "outputs": tuple(outputs), "secrets": secrets})


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.UnavailableError(
            f"The job's output cannot be written: {error.strerror or error}.",
            remedy="Check the disk and who may write there; what was published before is as it was.",
            code=errors.Code.JOB_PUBLISH,
        ) from error
