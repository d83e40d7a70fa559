"""
Models that were compiled before: a change of code alone need not compile and compare again.

A result is kept when loading the model imported nothing of the service's own code. Then model, reference, packages and
our own tools decide it, and the names of the code's files: one more of them may hide a package of the same name.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile

from softlaunch.controller.pipeline import assemble, files, records
from softlaunch.core import release

_SAID = "said.json"
_MODEL = "model.onnx"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What came of compiling a model, and of comparing both forms."""

    note: str
    measured: tuple[str, ...]
    compared: bool
    """Both answer alike: the compiled form is served, and is in `model`."""
    model: pathlib.Path | None = None


def key(directory: pathlib.Path, content: release.ReleaseContent, reference_sha256: str) -> str:
    """
    What decides the result.

    Args:
        directory: The draft that serves the model as it was obtained.
        content: Its description, with a model.
        reference_sha256: Of the reference's file.
    """
    assert content.model_file is not None
    lock = directory / assemble.LOCK
    material = [
        records.tools(),
        reference_sha256,
        content.runtime.value,
        files.model_digest(directory / content.model_file),
        files.sha256(lock) if lock.is_file() else None,
        dataclasses.asdict(content.signature),
        sorted(os.listdir(directory / assemble.CODE)),  # noqa: PTH208 - names alone
    ]
    return hashlib.sha256(json.dumps(material, sort_keys=True, default=str).encode()).hexdigest()


def load(cache: pathlib.Path, name: str) -> Kept | None:
    """The result of that key; None when there is none that can be read."""
    folder = cache / "compiled" / name
    try:
        said = json.loads((folder / _SAID).read_bytes())
        model = folder / _MODEL
        if said["compared"] and files.sha256(model) != said["sha256"]:
            return None
        return Kept(
            note=said["note"],
            measured=tuple(said["measured"]),
            compared=said["compared"],
            model=model if said["compared"] else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a cache: whatever is wrong with it, compiling again is right


def save(cache: pathlib.Path, name: str, kept: Kept) -> None:
    """Keeps a result, by rename; the first of two that come at once stays."""
    folder = cache / "compiled" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{os.getpid()}-") as scratch:
        unfinished = pathlib.Path(scratch) / "kept"
        unfinished.mkdir()
        sha256 = ""
        if kept.model is not None:
            shutil.copyfile(kept.model, unfinished / _MODEL)
            sha256 = files.sha256(unfinished / _MODEL)
        said = {"note": kept.note, "measured": kept.measured, "compared": kept.compared, "sha256": sha256}
        (unfinished / _SAID).write_text(json.dumps(said))
        if load(cache, name) is None:
            shutil.rmtree(folder, ignore_errors=True)  # what is there cannot be read
            with contextlib.suppress(OSError):  # another build was first; or the next one compiles again
                unfinished.rename(folder)
