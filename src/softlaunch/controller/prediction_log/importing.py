"""
Moves rows of foreign logs into the log, through the same port as the spool's; exactly once.

Files are read twice: to learn the types and whether anything fits, and to write. Reading is deterministic, so the
progress in the table needs nothing but how many rows of these files are in it: a repeated import passes over those.
The progress is that of a spool of its own, `imported/ENVIRONMENT`; its segments are the files' digests.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.controller.prediction_log import importing_rows as rows
from softlaunch.core import predictions, release
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake as lakes

ROWS_MAX = 50_000
"""In a commit."""
_RECIPE = "1"
"""Changes when the same file gives other rows: then what was imported is not counted by rows of now."""
_DIGITS = 16
_INT = re.compile(r"-?(0|[1-9][0-9]{0,18})\Z")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?\Z")

Lines = Callable[[], Iterable[rows.Line]]
"""The lines of all files; asked twice."""
_Types = dict[str, release.Datatype | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Files that are imported together."""

    digests: Sequence[str]
    """SHA-256 of each."""
    recipe: str
    """Format and map."""
    reader: rows.Reader
    lines: Lines
    textual: bool
    """Numbers are written as text (CSV, access logs)."""

    @property
    def unit(self) -> str:
        told = json.dumps([_RECIPE, self.recipe, *self.digests]).encode()
        return hashlib.sha256(told).hexdigest()[:_DIGITS]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one import."""

    rows: int
    """That fit."""
    added: int
    """To the log; less than rows when some are in it already."""
    bad: int
    reasons: Mapping[str, int]
    unanswered: int
    unasked: int


def bring(
    source: Source,
    *,
    lake: lakes.Lake,
    service: str,
    environment: str,
    release_name: str | None,
    now: float,
    quarantine: Callable[[Iterator[rows.Bad]], None],
    tell: Callable[[int], None],
    dry_run: bool = False,
    row_count_max: int = ROWS_MAX,
) -> Outcome:
    """
    Imports files; what is there already is passed over.

    Args:
        source: The files.
        lake: The log.
        service: Whose log.
        environment: Of the rows.
        release_name: Of rows that name none.
        now: Unix seconds.
        quarantine: Given the bad lines; not called when nothing fits.
        tell: How many rows were read, now and then.
        dry_run: Nothing is written.
        row_count_max: In a commit.

    Raises:
        ConfigError: no line fits, or a file was imported in another way.
        UnavailableError: the log cannot be written; repeat, it goes on where it was.
    """
    place = f"imported/{environment}"
    state = lake.state(service)
    begun = state.progress.get(place, progress.Progress())
    _is_new(source, begun, environment)
    learned = _learn(source, now)
    if not learned.count:
        first = learned.first_bad
        raise rows.refuse(
            "No line fits."
            if first is None
            else f"No line fits: {first.file}, line {first.line}: {first.reason}."
            if learned.bad_count
            else "There is nothing in it.",
            "Look whether --format is that of the file; nothing was written.",
        )
    done = begun.offsets.get(_mark(source, 0), 0)
    outcome = Outcome(
        rows=learned.count,
        added=max(0, learned.count - done),
        bad=learned.bad_count,
        reasons=learned.reasons,
        unanswered=learned.counted.unanswered,
        unasked=learned.counted.unasked,
    )
    if dry_run:
        return outcome
    if learned.bad_count:
        quarantine(each for each in source.reader(source.lines(), rows.Counted(), now) if isinstance(each, rows.Bad))
    fitting = (each for each in source.reader(source.lines(), rows.Counted(), now) if isinstance(each, rows.Row))
    for batch in _batches(itertools.islice(fitting, done, learned.count), row_count_max):
        done += len(batch)
        marks = {_mark(source, number): done for number in range(len(source.digests))}
        counts = {name: begun.counts.get(name, 0) + len(batch) for name in ("rows", "records")}
        begun = progress.Progress(
            version=begun.version + 1,
            offsets={**begun.offsets, **marks},
            counts={**begun.counts, **counts},
            time_max=max(begun.time_max, *(row.time for row in batch)),
        )
        block = _block(batch, learned, state, environment, release_name)
        state = lake.append(service, [block], environment=place, progress=begun)
        if state.progress.get(place) != begun:
            raise errors.ConflictError(
                f"Another import into {service} went on at the same time.",
                remedy="Repeat it: what is in the log already is passed over.",
                code=errors.Code.LOG_RUNS,
            )
        tell(done)
    return outcome


def _mark(source: Source, number: int) -> str:
    return f"{source.digests[number][:_DIGITS]}@{source.unit}"


def _is_new(source: Source, begun: progress.Progress, environment: str) -> None:
    mine = {digest[:_DIGITS] for digest in source.digests}
    for mark in begun.offsets:
        digest, _, unit = mark.partition("@")
        if digest in mine and unit != source.unit:
            raise rows.refuse(
                f"One of these files is in the log of environment {environment!r} already, "
                "imported with other files or another --format, --map or --release.",
                "Import it as before, or into another --environment.",
            )


@dataclasses.dataclass(kw_only=True)
class _Learned:
    count: int = 0
    bad_count: int = 0
    first_bad: rows.Bad | None = None
    reasons: dict[str, int] = dataclasses.field(default_factory=dict)
    features: _Types = dataclasses.field(default_factory=dict)
    answer: _Types = dataclasses.field(default_factory=dict)
    counted: rows.Counted = dataclasses.field(default_factory=rows.Counted)


def _learn(source: Source, now: float) -> _Learned:
    found = _Learned()
    for each in source.reader(source.lines(), found.counted, now):
        if isinstance(each, rows.Bad):
            found.bad_count += 1
            found.first_bad = found.first_bad or each
            found.reasons[each.reason] = found.reasons.get(each.reason, 0) + 1
            continue
        found.count += 1
        for types, values in ((found.features, each.features), (found.answer, each.answer)):
            for name, value in (values or {}).items():
                types[name] = _wider(types.get(name), _type(value, textual=source.textual))
    return found


def _type(value: Any, *, textual: bool) -> release.Datatype | None:
    if value is None or (textual and value == ""):
        return None
    if textual and isinstance(value, str):
        if value.lower() in {"true", "false"}:
            return release.Datatype.BOOL
        if _INT.match(value):
            value = int(value)
        else:
            return release.Datatype.FP64 if _FLOAT.match(value) else release.Datatype.BYTES
    if isinstance(value, bool):
        return release.Datatype.BOOL
    if isinstance(value, int):
        fits = predictions.INT64_MIN <= value <= predictions.INT64_MAX
        return release.Datatype.INT64 if fits else release.Datatype.BYTES
    return release.Datatype.FP64 if isinstance(value, float) else release.Datatype.BYTES


def _wider(first: release.Datatype | None, second: release.Datatype | None) -> release.Datatype | None:
    if first is None or second is None or first is second:
        return first or second
    numbers = {release.Datatype.INT64, release.Datatype.FP64}
    return release.Datatype.FP64 if {first, second} == numbers else release.Datatype.BYTES


def _taken(value: Any, datatype: release.Datatype) -> Any:
    if value is None:
        return None
    if datatype is release.Datatype.BYTES:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return text.encode(errors="replace").decode()  # a lone surrogate is valid JSON and no column's
    if value == "":
        return None
    if datatype is release.Datatype.BOOL:
        return value if isinstance(value, bool) else str(value).lower() == "true"
    return int(value) if datatype is release.Datatype.INT64 else float(value)


def _batches(found: Iterator[rows.Row], count: int) -> Iterator[list[rows.Row]]:
    while batch := list(itertools.islice(found, count)):
        yield batch


def _block(
    batch: Sequence[rows.Row], learned: _Learned, state: lakes.TableState, environment: str, release_name: str | None
) -> lakes.Block:
    inputs, outputs = _columns(learned.features), _columns(learned.answer)
    return lakes.Block(
        rows=[_envelope(row, environment, release_name) for row in batch],
        feature_fields=schema.placed(state.features, inputs),
        features=[_values(row.features, inputs) for row in batch],
        answer_fields=schema.placed(state.answer, outputs),
        answers=[_values(row.answer, outputs) for row in batch],
    )


def _columns(types: _Types) -> tuple[release.Column, ...]:
    return tuple(
        release.Column(name=name, datatype=datatype or release.Datatype.BYTES, nullable=True)
        for name, datatype in types.items()
    )


def _values(values: Mapping[str, Any] | None, columns: Sequence[release.Column]) -> lakes.Values | None:
    if values is None:
        return None
    return tuple(_taken(values.get(column.name), column.datatype) for column in columns)


def _envelope(row: rows.Row, environment: str, release_name: str | None) -> lakes.Values:
    told = {
        "id": f"{row.request_id}:{row.row}",
        "request_id": row.request_id,
        "row": row.row,
        "row_count": row.row_count,
        "release": row.release if release_name is None else release_name,
        "served": True,
        "environment": environment,
        "time": round(row.time * 1e6),
        "key": row.key,
        "path": row.path,
        "latency_us": row.latency_us,
        "status": row.status,
    }
    return tuple(told.get(field.name) for field in schema.ENVELOPE)
