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

from softlaunch.cli import log_export, log_import, log_keep, log_profile, options, output
from softlaunch.config import home as homes
from softlaunch.config import settings as setting

LOG: typer.Typer = typer.Typer(
    help="The prediction log: every recorded answer, once, to be asked in SQL.", no_args_is_help=True
)
_WIDTH_MAX = 60
_LINES_DEFAULT = 100


@LOG.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="A query over `predictions`, `labels`, `labelled`.", metavar="SQL")],
    *,
    row_count_max: Annotated[
        int, typer.Option("--rows", min=1, max=1_000_000, help="At most so many rows are printed.")
    ] = _LINES_DEFAULT,
    as_of: options.AsOf = None,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Answer a SQL query (DuckDB) over a service's predictions; changes nothing. The control plane need not run.

    `labels` has what was pushed, `labelled` what is known by it of each prediction, as of now or of --as-of.

    Examples:

        softlaunch log query "SELECT release, count(*) FROM predictions GROUP BY ALL"
        softlaunch log query "SELECT id, features, answer FROM predictions WHERE key = 'u1' ORDER BY time" --rows 10
        softlaunch log query "SELECT avg(answer.probability) FROM predictions WHERE served" --json
        softlaunch log query "SELECT release, avg(value) FROM predictions JOIN labelled USING (id) GROUP BY ALL"
    """
    from softlaunch.wiring import prediction_log  # noqa: PLC0415 - DuckDB, Arrow and Delta, half a second

    found = prediction_log.ask(
        homes.Home.locate(home), service, sql, row_count_max=row_count_max, as_of=options.moment(as_of)
    )
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

    now, located, settings = time.time(), homes.Home.locate(home), setting.read(os.environ)
    if settings.stream is None:
        told = prediction_log.status(located)
    else:
        from softlaunch.wiring import stream  # noqa: PLC0415 - as above

        told = prediction_log.status(located, behind=stream.behind(located, settings))
    found = [each.document(now) for each in told]
    if as_json:
        output.document({"logs": found})
        return
    if not found:
        output.plain("Nothing was recorded yet.")
    for each in found:
        through = f" through {each['part']}" if each["part"] else ""
        output.plain(
            f"{each['service']} in {each['environment']}{through}: {each['rows']:,} rows were moved into the log; "
            f"{_waits(each)}."
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
    Move recorded predictions into the log, or onto SOFTLAUNCH_STREAM. `softlaunch up` runs this by itself.

    It may be killed at any moment: each record is in the log once. SOFTLAUNCH_LOG_EVERY says how often rows are added.

    Examples:

        softlaunch log ship --once
    """
    output.log_to_stderr()
    settings = setting.read(os.environ)
    with _going_on(leashed=leashed) as going_on:
        if settings.stream is None:
            from softlaunch.wiring import prediction_log  # noqa: PLC0415 - as above

            moved = prediction_log.ship(homes.Home.locate(home), settings, once=once, going_on=going_on)
            told = {"rows": moved}, f"Moved {moved:,} rows."
        else:
            from softlaunch.wiring import stream  # noqa: PLC0415 - as above

            moved = stream.forward(homes.Home.locate(home), settings, once=once, going_on=going_on)
            told = {"groups": moved}, f"Put {moved:,} groups of records on the stream."
    output.document(told[0]) if as_json else output.plain(told[1])


@LOG.command("consume")
def consume(
    *,
    once: Annotated[bool, typer.Option("--once", help="End when everything was moved that is on the stream.")] = False,
    leashed: Annotated[
        bool, typer.Option("--leashed", help="End when standard input does: for programs that start it.")
    ] = False,
    part_count_max: Annotated[
        int | None, typer.Option("--parts", min=1, help="At most so many partitions are taken; others get the rest.")
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Move predictions from SOFTLAUNCH_STREAM into the log. `softlaunch up` runs this by itself.

    It may be killed at any moment, and run several times: each record is in the log once, each partition read by one.

    Examples:

        softlaunch log consume --once
        softlaunch log consume --parts 4
    """
    from softlaunch.wiring import stream  # noqa: PLC0415 - as above

    output.log_to_stderr()
    with _going_on(leashed=leashed) as going_on:
        moved = stream.consume(
            homes.Home.locate(home),
            setting.read(os.environ),
            once=once,
            part_count_max=part_count_max,
            going_on=going_on,
        )
    output.document({"rows": moved}) if as_json else output.plain(f"Moved {moved:,} rows.")


LOG.command("import")(log_import.bring)
LOG.command("export")(log_export.export)
LOG.command("maintain")(log_keep.maintain)
LOG.command("forget")(log_keep.forget)
LOG.command("profile")(log_profile.profile)


def _waits(found: dict[str, Any]) -> str:
    if found["part"] and found["waiting_messages"] is None:
        return "what waits is not known without the stream"
    if found["waiting_messages"]:
        return f"{found['waiting_messages']:,} messages wait, {found['behind_seconds']:.0f} s behind"
    if found["waiting_bytes"]:
        return (
            f"{found['waiting_segments']} segments wait ({found['waiting_bytes']:,} bytes), "
            f"{found['behind_seconds']:.0f} s behind"
        )
    return "nothing waits"


def _losses(found: dict[str, Any]) -> Iterator[str]:
    outage = found["outage"]
    if outage is not None:
        since = "" if outage["since"] is None else f"since {_clock(outage['since'])} "
        yield f"{since}nothing is moved: {outage['detail']} {outage['remedy']}"
    if found["unmatched"]:
        yield f"{found['unmatched']:,} answers are without the gateway's word (arm, attempt, served are null)"
    for reason, count in found["unread"].items():
        yield f"{count:,} rows are without features or answer: {reason}"
    for reason, count in found["damage"].items():
        yield f"{count:,} damaged places were passed over: {reason} (kept in HOME/log/{found['service']}/quarantine)"
    if found["unacknowledged"]:
        yield (
            f"{found['unacknowledged']:,} answers were never recorded, as the gateway's log shows: "
            "their process was killed, or could not write"
        )
    if found["dropped"]:
        yield f"{found['dropped']:,} records could not be written to the spool"
    if found["lost_bytes"]:
        yield f"{found['lost_bytes']:,} bytes of the spool were deleted for room before they were moved"
    if found["duplicates"]:
        yield f"{found['duplicates']:,} groups of records came twice and were left out"


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


def _clock(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


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
