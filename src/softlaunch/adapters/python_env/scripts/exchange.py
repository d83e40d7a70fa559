"""
How a tool is asked and answers: JSON files, and tables of rows as .npz.

Tools run in a release's own environment. They import only the standard library, numpy, softlaunch.core and whatever the
model itself needs.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from softlaunch import errors
from softlaunch.core import predictions


def run(tool: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Reads the request named by the first argument, writes the answer or the refusal to the second."""
    request = json.loads(pathlib.Path(sys.argv[1]).read_bytes())
    try:
        answer = tool(request)
    except errors.SoftlaunchError as error:
        answer = {"error": {"message": error.message, "remedy": error.remedy, "code": error.code.value}}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # threads a model left running must not keep the build waiting


def read_rows(path: str) -> list[predictions.Row]:
    """Rows in the signature's order, None where missing, from the file the build wrote."""
    with np.load(path, allow_pickle=False) as found:
        columns = [_column(found, number) for number in range(int(found["column_count"]))]
    return list(zip(*columns, strict=True))


def enter(code: str | None) -> None:
    """Makes the checkout's modules importable and its files reachable, as the model server does."""
    if code is not None:
        sys.path.insert(0, code)
        os.chdir(code)


def imports_from(code: str | None) -> bool:
    """Something that is imported by now lies in the checkout."""
    if code is None:
        return False
    root = pathlib.Path(code).resolve()
    found = (getattr(module, "__file__", None) or "" for module in list(sys.modules.values()))
    return any(pathlib.Path(path).resolve().is_relative_to(root) for path in found if path)


def one_line(error: BaseException) -> str:
    """The exception's class and message on one line, at most 300 characters."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def unreadable(path: str, why: str, remedy: str) -> errors.ConfigError:
    """The model file cannot be used."""
    return errors.ConfigError(
        f"The model {pathlib.Path(path).name} cannot be read: {why}.", remedy=remedy, code=errors.Code.MODEL_UNREADABLE
    )


def _column(found: Any, number: int) -> list[Any]:
    values: list[Any]
    if f"text{number}" in found:
        values = json.loads(found[f"text{number}"].tobytes().decode(errors="surrogatepass"))
    else:
        values = found[f"values{number}"].tolist()
    for place in np.flatnonzero(found[f"missing{number}"]).tolist():
        values[place] = None
    return values
