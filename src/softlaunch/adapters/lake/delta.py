"""
Tables of predictions as Delta Lake tables: ROOT/SERVICE/predictions, partitioned by day; see place for what a root is.

Exactly once, by these rules (each was tried against deltalake 1.6.6):

* The transaction's application is the spool (`spool/ENVIRONMENT`) or a topic's partition (`stream/TOPIC/NUMBER`), its
  version the number of the append. The same
  commit carries the progress of every environment as `softlaunch.progress`: the newest commit of ours tells all.
* deltalake does not refuse an old version: through a freshly loaded table, version 2 after 3 is written, and the table
  says 2 from then on. So every append loads the table, compares, and writes through that very object.
* What it does refuse is a stale object: a commit of the same application since it was loaded ends in "Concurrent
  transaction failed", one that changed the schema in "Metadata changed". Then the table is loaded and compared again.
* A batch is written with all of the table's fields: with fewer, a struct is not cast but refused.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import deltalake
import deltalake.exceptions
import duckdb
import pyarrow as pa

from softlaunch import errors
from softlaunch.adapters.lake import asking, protocols
from softlaunch.adapters.lake import place as places
from softlaunch.core.prediction_log import progress as progresses
from softlaunch.core.prediction_log import schema
from softlaunch.ports import lake

TABLE = "predictions"
_PROGRESS = "softlaunch.progress"
_PROGRESS_VERSION = "softlaunch.progress.version"
"""Absent where it is 1; a greater one is of a softlaunch that tells its place in another way."""
_TRIES = 20
"""On conflicts; each means that somebody else has got on."""
_HISTORY_FIRST, _HISTORY_ALL = 20, None

_TYPES: dict[schema.Kind, pa.DataType] = {
    schema.Kind.TEXT: pa.string(),
    schema.Kind.BOOL: pa.bool_(),
    schema.Kind.INT: pa.int64(),
    schema.Kind.FLOAT: pa.float32(),
    schema.Kind.DOUBLE: pa.float64(),
    schema.Kind.RAW: pa.binary(),
    schema.Kind.TIME: pa.timestamp("us", "UTC"),
    schema.Kind.DATE: pa.date32(),
    schema.Kind.TEXT_MAP: pa.map_(pa.string(), pa.string()),
}
_KINDS = {str(kind): name for name, kind in _TYPES.items()}
_CONFIGURATION = {"delta.dataSkippingStatsColumns": "id,time"}
"""The history tells bounds of no other column: a key that was removed from the table would stay in it."""
_RENEW_SECONDS = 86_400.0
_WRITER = deltalake.WriterProperties(compression="ZSTD", compression_level=1)


class DeltaLake:
    """
    A ports.lake.Lake.

    Args:
        root: HOME/log, or an object store beside it; need not exist.
    """

    def __init__(self, root: pathlib.Path | places.Root) -> None:
        self._root = places.root(root)

    def place(self, service: str) -> places.Place:
        """Where the service's table is, or will be."""
        return self._root.place(service, TABLE)

    def state(self, service: str) -> lake.TableState:
        """See ports.lake.Lake.state."""
        place = self.place(service)
        try:
            table = place.load(writes=True)
            return lake.TableState() if table is None else _state(table)
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise place.unavailable(error) from error

    def append(
        self,
        service: str,
        blocks: Sequence[lake.Block],
        *,
        environment: str,
        progress: progresses.Progress,
    ) -> lake.TableState:
        """See ports.lake.Lake.append."""
        place = self.place(service)
        try:
            for _ in range(_TRIES):
                table = place.load(writes=True) or _created(place, service)
                with contextlib.suppress(deltalake.exceptions.CommitFailedError):  # it is looked at anew
                    return _appended(place, table, blocks, environment, progress)
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise place.unavailable(error) from error
        raise errors.ConflictError(
            f"Others wrote {place} {_TRIES} times while one batch was to be appended.",
            remedy="Nothing to do: it is tried again.",
            code=errors.Code.LOG_UNAVAILABLE,
        )

    def answered(self, service: str, environment: str, since: float) -> Iterator[tuple[str, str, int]]:
        """See ports.lake.Lake.answered."""
        place = self.place(service)
        try:
            if place.load() is not None:
                yield from asking.answered(place, environment, since)
        except (duckdb.Error, deltalake.exceptions.DeltaError, OSError) as error:
            raise place.unavailable(error) from error


