"""Importing what other programs logged into the prediction log."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ruamel.yaml
import ruamel.yaml.error

from softlaunch.adapters.lake import delta
from softlaunch.config import home as homes
from softlaunch.controller.prediction_log import (
    importing,
    importing_capture,
    importing_events,
    importing_map,
    importing_rows,
)
from softlaunch.wiring import log_lock, log_place, reading, setting_aside

FORMATS = ("kserve", "seldon", "sagemaker", "map")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9_]*[a-z0-9])?\Z")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be imported."""

    files: Sequence[pathlib.Path]
    service: str
    environment: str
    format: str
    map_file: pathlib.Path | None
    release: str | None
    dry_run: bool


def bring(home: homes.Home, order: Order, *, tell: Callable[[int], None]) -> tuple[importing.Outcome, pathlib.Path]:
    """
    Imports files; with the place of the bad lines.

    Raises:
        ConfigError: a file, the map or a name is wrong, or no line fits.
        ConflictError: another import is under way.
        UnavailableError: the log cannot be written.
    """
    for what, name in (("service", order.service), ("environment", order.environment)):
        if not _NAME.match(name):
            raise importing_rows.refuse(f"{name!r} is no name of a {what}.", "Take small letters, digits and hyphens.")
    source = _source(order)
    place = home.log / order.service / "quarantine" / f"import-{source.unit}.jsonl"
    with contextlib.nullcontext() if order.dry_run else log_lock.importing(home):
        outcome = importing.bring(
            source,
            lake=delta.DeltaLake(log_place.root(home)),
            service=order.service,
            environment=order.environment,
            release_name=order.release,
            now=time.time(),
            quarantine=lambda found: setting_aside.write(place, found),
            tell=tell,
            dry_run=order.dry_run,
        )
    return outcome, place


def _source(order: Order) -> importing.Source:
    if len(set(order.files)) != len(order.files):
        raise importing_rows.refuse("A file is named twice.", "Name each once.")
    digests = [reading.digest(path, importing_rows.refuse) for path in order.files]
    if len(set(digests)) != len(digests):
        raise importing_rows.refuse("Two of the files have the same content.", "Import one of them.")
    recipe = json.dumps([order.format, order.release])
    kind, textual = "jsonl", False
    reader: importing_rows.Reader
    if order.format == "map":
        if order.map_file is None:
            raise importing_rows.refuse("--format map needs --map MAPFILE.", "See docs/reference/log-import.md.")
        text = _map_text(order.map_file)
        found = importing_map.parse(_yaml(text, order.map_file))
        recipe = json.dumps([recipe, text])
        kind, textual, reader = found.kind, found.textual, importing_map.reader(found, digests[0][:12])
    elif order.map_file is not None:
        raise importing_rows.refuse("--map goes with --format map only.", "Leave it out.")
    else:
        reader = importing_capture.read if order.format == "sagemaker" else importing_events.read
    return importing.Source(
        digests=digests, recipe=recipe, reader=reader, lines=lambda: _lines(order.files, kind), textual=textual
    )


def _map_text(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise importing_rows.refuse(f"The map {path} cannot be read: {error}.", "Look at its name.") from error


def _yaml(text: str, path: pathlib.Path) -> Any:
    try:
        return ruamel.yaml.YAML(typ="safe", pure=True).load(text)
    except ruamel.yaml.error.YAMLError as error:
        raise importing_rows.refuse(f"The map {path} is no YAML: {error}", "Mend it.") from error


def _lines(paths: Sequence[pathlib.Path], kind: str) -> Iterator[importing_rows.Line]:
    ordinal = 0
    for path in paths:
        for number, content in enumerate(
            reading.contents(path, kind, importing_rows.refuse), start=2 if kind == "csv" else 1
        ):
            if isinstance(content, bytes) and not content.strip():
                continue
            ordinal += 1
            yield importing_rows.Line(file=path.name, number=number, ordinal=ordinal, content=content)
