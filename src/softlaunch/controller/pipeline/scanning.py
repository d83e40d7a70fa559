"""Looks at the pickles of a model and of a service's code before anything loads them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Collection, Iterator

from softlaunch.core import pickles

_HEAD = 16
_SHOWN_MAX = 40


def checked(
    model: pathlib.Path | None, code: pathlib.Path, *, without: str | None, allowed: Collection[str]
) -> tuple[str, ...]:
    """
    What a reader of the build should know about its pickles, one sentence each; nothing when there are none.

    Args:
        model: File or directory.
        code: The service's folder; files in it whose names say that they are pickles are looked at too.
        without: The model's own place in `code`, if it is there.
        allowed: `model.allow_globals`.

    Raises:
        ConfigError: one would call something dangerous.
    """
    notes: list[str] = []
    for path, label in (*_of_model(model), *_of_code(code, without)):
        found = pickles.scan(path.read_bytes(), name=label)
        pickles.refuse_dangerous(found, allowed=allowed, what=label)
        notes += _told(label, found, allowed)
    return tuple(dict.fromkeys(notes))


def _told(label: str, found: pickles.Scan, allowed: Collection[str]) -> Iterator[str]:
    if found.globals:
        names = sorted(found.globals)
        rest = len(names) - _SHOWN_MAX
        more = f" and {rest} more" if rest > 0 else ""
        yield f"Loading {label} imports {', '.join(names[:_SHOWN_MAX])}{more}."
    let_in = [
        each
        for each in pickles.dangerous(found.globals)
        if each not in pickles.dangerous(found.globals, allowed=allowed)
    ]
    if let_in:
        yield f"Of these, `model.allow_globals` lets in {', '.join(let_in)}."
    for part in found.unscanned:
        yield f"Not scanned: {part}."


def _of_model(model: pathlib.Path | None) -> Iterator[tuple[pathlib.Path, str]]:
    if model is None:
        return
    paths = sorted(each for each in model.rglob("*") if each.is_file()) if model.is_dir() else [model]
    for path in paths:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        if pickles.looks_like_one(path.name, head):
            yield path, f"model/{path.relative_to(model)}" if model.is_dir() else f"the model{path.suffix}"


def _of_code(code: pathlib.Path, without: str | None) -> Iterator[tuple[pathlib.Path, str]]:
    left_out = None if without is None else code / without
    for place, folders, names in os.walk(code):
        folders[:] = sorted(each for each in folders if not each.startswith(".git"))
        for name in sorted(names):
            path = pathlib.Path(place, name)
            if path.suffix.lower() in pickles.NAMED and path.is_file() and path != left_out:
                yield path, path.relative_to(code).as_posix()
