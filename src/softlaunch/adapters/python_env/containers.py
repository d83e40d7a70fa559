"""
A command in a container: by podman, or docker where there is no podman.

The image gives the system around the command: programs, libraries, certificates. The release's own Python and packages
come from this machine, mounted at the paths they have here, so that the image needs no Python; but its C library must
be of the same kind and not older. Only the checkout and what the tests report can be written, there is no network, and
of the caller's environment nothing is seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import platform
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from softlaunch import errors
from softlaunch.ports import python_env

_PROCESSES_MAX = 1024
"""Of one test run; a guess that stops a fork bomb."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN_FAILURE = 125
"""What podman and docker end with when they failed themselves, not the command."""
_REMOVAL_SECONDS = 60.0
_LABEL = "dev.softlaunch.tests=1"
_PREFIX = "softlaunch-tests-"
_NAME = re.compile(rf"{_PREFIX}(?P<machine>[0-9a-f]{{12}})-(?P<pid>\d+)-(?P<started>\d+)-[0-9a-f]+")
_START_FIELD = 19
"""Of what follows the program's name in /proc/PID/stat; man 5 proc counts it as 22."""
_GUARD = 'read -r said; [ "$said" = removed ] || { "$0" "$@"; sleep 5; "$0" "$@"; }'
"""Twice, because the container may have been about to be made."""


def program() -> str:
    """
    Podman or docker.

    Raises:
        UnavailableError: neither is installed.
    """
    for name in ("podman", "docker"):
        if found := shutil.which(name):
            return found
    raise errors.UnavailableError(
        "`tests.container` needs podman or docker, and neither is installed here.",
        remedy="Install podman, or remove `container:` from `tests:` in softlaunch.yaml.",
        code=errors.Code.TESTS_CONTAINER,
    )


@contextlib.contextmanager
def command(
    arguments: Sequence[str],
    *,
    container: python_env.Container,
    python: pathlib.Path,
    directory: pathlib.Path,
    writable: Sequence[pathlib.Path],
    variables: Mapping[str, str],
) -> Iterator[list[str]]:
    """
    The words that run the command in a container; it is gone when the block ends, or soon after this process died.

    What earlier processes left behind, killed with everything around them, is removed first.

    Args:
        arguments: The command.
        container: The image, and what the command may take.
        python: Of the release's environment.
        directory: Where it runs; may be written.
        writable: Other directories that may be written.
        variables: Their names are passed on; values come from the environment of what is started.

    Raises:
        UnavailableError: neither podman nor docker is installed.
    """
    engine = program()
    owner = _Owner.this()
    name = f"{_PREFIX}{owner}-{secrets.token_hex(6)}"
    is_podman = pathlib.Path(engine).name == "podman"
    at_once = ("--time", "0") if is_podman else ()  # docker waits for nothing by itself
    _remove_leftovers(engine, owner, at_once)
    words = [engine, "run", "--rm", "--name", name, "--label", _LABEL, *_walls(container)]
    words += ["--workdir", str(directory), "--entrypoint", ""]
    if os.geteuid() != 0:
        words += ["--userns", "keep-id"] if is_podman else ["--user", f"{os.getuid()}:{os.getgid()}"]
    for place in _read(python):
        words += ["--volume", f"{place}:{place}:ro"]
    for place in (directory, *writable):
        words += ["--volume", f"{place}:{place}:rw"]
    for each in ("HOME=/tmp", "PYTHONHASHSEED=0", "PYTHONUNBUFFERED=1", f"PATH={python.parent}:{_PATH}"):
        words += ["--env", each]
    for each in variables:
        words += ["--env", each]
    with _guarded([engine, "rm", "--force", *at_once, name]):
        yield [*words, container.image, *arguments]


def _walls(container: python_env.Container) -> list[str]:
    words = ["--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"]  # noqa: S108
    words += ["--security-opt", "no-new-privileges", "--security-opt", "label=disable"]
    words += ["--pids-limit", str(_PROCESSES_MAX)]
    if container.memory_bytes_max is not None:
        words += ["--memory", f"{container.memory_bytes_max}b", "--memory-swap", f"{container.memory_bytes_max}b"]
    if container.cpus is not None:
        words += ["--cpus", f"{container.cpus:g}"]
    return words


@contextlib.contextmanager
def _guarded(removal: Sequence[str]) -> Iterator[None]:
    """
    Removes a container when the block ends; the engine's client is killed after a timeout, and it lives on without.

    A shell waits for the end of its input, which comes when this process dies, however it does.
    """
    with subprocess.Popen(
        ["/bin/sh", "-c", _GUARD, *removal],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as guard:
        assert guard.stdin is not None
        try:
            yield
        finally:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(list(removal), capture_output=True, check=False, timeout=_REMOVAL_SECONDS)
            with contextlib.suppress(OSError):  # somebody killed it
                guard.stdin.write(b"removed\n")
                guard.stdin.close()


@dataclasses.dataclass(frozen=True)
class _Owner:
    """A process of this machine, as the names of its containers say it."""

    machine: str
    """Of the kernel's boot and the process namespace: engines may be shared by many."""
    pid: int
    started: str

    def __str__(self) -> str:
        return f"{self.machine}-{self.pid}-{self.started}"

    @classmethod
    def this(cls) -> _Owner:
        """This process."""
        known = f"{_said('/proc/sys/kernel/random/boot_id')} {_namespace()} {platform.node()}"
        return cls(hashlib.sha256(known.encode()).hexdigest()[:12], os.getpid(), _started(os.getpid()) or "0")

    @classmethod
    def of(cls, name: str) -> _Owner | None:
        """Whose container that is; None: nobody of here named it."""
        found = _NAME.fullmatch(name)
        return cls(found["machine"], int(found["pid"]), found["started"]) if found is not None else None

    def is_gone(self) -> bool:
        """It does not run any more, here."""
        return _started(self.pid) != self.started


def _remove_leftovers(engine: str, owner: _Owner, at_once: Sequence[str]) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(
            [engine, "ps", "--all", "--filter", f"label={_LABEL}", "--format", "{{.Names}}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_REMOVAL_SECONDS,
        )
        for name in listed.stdout.split():
            found = _Owner.of(name)
            if found is not None and found.machine == owner.machine and found.is_gone():
                subprocess.run(
                    [engine, "rm", "--force", *at_once, name],
                    capture_output=True,
                    check=False,
                    timeout=_REMOVAL_SECONDS,
                )


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when there is none. Where there is no /proc: 0."""
    if not pathlib.Path("/proc/self/stat").is_file():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "0"
    text = _said(f"/proc/{pid}/stat")
    fields = text.rpartition(")")[2].split()
    return fields[_START_FIELD] if len(fields) > _START_FIELD and fields[0] != "Z" else None


def _said(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return str(pathlib.Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def check(exit_code: int | None, output: str, image: str) -> None:
    """
    Raises:
        UnavailableError: the container could not be made.
    """
    if exit_code == _OWN_FAILURE:
        raise errors.UnavailableError(
            f"A container of {image!r:.200} for the tests could not be made:\n{output}",
            remedy="See that the image exists and may be pulled, and that containers can be run here: try "
            f"`podman run --rm {image} true`.",
            code=errors.Code.TESTS_CONTAINER,
        )


def _read(python: pathlib.Path) -> list[pathlib.Path]:
    """The environment of an interpreter, and the installation it is made from."""
    own, base = python.parent.parent, python.resolve().parent.parent
    return list(dict.fromkeys(each for each in (own, base) if str(each) not in {"/", "/usr"}))
