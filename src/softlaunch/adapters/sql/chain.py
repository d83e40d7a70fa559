"""
Whether the history in a state file is as it was written; reads it beside a control plane, or without one.

Heads are lines of JSON in a file of their own beside the database, one for each commit that wrote history. That file
lags behind after a kill, which is fine: only what it names has to be there. Who rewrites both is found by a head that
was kept elsewhere, and by nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sqlite3
from collections.abc import Iterator, Sequence

import structlog

from softlaunch import errors
from softlaunch.adapters.sql import engine as engines
from softlaunch.core import history_chain

_LOG = structlog.get_logger(__name__)
_WHOLE = '{"id": '
"""How a head begins."""
_COLUMNS = "id, at, service, environment, rollout_id, kind, text, facts, hash"


def heads_file(state: pathlib.Path) -> pathlib.Path:
    """Where the heads of a state file are kept."""
    return state.with_name("history.heads")


def keep_head(state: pathlib.Path, head: history_chain.Head) -> None:
    """Notes a head; a disk that is full must not undo what is committed already."""
    # The line feed stands first: what a kill cut short then spoils its own line and not this one.
    line = "\n" + json.dumps({"id": head.id, "hash": head.hash})
    try:
        descriptor = os.open(heads_file(state), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        _LOG.warning("head_not_kept", id=head.id, error=str(error))


def begin_heads(state: pathlib.Path, head: history_chain.Head | None) -> None:
    """Makes the file of heads where there is none yet: from then on its absence says that somebody took it away."""
    if head is not None and not heads_file(state).exists():
        keep_head(state, head)


def kept_heads(state: pathlib.Path) -> list[history_chain.Head]:
    """
    The heads beside a state file; none when there is no such file.

    Raises:
        ConfigError: it cannot be read, or holds something else than heads.
    """
    try:
        lines = heads_file(state).read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _unreadable(heads_file(state), str(error)) from error
    heads = []
    for number, line in enumerate(lines, 1):
        try:
            found = json.loads(line)
            heads.append(history_chain.Head(id=int(found["id"]), hash=str(found["hash"])))
        except (ValueError, KeyError, TypeError) as error:
            if line and not _WHOLE.startswith(line[: len(_WHOLE)]):
                raise _unreadable(heads_file(state), f"line {number} is no head") from error
            # Empty, or cut short by a kill: the next head says the same and more.
    return heads


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
