"""Keeping of the prediction log: sorting, ends of old days, one person's rows."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import typer

from softlaunch.cli import options, output
from softlaunch.config import home as homes
from softlaunch.config import settings as setting

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def maintain(
    *,
    dry_run: DryRun = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Sort finished days by id into few files, remove days older than SOFTLAUNCH_LOG_KEEP, delete files nobody needs.

    The shipper does this every hour by itself. It may be killed at any moment, and run beside the shipper.

    Examples:

        softlaunch log maintain --dry-run
        softlaunch log maintain --service pricing
    """
    from softlaunch.wiring import log_keeping, prediction_log  # noqa: PLC0415 - Arrow and Delta, half a second

    place = homes.Home.locate(home)
    settings = setting.read(os.environ)
    chosen = [prediction_log.chosen(place, service)] if service else log_keeping.services(place)
    found = {}
    for name in chosen:
        if not as_json:
            output.plain(f"{name}: reading the table")
        kept = log_keeping.keep(place, settings, name, dry_run=dry_run)
        found[name] = dataclasses.asdict(kept)
        if as_json:
            continue
        would = "would be " if dry_run else ""
        for word, days in (("sorted", kept.days_sorted), ("removed", kept.days_removed)):
            if days:
                output.plain(f"  {would}{word}: {len(days)} days, {days[0]} to {days[-1]}")
        if dry_run:
            output.plain(f"  {kept.files_before} files")
        else:
            output.plain(
                f"  {kept.files_before} files became {kept.files_after}; {kept.files_deleted} that nobody needs any "
                "more were deleted"
            )
    if as_json:
        output.document({"dry_run": dry_run, "logs": found})
    elif not chosen:
        output.plain("There is no prediction log yet.")


def forget(
    key: Annotated[str, typer.Argument(help="The key's value, as it was recorded.", metavar="KEY")],
    *,
    key_name: Annotated[
        str | None,
        typer.Option("--name", help="A business key (capture.keys).", show_default="the sticky key", metavar="NAME"),
    ] = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Remove every row of one person from a service's log, with its labels, and at once the files that held them.

    There is no way back. What waits in the spool or the inbox of labels is not touched: move it first
    (`softlaunch log ship --once`) if no shipper runs. The spool's own segments hold recorded requests until newer ones
    take their room, and HOME/log/SERVICE/quarantine holds lines that were set aside.

    Examples:

        softlaunch log forget u1 --dry-run
        softlaunch log forget 4711 --name customer --service pricing --yes
    """
    from softlaunch.wiring import log_keeping, prediction_log  # noqa: PLC0415 - as above

    place = homes.Home.locate(home)
    name = prediction_log.chosen(place, service)
    seen, labels = log_keeping.forget(place, name, key, key_name=key_name, dry_run=True)
    if not dry_run:  # without rows too: a removal that was killed may have left files behind
        if (seen.rows or labels) and not yes and not typer.confirm(f"Remove {_told(seen.rows, labels)} of {name}?"):
            raise typer.Exit(options.EXIT_DIFFERENT)
        seen, labels = log_keeping.forget(place, name, key, key_name=key_name)
    if as_json:
        output.document({"service": name, "rows": seen.rows, "labels": labels, "days": seen.days, "dry_run": dry_run})
        return
    kind = "the sticky key" if key_name is None else f"{key_name}"
    if not seen.rows and not labels:
        output.plain(f"No row of {name} has this value as {kind}.")
    else:
        would = "would be " if dry_run else ""
        days = f", of {seen.days[0]} to {seen.days[-1]}" if seen.days else ""
        output.plain(f"{_told(seen.rows, labels)} {would}removed{days}.")
        if not dry_run:
            output.plain("Segments of the spool may hold the requests still, until newer ones take their room.")


def _told(rows: int, labels: int) -> str:
    words = ["1 row" if rows == 1 else f"{rows:,} rows"]
    if labels:
        words.append("1 label" if labels == 1 else f"{labels:,} labels")
    return " and ".join(words)