def _created(place: places.Place, service: str) -> deltalake.DeltaTable:
    place.begin()
    return deltalake.DeltaTable.create(
        place.uri,
        schema=_schema((), ()),
        mode="ignore",
        partition_by=[schema.DAY],
        name=TABLE,
        configuration=_CONFIGURATION,
        description=f"What {service} was asked and what it answered, a row each.",
        storage_options=place.storage_options,
    )


def _appended(
    place: places.Place,
    table: deltalake.DeltaTable,
    blocks: Sequence[lake.Block],
    environment: str,
    progress: progresses.Progress,
) -> lake.TableState:
    state = _state(table)
    done = state.progress.get(environment)
    if done is not None and done.version >= progress.version:
        place.settle()
        return state
    if done is None and table.transaction_version(_application(environment)) is not None:
        raise _lost_place(place)
    features = _union(state.features, [block.feature_fields for block in blocks], "features")
    answer = _union(state.answer, [block.answer_fields for block in blocks], "answer")
    rows = pa.concat_tables([_arrow(block, features, answer) for block in blocks]) if blocks else None
    rows = rows if rows is not None else _arrow(_NOTHING, features, answer)
    told = {**state.progress, environment: progress}
    deltalake.write_deltalake(
        table,
        rows,
        mode="append",
        schema_mode="merge",
        writer_properties=_WRITER,
        commit_properties=deltalake.CommitProperties(
            custom_metadata={_PROGRESS: json.dumps({name: found.to_json() for name, found in told.items()})},
            max_commit_retries=0,
            app_transactions=[deltalake.Transaction(_application(environment), progress.version)],
        ),
    )
    place.settle()
    return lake.TableState(features=features, answer=answer, progress=told)


def renew(table: deltalake.DeltaTable) -> None:
    """
    Tells the shipper's place once more, if it was told long ago.

    A table's history is cleaned after 30 days, and commits of maintenance tell no place: many of them over a log that
    nothing is added to would outlive the last one that does.
    """
    for limit in (_HISTORY_FIRST, _HISTORY_ALL):
        told = next((commit for commit in table.history(limit) if _PROGRESS in commit), None)
        if told is not None:
            break
    if told is None or time.time() - told["timestamp"] / 1000 < _RENEW_SECONDS:
        return
    state = _state(table)
    with contextlib.suppress(deltalake.exceptions.CommitFailedError):  # then somebody has got on, and told it
        deltalake.write_deltalake(
            table,
            _arrow(_NOTHING, state.features, state.answer),
            mode="append",
            schema_mode="merge",
            commit_properties=deltalake.CommitProperties(
                custom_metadata={_PROGRESS: told[_PROGRESS]}, max_commit_retries=0
            ),
        )


_NOTHING = lake.Block(rows=(), feature_fields=(), features=(), answer_fields=(), answers=())


def _application(source: str) -> str:
    """See ports.segments.environment_of for what a source is."""
    _, _, part = source.partition("@")
    return f"stream/{part}" if part else f"spool/{source}"


def _state(table: deltalake.DeltaTable) -> lake.TableState:
    fields = {field.name: field.type for field in pa.schema(table.schema().to_arrow())}
    return lake.TableState(
        features=_known(fields.get(schema.FEATURES)),
        answer=_known(fields.get(schema.ANSWER)),
        progress=_progress(table),
    )


def _known(struct: pa.DataType | None) -> tuple[schema.Field, ...]:
    if struct is None:
        return ()
    found = [struct.field(place) for place in range(struct.num_fields)]
    return tuple(
        schema.Field(name=each.name, kind=_KINDS[str(each.type)]) for each in found if str(each.type) in _KINDS
    )


