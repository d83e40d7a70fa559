"""
A command in a container: by podman, or docker where there is no podman.

The image gives the system around the command: programs, libraries, certificates. The release's own Python and packages
come from this machine, mounted at the paths they have here, so that the image needs no Python; but its C library must
be of the same kind and not older. Only the checkout and what the tests report can be written, there is no network, and
of the caller's environment nothing is seen.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from softlaunch import errors

_PROCESSES_MAX = 1024
"""Of one test run; a guess that stops a fork bomb."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_OWN_FAILURE = 125
"""What podman and docker end with when they failed themselves, not the command."""
_REMOVAL_SECONDS = 60.0


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
    image: str,
    python: pathlib.Path,
    directory: pathlib.Path,
    writable: Sequence[pathlib.Path],
    variables: Mapping[str, str],
) -> Iterator[list[str]]:
    """
    The words that run the command in a container of the image; the container is gone when the block ends.

    Args:
        arguments: The command.
        image: As podman and docker name images; pulled when absent.
        python: Of the release's environment.
        directory: Where it runs; may be written.
        writable: Other directories that may be written.
        variables: Their names are passed on; values come from the environment of what is started.

    Raises:
        UnavailableError: neither podman nor docker is installed.
    """
    engine, name = program(), f"softlaunch-tests-{secrets.token_hex(6)}"
    is_podman = pathlib.Path(engine).name == "podman"
    words = [engine, "run", "--rm", "--name", name, "--network", "none", "--read-only", "--tmpfs", "/tmp"]  # noqa: S108
    words += [
        "--cap-drop",
        "all",
        "--security-opt",
        "no-new-privileges",
        "--security-opt",
        "label=disable",
        "--pids-limit",
        str(_PROCESSES_MAX),
    ]
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
    try:
        yield [*words, image, *arguments]
    finally:
        # The engine's client is killed after the timeout; the container lives on without it.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            at_once = ("--time", "0") if is_podman else ()  # docker waits for nothing by itself
            subprocess.run(
                [engine, "rm", "--force", *at_once, name], capture_output=True, check=False, timeout=_REMOVAL_SECONDS
            )


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
