"""`softlaunch log import`: what other programs served, in the same log."""

from __future__ import annotations

import enum
import pathlib
import sys
from typing import Annotated

import typer

from softlaunch.cli import options, output
from softlaunch.config import home as homes


class Format(enum.StrEnum):
    KSERVE = "kserve"
    SELDON = "seldon"
    SAGEMAKER = "sagemaker"
    MAP = "map"


def bring(
    files: Annotated[list[pathlib.Path], typer.Argument(help="Log files, plain or gzip.", metavar="FILES")],
    *,
    service: Annotated[str, typer.Option("--service", "-s", help="Whose log they go into.", metavar="NAME")],
    file_format: Annotated[Format, typer.Option("--format", help="kserve, seldon, sagemaker or map.", metavar="NAME")],
    environment: Annotated[
        str, typer.Option("--environment", help="Environment of the rows.", metavar="NAME")
    ] = "imported",
    map_file: Annotated[
        pathlib.Path | None, typer.Option("--map", help="Which column is what; for map.", metavar="FILE")
    ] = None,
    release: Annotated[
        str | None, typer.Option("--release", help="Release that answered, whatever the files say.", metavar="NAME")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, and write nothing.")] = False,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Import what another program served: payload logs of KServe and Seldon, SageMaker's captures, any table by a map.

    It may be killed at any moment and repeated: each row is in the log once. Lines that do not fit are set aside.

    Examples:

        softlaunch log import events.jsonl --service pricing --format kserve
        softlaunch log import capture/*.jsonl --service pricing --format sagemaker --release champion
        softlaunch log import answers.parquet --service pricing --format map --map answers.yaml --dry-run
    """
    from softlaunch.wiring import log_import  # noqa: PLC0415 - Arrow and Delta, half a second

    order = log_import.Order(
        files=files,
        service=service,
        environment=environment,
        format=file_format.value,
        map_file=map_file,
        release=release,
        dry_run=dry_run,
    )
    found, place = log_import.bring(
        homes.Home.locate(home), order, tell=lambda count: print(f"{count:,} rows are in the log.", file=sys.stderr)
    )
    if as_json:
        output.document(
            {
                "rows": found.rows,
                "added": 0 if dry_run else found.added,
                "would_add": found.added,
                "bad": found.bad,
                "reasons": dict(found.reasons),
                "unanswered": found.unanswered,
                "unasked": found.unasked,
                "quarantine": str(place) if found.bad and not dry_run else None,
            }
        )
        return
    verb = "Would add" if dry_run else "Added"
    there = found.rows - found.added
    output.plain(
        f"{verb} {found.added:,} rows to {service} in {environment}." + (f" {there:,} were there." * (there > 0))
    )
    for reason, count in found.reasons.items():
        output.plain(f"  {count:,} lines do not fit: {reason}")
    if found.bad and not dry_run:
        output.plain(f"  they are in {place}")
    if found.unanswered:
        output.plain(f"  {found.unanswered:,} requests have no response in these files")
    if found.unasked:
        output.plain(f"  {found.unasked:,} responses have no request in these files")
