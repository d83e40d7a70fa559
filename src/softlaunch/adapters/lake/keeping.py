"""
Keeping of a table: many small files become a few sorted ones, old days end, one person's rows go.

None of it touches what the shipper needs. These commits carry no `softlaunch.progress`, and the newest commit that does
is the shipper's: were the progress copied, a copy taken before an append and committed after it would send the shipper
back. What `delta.renew` tells again is refused when anything was committed since it was read.

Tried with deltalake 1.6.6:

* Z-order over one column sorts by it. Beside an append it is committed; beside a deletion of its files it is refused.
* A deletion beside an append is refused ("a concurrent transactions added new data") and made again.
* `vacuum` removes files that a commit has replaced, and leaves alone those that no commit has named yet, which are what
  a shipper is writing now. With `full=True` it would remove them too.
* Predicates know no maps: rows of a business key are looked up first, and deleted by their `id`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import deltalake
import deltalake.exceptions

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta, labels, sql
from softlaunch.adapters.lake import place as places
from softlaunch.controller import replacing
from softlaunch.core.prediction_log import schema

VACUUM_HOURS = 24
"""Replaced files stay so long, for whoever reads the version before."""
FILES_OF_TODAY_MAX = 64
"""More small files of the day that is being written, and they are joined."""
_TARGET_BYTES = 128 << 20
_SPILL_BYTES = 512 << 20
ROW_GROUP_ROWS = 100_000
_IDS_AT_ONCE = 2_000
_TRIES = 10
_WRITER = deltalake.WriterProperties(compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_ROWS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What one round did, or would do."""

    days_sorted: tuple[str, ...] = ()
    days_removed: tuple[str, ...] = ()
    rows_removed: int = 0
    files_before: int = 0
    files_after: int = 0
    files_deleted: int = 0
    """From the disk, since no version of the last day names them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forgotten:
    rows: int
    days: tuple[str, ...]


class Keeper:
    """
    Of one table. Several at once are safe: the second one's commit is refused, and made again where that has a sense.

    Args:
        path: Of the table; need not exist.
        sorted_by: A column; look-ups are by it.
    """

    def __init__(self, path: pathlib.Path | places.Place, *, sorted_by: str = "id") -> None:
        self._place = places.at(path)
        self._sorted_by = sorted_by
        name = "kept.json" if self._place.name == delta.TABLE else f"kept-{self._place.name}.json"
        self._kept_file = self._place.folder / name

    def keep(self, today: datetime.date, *, keep_days: int | None, dry_run: bool = False) -> Kept:
        """
        Removes days that are too old, sorts finished ones by id, and deletes files that nobody needs.

        Args:
            today: In UTC; its rows are still coming.
            keep_days: Days before this many are removed; None: all are kept.
            dry_run: Only says what it would do; nothing is counted below the days then.

        Raises:
            UnavailableError: the table cannot be read or written now, or others wrote it all the time.
        """
        with self._trouble():
            table = self._place.load(writes=True)
            if table is None:
                return Kept()
            if not dry_run:
                delta.renew(table)
            before = _files(table)
            oldest = None if keep_days is None else today - datetime.timedelta(days=keep_days)
            gone = tuple(day for day in sorted(before) if oldest is not None and day < oldest.isoformat())
            unsorted = tuple(day for day in self._unsorted(before, today) if day not in gone)
            count = sum(map(len, before.values()))
            if dry_run:
                return Kept(days_sorted=unsorted, days_removed=gone, files_before=count, files_after=count)
            removed = 0
            if gone and oldest is not None:
                removed = self._delete(f"{schema.DAY} < '{oldest.isoformat()}'")
            for day in unsorted:
                self._sort(day, joined_only=day == today.isoformat())
            table = self._loaded()
            after = _files(table)
            self._note({day: _mark(names) for day, names in after.items() if day < today.isoformat()})
            deleted = table.vacuum(VACUUM_HOURS, dry_run=True, enforce_retention_duration=False)
            if deleted:  # without the question each round would write two commits
                table.vacuum(VACUUM_HOURS, dry_run=False, enforce_retention_duration=False)
            return Kept(
                days_sorted=unsorted,
                days_removed=gone,
                rows_removed=removed,
                files_before=count,
                files_after=sum(map(len, after.values())),
                files_deleted=len(deleted),
            )

    def forget(self, key: str, *, key_name: str | None, dry_run: bool = False) -> Forgotten:
        """
        Removes every row of a key, and at once every file that still holds one of them.

        Args:
            key: As it was recorded.
            key_name: A business key's name; None: the sticky key.
            dry_run: Only counts.

        Raises:
            UnavailableError: as `keep`; then it was not or not wholly done, and may be repeated.
        """
        with self._trouble():
            rows = 0
            days: set[str] = set()
            table = self._place.load(writes=True)
            if table is None:
                return Forgotten(rows=0, days=())
            if not dry_run:
                delta.renew(table)
            for _ in range(_TRIES):
                found = self._of_key(key, key_name)
                days |= {day for _, day in found}
                if dry_run or not found:
                    rows += len(found)
                    break
                rows += self._delete_ids(found)
            if dry_run:
                return Forgotten(rows=rows, days=tuple(sorted(days)))
            # Replaced files hold the rows still, also those that an earlier sorting has replaced.
            self._loaded().vacuum(0, dry_run=False, enforce_retention_duration=False)
            return Forgotten(rows=rows, days=tuple(sorted(days)))

    def ids_of(self, key: str, key_name: str | None) -> list[str]:
        """
        Ids of a key's rows.

        Raises:
            UnavailableError: the table cannot be read.
        """
        with self._trouble():
            return [] if self._place.load() is None else [name for name, _ in self._of_key(key, key_name)]

    def forget_labels(self, key: str, *, key_name: str | None, ids: Sequence[str], dry_run: bool = False) -> int:
        """
        Removes, from a table of labels, those of a key and those of predictions; how many.

        Args:
            key: As it was recorded.
            key_name: As `forget`.
            ids: Of predictions.
            dry_run: Only counts.

        Raises:
            UnavailableError: as `forget`.
        """
        with self._trouble():
            table = self._place.load(writes=True)
            if table is None:
                return 0
            found = labels.lines_of(self._place, table, key, key_name=key_name, ids=ids)
            if dry_run:
                return sum(map(len, found.values()))
            count = 0
            for push, lines in found.items():  # the history tells what was asked for, so not by the key itself
                for place in range(0, len(lines), _IDS_AT_ONCE):
                    listed = ", ".join(map(str, lines[place : place + _IDS_AT_ONCE]))
                    count += self._delete(f"push = {sql.quoted(push)} AND line IN ({listed})")
            self._loaded().vacuum(0, dry_run=False, enforce_retention_duration=False)
            return count

    def _of_key(self, key: str, key_name: str | None) -> list[tuple[str, str]]:
        if key_name is None:
            where, values = "key = $1", [key]
        else:
            where, values = "list_contains(map_extract(keys, $2), $1)", [key, key_name]
        query = f"SELECT id, CAST(day AS VARCHAR) AS day FROM predictions WHERE {where}"  # noqa: S608 - one of two
        found = asking.select(self._place, query, values)
        return [(str(row["id"]), str(row["day"])) for row in found]

    def _delete_ids(self, found: Sequence[tuple[str, str]]) -> int:
        count = 0
        for day in sorted({day for _, day in found}):
            names = sorted({name for name, each in found if each == day})
            for place in range(0, len(names), _IDS_AT_ONCE):
                listed = ", ".join(map(sql.quoted, names[place : place + _IDS_AT_ONCE]))
                count += self._delete(f"{schema.DAY} = '{day}' AND id IN ({listed})")
        return count

    def _delete(self, predicate: str) -> int:
        done = self._repeated(lambda table: table.delete(predicate, writer_properties=_WRITER))
        return int(done.get("num_deleted_rows") or 0)

    def _sort(self, day: str, *, joined_only: bool) -> None:
        """Joined only: rewriting all of a day that goes on every hour would take ever longer."""

        def make(table: deltalake.DeltaTable) -> dict[str, Any]:
            if joined_only:
                return table.optimize.compact(
                    [(schema.DAY, "=", day)], _TARGET_BYTES, 1, _SPILL_BYTES, writer_properties=_WRITER
                )
            return table.optimize.z_order(
                [self._sorted_by], [(schema.DAY, "=", day)], _TARGET_BYTES, 1, _SPILL_BYTES, writer_properties=_WRITER
            )

        self._repeated(make)

    def _repeated(self, make: Callable[[deltalake.DeltaTable], dict[str, Any]]) -> dict[str, Any]:
        for _ in range(_TRIES):
            with contextlib.suppress(deltalake.exceptions.CommitFailedError):
                return make(self._loaded())
        raise errors.UnavailableError(
            f"Others wrote {self._place} {_TRIES} times while it was to be rewritten.",
            remedy="Repeat it, when fewer rows arrive.",
            code=errors.Code.LOG_UNAVAILABLE,
        )

    def _unsorted(self, files: dict[str, list[str]], today: datetime.date) -> Iterator[str]:
        notes = self._notes()
        for day, names in sorted(files.items()):
            if day < today.isoformat():
                if notes.get(day) != _mark(names):
                    yield day
            elif len(names) > FILES_OF_TODAY_MAX:
                yield day

    def _notes(self) -> dict[str, str]:
        """Lost or damaged notes cost one more sorting."""
        try:
            found = json.loads(self._kept_file.read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, notes: dict[str, str]) -> None:
        if notes == self._notes():
            return
        self._place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        replacing.replace_file(self._kept_file, [f"{json.dumps(notes, indent=1)}\n".encode()])

    def _loaded(self) -> deltalake.DeltaTable:
        table = self._place.load(writes=True)
        if table is None:
            raise deltalake.exceptions.TableNotFoundError(f"{self._place} is gone")
        return table

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (deltalake.exceptions.DeltaError, OSError) as error:
            raise self._place.unavailable(error, doing="rewritten") from error


def _files(table: deltalake.DeltaTable) -> dict[str, list[str]]:
    """Names of a table's files by day."""
    found: dict[str, list[str]] = {}
    for name in table.file_uris():
        day, _, file = name.rpartition("/")
        found.setdefault(day.rpartition("=")[2], []).append(file)
    return found


def _mark(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]
