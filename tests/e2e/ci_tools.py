"""What exported CI files are checked and run with; `scripts/tools` installs all of it into .tools/."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence

import pytest

ROOT = pathlib.Path(__file__).parents[2]
TOOLS = ROOT / ".tools"
MODULES = TOOLS / "node_modules"


def of_python(name: str) -> pathlib.Path:
    return TOOLS / "venv" / "bin" / name


def of_npm(name: str) -> pathlib.Path:
    return MODULES / ".bin" / name


def needs(*paths: pathlib.Path, programs: Sequence[str] = ()) -> pytest.MarkDecorator:
    """Skips a test, naming what is missing."""
    missing = [str(path.relative_to(ROOT)) for path in paths if not path.exists()]
    missing += [name for name in programs if shutil.which(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}: run scripts/tools, or make test-all")


def run(
    *command: object, folder: pathlib.Path, timeout: float = 60.0, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def passes(*command: object, folder: pathlib.Path) -> str:
    """What a program that must succeed printed."""
    done = run(*command, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
