"""
Whether the history in a state file is as it was written; reads it beside a control plane, or without one.

Heads are lines of JSON in a file of their own beside the database, one for each commit that wrote history. That file
lags behind after a kill, which is fine: only what it names has to be there. Who rewrites both is found by a head that
was kept elsewhere, and by nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import pathlib
import re
import sqlite3
from collections.abc import Iterator, Sequence

import structlog

from softlaunch import errors
from softlaunch.adapters.sql import engine as engines
from softlaunch.core import history_chain

_LOG = structlog.get_logger(__name__)
_COLUMNS = "id, at, service, environment, rollout_id, kind, text, facts, hash"


def heads_file(state: pathlib.Path) -> pathlib.Path:
    """Where the heads of a state file are kept."""
    return state.with_name("history.heads")


def keep_head(state: pathlib.Path, head: history_chain.Head) -> None:
    """Notes a head; a disk that is full must not undo what is committed already."""
    # The line feed stands first: what a kill cut short is then the last line, and `begin_heads` takes it away.
    line = f"\n{_written(head)}".encode()
    try:
        descriptor = os.open(heads_file(state), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        _LOG.warning("head_not_kept", id=head.id, error=str(error))


def begin_heads(state: pathlib.Path, head: history_chain.Head | None, *, chained: bool) -> None:
    """
    Makes the file of heads ready to be written to: from then on its absence says that somebody took it away.

    Args:
        state: The state file.
        head: The last record there is; None of an empty history.
        chained: The history had hashes before this start, so that there was a file of heads.
    """
    path = heads_file(state)
    if path.exists():
        _drop_cut_line(path)
    elif head is None:
        path.touch(mode=0o600)
    else:
        if chained:
            _LOG.warning(
                "heads_were_gone",
                file=str(path),
                record=head.id,
                meaning="whether the history was written anew before this record cannot be told any more",
            )
        keep_head(state, dataclasses.replace(head, first=True))


def _drop_cut_line(path: pathlib.Path) -> None:
    """Takes away a last line that a kill cut short: the next head says the same and more."""
    try:
        raw = path.read_bytes()
        start = raw.rfind(b"\n") + 1
        line = raw[start:].decode(errors="replace")
        if line and _parsed(line) is None and _is_cut(line):
            os.truncate(path, max(0, start - 1))
    except OSError as error:
        _LOG.warning("head_not_kept", file=str(path), error=str(error))


def kept_heads(state: pathlib.Path) -> list[history_chain.Head]:
    """
    The heads beside a state file; none when there is no such file.

    Raises:
        ConfigError: it cannot be read, or a line of it is no head, the last one cut short excepted.
    """
    try:
        lines = heads_file(state).read_bytes().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unreadable(heads_file(state), str(error)) from error
    heads = []
    for number, line in enumerate(lines, 1):
        found = _parsed(line)
        if found is not None:
            heads.append(found)
        elif line and not (number == len(lines) and _is_cut(line)):
            raise _unreadable(heads_file(state), f"line {number} is no head")
    return heads


def _written(head: history_chain.Head) -> str:
    return json.dumps({"id": head.id, "hash": head.hash, **({"first": True} if head.first else {})})


def _is_cut(line: str) -> bool:
    """It is how a head begins."""
    number, digest = re.match(r'\{"id": ([0-9]{1,18})', line), re.search(r'"hash": "([0-9a-f]{1,64})', line)
    head = history_chain.Head(
        id=int(number[1]) if number is not None else 1, hash=(digest[1] if digest is not None else "").ljust(64, "0")
    )
    return any(_written(each).startswith(line) for each in (head, dataclasses.replace(head, first=True)))


def _parsed(line: str) -> history_chain.Head | None:
    """The head in a line; None: there is none."""
    try:
        found = json.loads(line)
        number, digest, first = found.pop("id"), found.pop("hash"), found.pop("first", False)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if found or not isinstance(number, int) or not isinstance(digest, str) or not isinstance(first, bool):
        return None
    head = history_chain.Head.parse(f"{number}:{digest}")
    return dataclasses.replace(head, first=first) if head is not None else None


def check(state: pathlib.Path, heads: Sequence[history_chain.Head]) -> history_chain.Verification:
    """
    Reads every record of the history. The heads are read before: a control plane may write meanwhile.

    Raises:
        ConfigError: there is no state, or an older softlaunch wrote it.
        UnavailableError: the file is damaged.
    """
    if not state.is_file():
        raise errors.ConfigError(
            f"There is no state in {state}.",
            remedy="Name the home of a control plane with --home; `softlaunch up` makes one.",
            code=errors.Code.NO_HISTORY,
        )
    with engines.translated(state), contextlib.closing(_opened(state)) as connection:
        found = history_chain.verify(_rows(state, connection), heads)
    if found.record_count and not heads_file(state).exists():
        gone = history_chain.Problem(record_id=found.record_count, text=f"{heads_file(state)} was taken away.")
        return dataclasses.replace(found, problems=(*found.problems, gone), problem_count=found.problem_count + 1)
    return found


def _opened(state: pathlib.Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{state.absolute().as_uri()}?mode=ro", uri=True, timeout=engines.BUSY_TIMEOUT_MS / 1000)


def _rows(state: pathlib.Path, connection: sqlite3.Connection) -> Iterator[history_chain.Record]:
    names = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    if "hash" not in names:
        raise errors.ConfigError(
            f"The history in {state} has no hashes: an older softlaunch wrote it.",
            remedy="Start this version once with `softlaunch up`: it adds them.",
            code=errors.Code.NO_HISTORY,
        )
    for fields in connection.execute(f"SELECT {_COLUMNS} FROM events ORDER BY id"):  # noqa: S608 - our own names
        yield history_chain.Record(**dict(zip(_COLUMNS.split(", "), fields, strict=True)))


def _unreadable(path: pathlib.Path, detail: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The heads of the history in {path} cannot be read: {detail}.",
        remedy="Nobody but softlaunch writes there: find out who did. Without the file, the chain alone is checked.",
        code=errors.Code.NO_HISTORY,
    )
