"""An unpacked release directory, read and turned into a model that answers."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from softlaunch import errors
from softlaunch.core import predictions, release, release_json
from softlaunch.serving.runtimes import model

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_SHORT = re.compile(r"[0-9a-f]{12}(?=\.)")
UNNAMED = "unnamed"
_RUNTIMES: Mapping[release.Runtime, str] = {
    release.Runtime.ONNX: "onnx_model",
    release.Runtime.SKLEARN: "sklearn_model",
    release.Runtime.XGBOOST: "xgboost_model",
    release.Runtime.LIGHTGBM: "lightgbm_model",
    release.Runtime.CATBOOST: "catboost_model",
    release.Runtime.TORCH: "torch_model",
    release.Runtime.TEXT: "text_model",
    release.Runtime.MLFLOW: "mlflow_model",
    release.Runtime.PYTHON: "python_model",
}
"""Modules of softlaunch.serving.runtimes; each has load(model.Loading) -> model.Model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unpacked:
    directory: pathlib.Path
    """Absolute."""
    content: release.ReleaseContent
    version: str
    """Digest.short of what was started; UNNAMED for a directory outside of the registry."""


def read(directory: pathlib.Path, socket: pathlib.Path | None, digest: str | None = None) -> Unpacked:
    """
    The release in `directory`.

    Its digest is `digest`, else taken from the directory's name (releases/DIGESTHEX), else from the socket's
    (DIGEST12.*).

    Raises:
        ConfigError: there is no release.json, or it cannot be read.
    """
    directory = directory.absolute()
    try:
        raw = (directory / "release.json").read_bytes()
    except OSError as error:
        raise errors.ConfigError(
            f"{directory} is not an unpacked release: release.json cannot be read ({error.strerror}).",
            remedy="Pass --release with the directory of an unpacked release.",
            code=errors.Code.RELEASE_UNREADABLE,
        ) from error
    version = UNNAMED
    if digest is not None:
        version = digest
    elif _DIGEST.fullmatch(directory.name):
        version = directory.name[:12]
    elif socket is not None and (found := _DIGEST_SHORT.match(socket.name)):
        version = found.group()
    return Unpacked(directory=directory, content=release_json.load_content(raw), version=version)


def load_model(unpacked: Unpacked, *, thread_count: int) -> model.Model:
    """
    The release's model, ready to be called from this thread.

    Changes the process: code/ becomes the working directory and the first place modules are imported from.

    Raises:
        ConfigError: it cannot be loaded, or is not the model the signature describes.
    """
    content = unpacked.content
    path = None if content.model_file is None else unpacked.directory / content.model_file
    if path is not None and not path.exists():
        raise model.unloadable(
            f"The release has no file {content.model_file}.",
            remedy="Build the release again; the directory is incomplete.",
        )
    code = unpacked.directory / "code"
    if content.runtime is not release.Runtime.ONNX and code.is_dir():
        sys.path.insert(0, str(code))
        os.chdir(code)
    # Each runtime is imported where it is chosen: no environment has the packages of all.
    name = _RUNTIMES.get(content.runtime)
    if name is None:
        raise model.mismatch(f"A release of runtime {content.runtime} has no model that rows could be given to.")
    try:
        runtime = importlib.import_module(f"softlaunch.serving.runtimes.{name}")
    except ModuleNotFoundError as error:
        raise model.unloadable(
            f"The release is served by {content.runtime}, and its environment has no {error.name!r}.",
            remedy="Add the package to the service's requirements.lock and build the release again.",
        ) from error
    found: model.Model = runtime.load(model.Loading(path=path, content=content, thread_count=thread_count))
    return found


def smoke_rows(unpacked: Unpacked, signature: release.Signature) -> list[predictions.Row]:
    """
    The release's smoke rows, checked; none when it has no smoke file.

    Raises:
        ConfigError: the file is not a list of rows that the signature allows.
    """
    if unpacked.content.smoke_file is None:
        return []
    try:
        found: Any = json.loads((unpacked.directory / unpacked.content.smoke_file).read_bytes())
    except (OSError, ValueError) as error:
        raise model.unloadable(
            f"{unpacked.content.smoke_file} cannot be read ({model.one_line(error)}).",
            remedy="Build the release again.",
        ) from error
    if not isinstance(found, list) or not found:
        return []
    try:
        return predictions.check_rows(signature, found)
    except predictions.RowError as error:
        raise model.mismatch(f"{unpacked.content.smoke_file}: {error.message}") from error
