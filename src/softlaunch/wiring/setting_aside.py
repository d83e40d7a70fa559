"""Lines that did not fit, kept for whoever wants to mend them."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterable
from typing import Any

from softlaunch.controller import replacing


def write(place: pathlib.Path, found: Iterable[Any]) -> None:
    """
    Each as a line of JSON, in a file that its owner alone may read.

    Args:
        place: The file; folders are made.
        found: Dataclasses.

    Raises:
        OSError: it cannot be written.
    """
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replacing.replace_file(place, (f"{json.dumps(dataclasses.asdict(each))}\n".encode() for each in found))
