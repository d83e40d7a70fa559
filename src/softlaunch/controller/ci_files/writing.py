"""Puts exported files into a repository, and over nothing that somebody changed."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from softlaunch import errors


def write(files: Mapping[str, str], top: pathlib.Path, *, force: bool) -> dict[str, bool]:
    """
    Writes all of the files, or none where one of them says something else already.

    Args:
        files: Text by path below `top`.
        top: The folder they belong into.
        force: Write over what is there.

    Returns:
        By path, whether it was written; False: it said the same already.

    Raises:
        ConfigError: a file says something else and `force` is not given, or it cannot be written.
    """
    there = {name: _read(top / name) for name in files}
    changed = [name for name, text in files.items() if there[name] not in (None, text.encode())]
    if changed and not force:
        raise errors.ConfigError(
            f"There is something else already in {', '.join(changed)}; nothing was written.",
            remedy="Look at the difference with --stdout; --force writes over it.",
            code=errors.Code.BAD_OPTION,
        )
    for name, text in files.items():
        if there[name] != text.encode():
            _write(top / name, text)
    return {name: there[name] != text.encode() for name, text in files.items()}


def _read(path: pathlib.Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(path, error) from error


def _write(path: pathlib.Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partly = path.with_name(f".{path.name}.partly")
        partly.write_text(text, encoding="utf-8")
        partly.replace(path)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: pathlib.Path, error: OSError) -> errors.ConfigError:
    return errors.ConfigError(
        f"{path} cannot be written: {error.strerror or error}.",
        remedy="Check that it is a file, or no file yet, and that you may write there.",
        code=errors.Code.BAD_OPTION,
    )