def _progress(table: deltalake.DeltaTable) -> dict[str, progresses.Progress]:
    """Of the newest commit that tells it; other programs' commits (compaction) may have come after."""
    for limit in (_HISTORY_FIRST, _HISTORY_ALL):
        for commit in table.history(limit):
            version = commit.get(_PROGRESS_VERSION, "1")
            if version != "1":
                raise protocols.refused(
                    table.table_uri.removeprefix("file://"),
                    f"tells its place in the spool in version {version}, 1 is known here",
                )
            if _PROGRESS in commit:
                found = json.loads(commit[_PROGRESS])
                return {name: progresses.Progress.from_json(document) for name, document in found.items()}
    return {}


def _union(
    existing: Sequence[schema.Field], more: Sequence[Sequence[schema.Field]], struct: str
) -> tuple[schema.Field, ...]:
    found = {field.name: field for field in existing}
    for fields in more:
        for field in fields:
            if found.setdefault(field.name, field) != field:
                raise errors.ConflictError(
                    f"{struct}.{field.name} is {found[field.name].kind} in the table by now, not {field.kind}.",
                    remedy="Nothing to do: the rows are placed anew.",
                    code=errors.Code.LOG_UNAVAILABLE,
                )
    return tuple(found.values())


def _struct(fields: Sequence[schema.Field]) -> pa.DataType:
    return pa.struct([pa.field(field.name, _TYPES[field.kind]) for field in fields])


def _schema(features: Sequence[schema.Field], answer: Sequence[schema.Field]) -> pa.Schema:
    fields = [pa.field(field.name, _TYPES[field.kind]) for field in schema.ENVELOPE]
    for name, found in ((schema.FEATURES, features), (schema.ANSWER, answer)):
        if found:  # a struct without fields cannot be stored
            fields.append(pa.field(name, _struct(found)))
    return pa.schema([*fields, pa.field(schema.DAY, pa.date32())])


def _arrow(block: lake.Block, features: Sequence[schema.Field], answer: Sequence[schema.Field]) -> pa.Table:
    columns: list[Any] = list(zip(*block.rows, strict=True)) or [()] * len(schema.ENVELOPE)
    arrays = [pa.array(values, _TYPES[field.kind]) for field, values in zip(schema.ENVELOPE, columns, strict=True)]
    for wanted, fields, values in (
        (features, block.feature_fields, block.features),
        (answer, block.answer_fields, block.answers),
    ):
        if wanted:
            arrays.append(_structs(wanted, fields, values))
    time = next(place for place, field in enumerate(schema.ENVELOPE) if field.name == "time")
    return pa.Table.from_arrays([*arrays, arrays[time].cast(pa.date32())], schema=_schema(features, answer))


def _structs(
    wanted: Sequence[schema.Field], fields: Sequence[schema.Field], values: Sequence[lake.Values | None]
) -> pa.Array:
    nothing = (None,) * len(fields)
    absent = [row is None for row in values]
    rows = [nothing if row is None else row for row in values] if any(absent) else values
    columns = dict(zip((field.name for field in fields), zip(*rows, strict=True), strict=True)) if values else {}
    arrays = [
        pa.array(columns[field.name], _TYPES[field.kind])
        if field.name in columns
        else pa.nulls(len(values), _TYPES[field.kind])
        for field in wanted
    ]
    return pa.StructArray.from_arrays(
        arrays,
        fields=[pa.field(field.name, _TYPES[field.kind]) for field in wanted],
        mask=pa.array(absent, pa.bool_()),
    )


def _lost_place(place: places.Place) -> errors.UnavailableError:
    return errors.UnavailableError(
        f"The prediction log {place} does not tell its place in the spool any more: its history was cleaned.",
        remedy="Move the folder away; a new log begins with what the spool has still, and both can be read.",
        code=errors.Code.LOG_UNAVAILABLE,
    )
