"""The release directory, as core.release.ReleaseContent describes it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil

from softlaunch.controller.pipeline import files
from softlaunch.core import release, release_json, spec

CODE = "code"
LOCK = "requirements.lock"
PROFILE = "profile.json"
SMOKE = "smoke.json"
ONNX_FILE = "model/model.onnx"


def lay_out(service: spec.ServiceSpec, checkout: pathlib.Path, directory: pathlib.Path, *, lock: bytes | None) -> None:
    """Writes what does not depend on the model: code/ and the lock file."""
    named = files.not_code(service)
    (directory / CODE).mkdir(parents=True)
    files.copy(checkout, directory / CODE, [name for name in files.walk(checkout) if files.is_code(name, named)])
    if lock is not None:
        write(directory / LOCK, lock)


def place_model(directory: pathlib.Path, model_file: pathlib.Path) -> str:
    """Copies the model into the release; returns its path there, which depends on the kind of file only."""
    name = "model/model" if model_file.is_dir() else f"model/model{model_file.suffix}"
    files.copy_model(model_file, directory / name)
    return name


def as_onnx(content: release.ReleaseContent) -> release.ReleaseContent:
    """The same release served by its compiled model."""
    return dataclasses.replace(
        content, runtime=release.Runtime.ONNX, model_file=ONNX_FILE, lock_file=None, profile_file=None, smoke_file=None
    )


def replace_model(directory: pathlib.Path, compiled: pathlib.Path) -> str:
    """The compiled draft's model takes the original's place; returns its path in the release."""
    shutil.rmtree(directory / "model")
    (directory / "model").mkdir()
    os.replace(compiled / ONNX_FILE, directory / ONNX_FILE)  # noqa: PTH105  # one name for both sides of a rename
    (directory / ONNX_FILE).chmod(0o644)
    return ONNX_FILE


def describe(directory: pathlib.Path, content: release.ReleaseContent) -> None:
    """Writes release.json."""
    write(directory / "release.json", release_json.dump_content(content))


def write(path: pathlib.Path, raw: bytes) -> None:
    """Writes one file, with a mode that does not depend on the umask."""
    path.write_bytes(raw)
    path.chmod(0o644)
