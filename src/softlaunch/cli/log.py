"""The prediction log: every answer that was recorded, to be asked in SQL."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from softlaunch.cli import log_import, log_keep, log_profile, options, output
from softlaunch.config import home as homes
from softlaunch.config import settings as setting

LOG: typer.Typer = typer.Typer(
    help="The prediction log: every recorded answer, once, to be asked in SQL.", no_args_is_help=True
)
_WIDTH_MAX = 60
_LINES_DEFAULT = 100


@LOG.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="A query over the view `predictions`.", metavar="SQL")],
    *,
    row_count_max: Annotated[
        int, typer.Option("--rows", min=1, max=1_000_000, help="At most so many rows are printed.")
    ] = _LINES_DEFAULT,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Answer a SQL query (DuckDB) over a service's predictions; changes nothing. The control plane need not run.

    Examples:

        softlaunch log query "SELECT release, count(*) FROM predictions GROUP BY ALL"
        softlaunch log query "SELECT id, features, answer FROM predictions WHERE key = 'u1' ORDER BY time" --rows 10
        softlaunch log query "SELECT avg(answer.probability) FROM predictions WHERE served" --json
    """
    from softlaunch.wiring import prediction_log  # noqa: PLC0415 - DuckDB, Arrow and Delta, half a second

    found = prediction_log.ask(homes.Home.locate(home), service, sql, row_count_max=row_count_max)
    if as_json:
        rows = [dict(zip(found.columns, map(_plain, row), strict=True)) for row in found.rows]
        output.document({"columns": list(found.columns), "rows": rows, "truncated": found.truncated})
        return
    _table(found.columns, found.rows)
    if found.truncated:
        output.plain(f"There are more than these {len(found.rows)} rows: ask for more with --rows, or for less.")


@LOG.command("status")
def status(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    How far recorded predictions were moved into the log, what waits, and what was damaged or lost on the way.

    Examples:

        softlaunch log status
        softlaunch log status --json
    """
    from softlaunch.wiring import prediction_log  # noqa: PLC0415 - as above

    now = time.time()
    found = [each.document(now) for each in prediction_log.status(homes.Home.locate(home))]
    if as_json:
        output.document({"logs": found})
        return
    if not found:
        output.plain("Nothing was recorded yet.")
    for each in found:
        waits = (
            f"{each['waiting_segments']} segments wait ({each['waiting_bytes']:,} bytes), "
            f"{each['behind_seconds']:.0f} s behind"
            if each["waiting_bytes"]
            else "nothing waits"
        )
        output.plain(
            f"{each['service']} in {each['environment']}: {each['rows']:,} rows were moved into the log; {waits}."
        )
        for line in _losses(each):
            output.plain(f"  {line}")


@LOG.command("ship")
def ship(
    *,
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits any more.")] = False,
    leashed: Annotated[
        bool, typer.Option("--leashed", help="End when standard input does: for programs that start it.")
    ] = False,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Move recorded predictions into the log. `softlaunch up` runs this beside the control plane.

    It may be killed at any moment: each record is in the log once. SOFTLAUNCH_LOG_EVERY says how often rows are added.

    Examples:

        softlaunch log ship --once
    """
    from softlaunch.wiring import prediction_log  # noqa: PLC0415 - as above

    output.log_to_stderr()
    with _going_on(leashed=leashed) as going_on:
        moved = prediction_log.ship(homes.Home.locate(home), setting.read(os.environ), once=once, going_on=going_on)
    output.document({"rows": moved}) if as_json else output.plain(f"Moved {moved:,} rows.")


LOG.command("import")(log_import.bring)
LOG.command("maintain")(log_keep.maintain)
LOG.command("forget")(log_keep.forget)
LOG.command("profile")(log_profile.profile)


def _losses(found: dict[str, Any]) -> Iterator[str]:
    if found["unmatched"]:
        yield f"{found['unmatched']:,} answers are without the gateway's word (arm, attempt, served are null)"
    for reason, count in found["unread"].items():
        yield f"{count:,} rows are without features or answer: {reason}"
    for reason, count in found["damage"].items():
        yield f"{count:,} damaged places were passed over: {reason}"
    if found["dropped"]:
        yield f"{found['dropped']:,} records could not be written to the spool"
    if found["lost_bytes"]:
        yield f"{found['lost_bytes']:,} bytes of the spool were deleted for room before they were moved"


@contextlib.contextmanager
def _going_on(*, leashed: bool) -> Iterator[Callable[[], bool]]:
    """True until a signal asks for the end, or, leashed, standard input ends: its parent is gone, even by kill -9."""
    ending = threading.Event()
    before = {number: signal.signal(number, lambda *_: ending.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    if leashed:

        def watch() -> None:
            while os.read(0, 1024):
                pass
            ending.set()

        threading.Thread(target=watch, name="leash", daemon=True).start()
    try:
        yield lambda: not ending.is_set()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    texts = [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    for line in (columns, ["-" * width for width in widths], *texts):
        output.plain("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    plain = _plain(value)
    text = "" if plain is None else str(plain)
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _WIDTH_MAX else f"{text[: _WIDTH_MAX - 3]}..."


def _plain(value: Any) -> Any:
    """As JSON has it; times in UTC, a map as an object, what is no text by its length."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: _plain(found) for name, found in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(each, tuple) and len(each) == 2 for each in value):
            return {str(name): _plain(found) for name, found in value}
        return [_plain(found) for found in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"{len(value)} bytes"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
