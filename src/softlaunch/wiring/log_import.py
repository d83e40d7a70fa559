"""Importing what other programs logged into the prediction log."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ruamel.yaml
import ruamel.yaml.error

from softlaunch import errors
from softlaunch.adapters.lake import delta, foreign
from softlaunch.config import home as homes
from softlaunch.controller.prediction_log import (
    importing,
    importing_capture,
    importing_events,
    importing_map,
    importing_rows,
)
from softlaunch.wiring import log_place

FORMATS = ("kserve", "seldon", "sagemaker", "map")
_LINE_MAX = 64 << 20
_NAME = re.compile(r"[a-z0-9]([-a-z0-9_]*[a-z0-9])?\Z")
_GZIP = b"\x1f\x8b"


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
    with contextlib.nullcontext() if order.dry_run else _alone(home):
        outcome = importing.bring(
            source,
            lake=delta.DeltaLake(log_place.root(home)),
            service=order.service,
            environment=order.environment,
            release_name=order.release,
            now=time.time(),
            quarantine=lambda found: _write(place, found),
            tell=tell,
            dry_run=order.dry_run,
        )
    return outcome, place


def _source(order: Order) -> importing.Source:
    if len(set(order.files)) != len(order.files):
        raise importing_rows.refuse("A file is named twice.", "Name each once.")
    digests = [_digest(path) for path in order.files]
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


def _digest(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise importing_rows.refuse(f"{path} cannot be read: {error.strerror}.", "Look at its name.") from error


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
        for number, content in enumerate(_contents(path, kind), start=2 if kind == "csv" else 1):
            if isinstance(content, bytes) and not content.strip():
                continue
            ordinal += 1
            yield importing_rows.Line(file=path.name, number=number, ordinal=ordinal, content=content)


def _contents(path: pathlib.Path, kind: str) -> Iterator[bytes | dict[str, Any]]:
    if kind == "parquet":
        yield from foreign.parquet_rows(path)
    elif kind == "csv":
        yield from _csv(path)
    else:
        yield from _text(path)


def _text(path: pathlib.Path) -> Iterator[bytes]:
    try:
        with _opened(path) as file:
            while line := file.readline(_LINE_MAX):
                yield line
    except (OSError, EOFError) as error:
        raise importing_rows.refuse(f"{path} cannot be read to its end: {error}.", "Fetch it again.") from error


def _opened(path: pathlib.Path) -> io.BufferedIOBase:
    file = path.open("rb")
    if file.peek(2)[:2] != _GZIP:
        return file
    file.close()
    return gzip.open(path)


def _csv(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    """Columns by the first line's names; what does not fit comes as the column "" with the reason."""
    found = csv.reader(line.decode(errors="surrogateescape") for line in _text(path))
    names = next(found, [])
    if not names or len(set(names)) != len(names) or "" in names:
        raise importing_rows.refuse(f"The first line of {path} names no columns, or one twice.", "Add a header.")
    while True:
        try:
            row = next(found, None)
        except csv.Error as error:
            yield {"": f"no CSV: {error}"}
            continue
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(names):
            yield {"": f"{len(row)} columns instead of {len(names)}", "row": row}
        elif any("\udc80" <= letter <= "\udcff" for value in row for letter in value):
            yield {"": "no UTF-8", "row": row}
        else:
            yield dict(zip(names, row, strict=True))


def _write(place: pathlib.Path, found: Iterable[importing_rows.Bad]) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = place.with_suffix(".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        for each in found:
            file.write(json.dumps(dataclasses.asdict(each)) + "\n")
    part.replace(place)


@contextlib.contextmanager
def _alone(home: homes.Home) -> Iterator[None]:
    """One import for a home; the lock ends with its process."""
    home.log.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(home.log / "import.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.ConflictError(
                "Another import into this home is under way.",
                remedy="Wait for it, and repeat.",
                code=errors.Code.LOG_RUNS,
            ) from error
        yield
    finally:
        os.close(fd)
