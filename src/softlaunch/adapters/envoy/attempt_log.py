"""
The attempt log: every line exactly once, whatever is rotated, restarted or killed, and a word for every line lost.

Files: `attempts.log` (Envoy writes it) and `attempts.log.00000007` (rotated, oldest has the lowest number). Rules:

* A cursor names a file by its number and the fingerprint of its first line, not by its inode: file systems give a freed
  inode to the next file. The active file's number is one above the highest rotated, and keeps it when it is rotated.
* Envoy opens the new file only after it has closed the old one, and only when it has something to write. So once a
  later file exists, the earlier one is complete; until then its end is only the end so far.
* The highest rotated file is never deleted but emptied: its name remembers the number.
* What is known to be lost is a *gap*. The gateway writes gaps it knows of (Envoy died, a write failed) into the log as
  lines of their own, so that they are told once, in order, also to a reader that starts later.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable

from softlaunch import errors
from softlaunch.adapters.envoy import attempt_lines
from softlaunch.core import attempts
from softlaunch.ports import gateway

BUDGET_BYTES = 256 * 1024 * 1024

FREE_BYTES_MIN = 16 * 1024 * 1024
"""Below this much free disk the log may stop growing at any moment. A guess: some minutes of a busy service."""

_BLOCK_BYTES = 1024 * 1024
_PARTS = 8
"""The budget is kept in parts: what is deleted at once, when something has to be, is an eighth."""

_FINGERPRINT_BITS = 40
_HEAD_BYTES = 512
_ROTATED = re.compile(r"\.(\d{8})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _File:
    number: int
    path: pathlib.Path
    size: int
    file_id: int
    """Zero while it has no whole first line."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """Where reading goes on, and what is missing before that place."""

    file: _File | None = None
    """None: nothing to read now."""
    offset: int = 0
    complete: bool = False
    """Nothing will be added to the file any more."""
    gaps: tuple[str, ...] = ()


class AttemptLog:
    def __init__(
        self,
        path: pathlib.Path,
        *,
        reopen: Callable[[], object],
        budget_bytes: int = BUDGET_BYTES,
        free_bytes_min: int = FREE_BYTES_MIN,
        only_reads: bool = False,
    ) -> None:
        """
        Args:
            path: The file Envoy writes.
            reopen: Makes Envoy open `path` anew after it was renamed; may raise UnavailableError.
            budget_bytes: All files together stay below it, at the price of unread lines if nobody reads.
            free_bytes_min: With less free disk than this every batch says so as a gap.
            only_reads: For a second reader beside the one that keeps the log in order: rotates and deletes nothing.
        """
        self._only_reads = only_reads
        self._path = path
        self._reopen = reopen
        self._reopen_pending = True
        self._budget_bytes = budget_bytes
        self._free_bytes_min = free_bytes_min
        self._parser = attempt_lines.Parser()

    def read(
        self, cursor: gateway.LogCursor, *, line_count_max: int, until: gateway.LogCursor | None = None
    ) -> gateway.LogBatch:
        """Attempts after the cursor (and none after `until`); what was lost on the way is in `gap`."""
        self._rotate()
        found: list[attempts.Attempt] = []
        gaps: list[str] = []
        copies: list[attempts.Attempt] = []
        fallback_ids: list[str] = []
        fallbacks: collections.Counter[tuple[str, str]] = collections.Counter()
        while len(found) < line_count_max:
            place = self._next(cursor)
            gaps.extend(place.gaps)
            if place.file is None:
                break
            end = None
            if until is not None:
                if gateway.LogCursor(file_id=place.file.file_id, offset=place.offset) >= until:
                    break
                end = until.offset if until.file_id == place.file.file_id else None
            parsed, taken = self._lines(place, line_count_max - len(found), end)
            found.extend(parsed.attempts)
            gaps.extend(parsed.gaps)
            copies.extend(parsed.copies)
            fallbacks.update(parsed.fallbacks)
            fallback_ids.extend(parsed.fallback_ids)
            cursor = gateway.LogCursor(file_id=place.file.file_id, offset=place.offset + taken)
            if not taken:
                break
        gaps.extend(self._disk_is_full())
        gap = "; ".join(gaps) or None
        return gateway.LogBatch(
            attempts=tuple(found),
            cursor=cursor,
            gap=gap,
            fallbacks=dict(fallbacks),
            copies=tuple(copies),
            fallback_ids=tuple(fallback_ids),
        )

    def release(self, cursor: gateway.LogCursor) -> None:
        """Deletes rotated files that end before the cursor, and before what another reader holds on to."""
        first = min(cursor.file_id, self._held()) >> _FINGERPRINT_BITS
        for file in self._files():
            if file.path != self._path and file.number < first:
                self._delete(file)
        self._rotate()

    def hold(self, cursor: gateway.LogCursor) -> None:
        """A second reader goes on from there: what follows is kept, within the budget."""
        path = self._hold_path
        unfinished = path.with_suffix(".tmp")
        unfinished.write_text(json.dumps(dataclasses.asdict(cursor)))
        unfinished.replace(path)

    def held(self) -> gateway.LogCursor | None:
        """What `hold` was told last; None when there is no second reader."""
        try:
            return gateway.LogCursor(**json.loads(self._hold_path.read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def _held(self) -> int:
        found = self.held()
        return found.file_id if found is not None else sys.maxsize

    @property
    def _hold_path(self) -> pathlib.Path:
        return self._path.with_suffix(".held")

    def mark_gap(self, reason: str) -> bool:
        """Writes the gap into the log, to be told in order; False when the disk would not take it."""
        files = self._files()
        if not files:
            return True  # Nothing was ever written: nothing is lost.
        line = b"\n" + json.dumps({"gap": reason}).encode() + b"\n"
        try:
            descriptor = os.open(files[-1].path, os.O_WRONLY | os.O_APPEND)
            try:
                return os.write(descriptor, line) == len(line)
            finally:
                os.close(descriptor)
        except OSError:
            return False

    def _next(self, cursor: gateway.LogCursor) -> _Place:
        files = self._files()
        number = cursor.file_id >> _FINGERPRINT_BITS
        expected = number + 1
        gaps: tuple[str, ...] = ()
        if cursor.file_id:
            here = next((file for file in files if file.number == number), None)
            if here is not None and here.file_id == cursor.file_id:
                complete = here is not files[-1]
                if here.size < cursor.offset:
                    lost = f"attempt log number {number} shrank from {cursor.offset} to {here.size} bytes"
                    return _Place(file=here, offset=here.size, complete=complete, gaps=(lost,))
                if here.size > cursor.offset or not complete:
                    return _Place(file=here, offset=cursor.offset, complete=complete)
            elif here is not None and here.file_id:
                gaps = (f"attempt log number {number} was replaced before it was known to be read to its end",)
                expected = number
            else:
                gaps = (f"attempt log number {number} was deleted or emptied before it was read to its end",)
                if not files or files[-1].number < number:
                    expected = 1
        later = [file for file in files if file.number >= expected and file.file_id]
        if not later:
            return _Place(gaps=gaps)
        if later[0].number > expected and not gaps:
            gaps = (
                f"the attempt logs numbered {expected} to {later[0].number - 1} were deleted before they were read",
            )
        return _Place(file=later[0], complete=later[0] is not files[-1], gaps=gaps)

    def _lines(self, place: _Place, line_count_max: int, until: int | None) -> tuple[attempt_lines.Parsed, int]:
        """Whole lines from the place on, up to `until`, and how many bytes they and what had to be skipped take."""
        assert place.file is not None
        with place.file.path.open("rb") as file:
            file.seek(place.offset)
            block = file.read(_BLOCK_BYTES if until is None else min(_BLOCK_BYTES, until - place.offset))
        if block.count(b"\n") > line_count_max:
            end = len(block) - len(block.split(b"\n", line_count_max)[-1])
        else:
            end = block.rfind(b"\n") + 1
        if end:
            return self._parser.parse(block[:end]), end
        if block and (place.complete or len(block) == _BLOCK_BYTES):
            torn = f"a torn line of {len(block)} bytes in {place.file.path.name}"
            return attempt_lines.Parsed(attempts=[], gaps=[torn], fallbacks={}, copies=[]), len(block)
        return attempt_lines.Parsed(attempts=[], gaps=[], fallbacks={}, copies=[]), 0

    def _files(self) -> list[_File]:
        """Every file of the log, oldest first."""
        rotated = []
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            match = _ROTATED.fullmatch(path.name.removeprefix(self._path.name))
            if match:
                rotated.append(_look(path, int(match[1])))
        found = sorted((file for file in rotated if file is not None), key=lambda file: file.number)
        active = _look(self._path, found[-1].number + 1 if found else 1)
        return [*found, active] if active is not None else found

    def _rotate(self) -> None:
        """Keeps the active file below a part of the budget, and everything below the budget."""
        if self._only_reads:
            return
        files = self._files()
        active = files[-1] if files and files[-1].path == self._path else None
        if active is not None and active.size > self._budget_bytes // _PARTS:
            self._path.rename(self._path.with_name(f"{self._path.name}.{active.number:08d}"))
            self._reopen_pending = True
            files = self._files()
        if self._reopen_pending:
            # Without Envoy there is nobody to tell; the next one opens the file by itself.
            with contextlib.suppress(errors.UnavailableError):
                self._reopen()
                self._reopen_pending = False
        total = sum(file.size for file in files)
        for file in files:
            if total <= self._budget_bytes or file.path == self._path:
                break
            self._delete(file)
            total -= file.size

    def _delete(self, file: _File) -> None:
        if any(other.number > file.number and other.path != self._path for other in self._files()):
            file.path.unlink(missing_ok=True)
        else:
            os.truncate(file.path, 0)

    def _disk_is_full(self) -> list[str]:
        free = shutil.disk_usage(self._path.parent).free
        if free >= self._free_bytes_min:
            return []
        return [f"disk full: {free} bytes are free where the attempt log is written, {self._free_bytes_min} are needed"]


def _look(path: pathlib.Path, number: int) -> _File | None:
    """The file as it is now; None when it is gone."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return None
    first, newline, _ = head.partition(b"\n")
    if not newline and len(head) < _HEAD_BYTES:
        return _File(number=number, path=path, size=size, file_id=0)
    fingerprint = int.from_bytes(hashlib.blake2b(first, digest_size=_FINGERPRINT_BITS // 8).digest())
    return _File(number=number, path=path, size=size, file_id=number << _FINGERPRINT_BITS | fingerprint)
