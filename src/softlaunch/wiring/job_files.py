"""Which jobs there are: those of a softlaunch.yaml, and those that ran in a home."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Sequence

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.config import service_file
from softlaunch.controller import jobs


def of_folder(directory: pathlib.Path) -> Sequence[jobs.Job]:
    """
    The jobs of the folder's softlaunch.yaml; none where there is no such file.

    Raises:
        ConfigError: the file is wrong.
    """
    path = directory.absolute() / service_file.FILE_NAME
    return [jobs.of_file(each, path) for each in service_file.load(path).jobs] if path.is_file() else ()


def find(home: homes.Home, name: str, directory: pathlib.Path) -> jobs.Job:
    """
    The job of that name: of the folder's softlaunch.yaml, else the one that ran before, as its own file says it now.

    Raises:
        ConfigError: there is none, or its file is wrong.
    """
    here = of_folder(directory)
    found = next((each for each in here if each.name == name), None)
    if found is not None:
        return found
    known = next((each for each in jobs.Jobs(home.jobs).every() if each.name == name), None)
    if known is not None and not known.file:
        return known
    if known is not None:
        found = next((each for each in of_folder(pathlib.Path(known.file).parent) if each.name == name), None)
        if found is not None:
            return found
    names = {*(each.name for each in here), *(each.name for each in jobs.Jobs(home.jobs).every())} - {name}
    gone = f" It stood in {known.file}, and does no more." if known is not None else ""
    raise errors.ConfigError(
        f"There is no job {name!r:.80}.{gone}",
        remedy=_near(name, sorted(names)),
        code=errors.Code.NO_JOB,
    )


def _near(name: str, names: Sequence[str]) -> str:
    if not names:
        return "Write it under `jobs:` in softlaunch.yaml, or give its command behind `--`."
    close = difflib.get_close_matches(name[:80], names, n=3)
    guess = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{guess}Jobs there are: {', '.join(names)}. A new one stands under `jobs:`, or has its command behind `--`."
