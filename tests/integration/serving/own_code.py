"""Release directories of apps and commands, written by hand."""

from __future__ import annotations

import contextlib
import pathlib
import textwrap
import time
from collections.abc import Callable
from typing import Any

import httpx

from softlaunch.core import answer_checks, release, release_json

PROBE = {"x-softlaunch-probe": "token"}
LATE = (answer_checks.AnswerCheck(path="late", minimum=0, maximum=1),)


def write(place: pathlib.Path, files: dict[str, str], **content: Any) -> pathlib.Path:
    """The release directory."""
    directory = place / "r"
    (directory / "code").mkdir(parents=True)
    for name, text in files.items():
        (directory / "code" / name).write_text(textwrap.dedent(text))
    made = release.ReleaseContent(
        **{
            "service": "a",
            "runtime": release.Runtime.ASGI,
            "model_file": None,
            "python_target": None,
            "signature": release.Signature(inputs=(), outputs=()),
            "lock_file": None,
            "profile_file": None,
            "smoke_file": None,
            "answers": LATE,
            **content,
        }
    )
    (directory / "release.json").write_bytes(release_json.dump_content(made))
    return directory


def app(place: pathlib.Path, source: str, *, target: str = "service:app", **content: Any) -> pathlib.Path:
    return write(place, {"service.py": source}, python_target=target, **content)


def command(place: pathlib.Path, files: dict[str, str], *words: str, **content: Any) -> pathlib.Path:
    return write(place, files, runtime=release.Runtime.COMMAND, command=words, **content)


def probed(server: Any, condition: Callable[[httpx.Response], bool] = lambda answer: answer.status_code == 200) -> Any:
    """The first answer to the supervisor's question that fits."""
    until = time.monotonic() + 30
    found: Any = None
    with server.client() as client:
        while time.monotonic() < until:
            assert server.process.poll() is None, server.process.communicate()
            with contextlib.suppress(httpx.TransportError):
                found = client.get("/v2/health/ready", headers=PROBE)
                if condition(found):
                    return found
            time.sleep(0.02)
    raise AssertionError(found and found.headers)


def ended(server: Any) -> tuple[int, str]:
    """Exit code and last words of a server that ends by itself."""
    _, said = server.process.communicate(timeout=30)
    return server.process.returncode, said
