"""A Dockerfile and the files it copies, for those who build with a tool of their own; and running that tool."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from softlaunch import errors
from softlaunch.adapters.images import store, tarring

_TIMEOUT_SECONDS = 3_600.0
_KANIKO = "/kaniko/executor"
"""Where kaniko's own image has it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    base: str
    parts: Mapping[str, Sequence[tarring.Entry]]
    """Entries by the name of their layer; "base" stands for FROM."""
    variables: Mapping[str, str]
    labels: Mapping[str, str]
    command: Sequence[str]
    port: int
    user: str
    workdir: str


def write(directory: pathlib.Path, plan: Plan) -> None:
    """
    Writes the context: Dockerfile and one tar per layer, which ADD unpacks with modes, links and owners as they are.

    Raises:
        UnavailableError: it cannot be written.
    """
    with store.disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lines = ["FROM scratch" if "base" in plan.parts else f"FROM {plan.base}"]
        for name, entries in plan.parts.items():
            if not entries:
                continue
            with (directory / f"{name}.tar").open("wb") as file:
                tarring.write(file, tarring.parents(entries))
            lines.append(f"ADD {name}.tar /")
        lines += [f"ENV {name}={_quoted(value)}" for name, value in sorted(plan.variables.items())]
        lines += [f"LABEL {name}={_quoted(value)}" for name, value in sorted(plan.labels.items())]
        lines += [
            f"EXPOSE {plan.port}",
            f"USER {plan.user}",
            f"WORKDIR {plan.workdir}",
            "STOPSIGNAL SIGTERM",
            f"ENTRYPOINT {json.dumps(list(plan.command))}",
            "CMD []",
        ]
        (directory / "Dockerfile").write_text("\n".join(lines) + "\n")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{escaped}"'


class Tools:
    """See ports.images.BuildTool."""

    def check(self, tool: str) -> None:
        """See ports.images.BuildTool.check."""
        _program(tool, _words(tool, pathlib.Path(), ""))

    def run(self, tool: str, context: pathlib.Path, tag: str) -> None:
        """See ports.images.BuildTool.run."""
        words = _words(tool, context, tag)
        program = _program(tool, words)
        try:
            found = subprocess.run(
                [program, *words[1:]],
                capture_output=True,
                check=False,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(tool, f"did not end within {_TIMEOUT_SECONDS:g} s") from error
        if found.returncode:
            last = " ".join((found.stderr or found.stdout).split())[-600:]
            raise _failed(tool, f"ended with exit code {found.returncode}: {last or 'it said nothing'}")


def _program(tool: str, words: Sequence[str]) -> str:
    program = shutil.which(words[0])
    if program is None:
        raise errors.ConfigError(
            f"The program {words[0]} of the backend {tool} is not installed.",
            remedy="Install it, or build without --backend.",
            code=errors.Code.IMAGE_TOOL,
        )
    return program


def _words(tool: str, context: pathlib.Path, tag: str) -> list[str]:
    match tool:
        case "buildah":
            # No command runs while building, and chroot needs no rights that CI machines lack.
            return ["buildah", "build", "--isolation", "chroot", "--timestamp", "0", "--tag", tag, str(context)]
        case "docker":
            return ["docker", "build", "--tag", tag, str(context)]
        case "kaniko":
            program = _KANIKO if os.access(_KANIKO, os.X_OK) else "executor"
            return [program, "--context", f"dir://{context}", "--destination", tag, "--reproducible"]
        case _:
            raise errors.ConfigError(
                f"There is no backend {tool!r}.",
                remedy="Choose buildah, docker or kaniko.",
                code=errors.Code.BAD_OPTION,
            )


def _failed(tool: str, what: str) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"{tool} {what}.",
        remedy="Run it by itself on the folder that --context keeps, or build without --backend.",
        code=errors.Code.IMAGE_TOOL,
    )
