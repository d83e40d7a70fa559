"""
Releases of somebody's own HTTP code: an ASGI app or a command, as the commit has it.

There is no model file and no signature, so nothing is described, compiled, profiled or predicted; the steps of the
build say so. What can be known without running it is checked: the app's module and name, the command's program.
"""

from __future__ import annotations

import os
import pathlib
import shutil

from softlaunch import errors
from softlaunch.controller.pipeline import assemble, workshop
from softlaunch.core import release, spec

SOURCES = (spec.ModelSource.APP, spec.ModelSource.COMMAND)
STEPS_LEFT_OUT = ("signature", "compile", "quality", "profile")
WHY = "nothing to do for an app or a command"


def named(service: spec.ServiceSpec) -> str:
    """What is run, for people."""
    model = service.model
    return f"app {model.app_target}" if model.source is spec.ModelSource.APP else f"command {' '.join(model.command)}"


def write(
    service: spec.ServiceSpec,
    shop: workshop.Workshop,
    *,
    checkout: pathlib.Path,
    directory: pathlib.Path,
    python: pathlib.Path,
    lock: bytes | None,
) -> None:
    """
    Writes the release directory.

    Raises:
        ConfigError: the app's module or name, or the command's program, is not there.
    """
    model = service.model
    assemble.lay_out(service, checkout, directory, lock=lock)
    code = directory / assemble.CODE
    if model.source is spec.ModelSource.APP:
        shop.workbench.tool("find_app", {"target": model.app_target, "code": str(code)}, python=python)
    else:
        _check_program(model.command[0], code, python)
    content = release.ReleaseContent(
        service=service.service,
        runtime=release.Runtime.ASGI if model.source is spec.ModelSource.APP else release.Runtime.COMMAND,
        model_file=None,
        python_target=model.app_target,
        signature=release.Signature(inputs=(), outputs=()),
        lock_file=assemble.LOCK if lock is not None else None,
        profile_file=None,
        smoke_file=None,
        command=model.command,
        ready_path=model.ready_path,
        answers=model.answers,
    )
    assemble.describe(directory, content)


def _check_program(name: str, code: pathlib.Path, python: pathlib.Path) -> None:
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
    if "/" in name and not name.startswith("/"):
        found = (code / name).is_file() and os.access(code / name, os.X_OK)
        where = "in the commit as a program (is it executable?)"
    else:
        found = shutil.which(name, path=path) is not None
        where = "on the PATH of the release's environment or of this machine"
    if not found:
        raise errors.ConfigError(
            f"The command's program {name!r} is not {where}.",
            remedy="Install it here, add its package to requirements.lock, or correct `model.command`.",
            code=errors.Code.COMMAND_FAILED,
        )
