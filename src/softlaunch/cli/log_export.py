"""`softlaunch log export` and `softlaunch impact`: what leaves the log, and whom a release has touched."""

from __future__ import annotations

import datetime
import enum
import pathlib
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import options, output
from softlaunch.config import home as homes


class Format(enum.StrEnum):
    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


FormatOption = Annotated[
    Format | None,
    typer.Option("--format", help="parquet, csv or jsonl.", show_default="by the file's name", metavar="NAME"),
]


def export(
    file: Annotated[pathlib.Path, typer.Argument(help="The file.", metavar="FILE", dir_okay=False)],
    *,
    sql: Annotated[
        str | None, typer.Option("--sql", help="A query over `predictions`, `labels`, `labelled`.", metavar="SQL")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Every prediction, with its label of this name.", metavar="NAME")
    ] = None,
    file_format: FormatOption = None,
    as_of: options.AsOf = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Write predictions, or the answer to a query, into a Parquet, CSV or JSON lines file.

    The file is there when it is whole. With --label it is what a model is trained on next.

    Examples:

        softlaunch log export predictions.parquet
        softlaunch log export train.parquet --label late --as-of 2026-11-01
        softlaunch log export slow.csv --sql "SELECT id, latency_us FROM predictions WHERE latency_us > 100000"
    """
    from softlaunch.wiring import log_export  # noqa: PLC0415 - DuckDB, Arrow and Delta, half a second

    if sql is not None and label is not None:
        raise _refuse("Both --sql and --label are given.", "A query joins labels itself: give one of them.")
    count = log_export.export(
        homes.Home.locate(home),
        service,
        _target(file, force=force),
        sql=sql,
        label=label,
        file_format=_format(file, file_format),
        as_of=options.moment(as_of),
    )
    if as_json:
        output.document({"file": str(file), "rows": count})
    else:
        output.plain(f"Wrote {count:,} rows to {file}.")


def impact(
    release: Annotated[str, typer.Argument(help="Release: digest, commit, tag or branch.", metavar="RELEASE")],
    *,
    out: Annotated[
        pathlib.Path | None,
        typer.Option("--out", help="Write every touched prediction here.", metavar="FILE", dir_okay=False),
    ] = None,
    file_format: FormatOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Whom a release has touched: how many predictions, which keys, from when to when, and what turned out to be true.

    Examples:

        softlaunch impact 9a538929db29
        softlaunch impact v1.4 --service pricing --out touched.csv
        softlaunch impact 9a538929db29 --json | jq '.keys[].key'
    """
    from softlaunch.wiring import log_export  # noqa: PLC0415 - as above

    found = log_export.impact(
        homes.Home.locate(home),
        release,
        service,
        target=None if out is None else _target(out, force=force),
        file_format="" if out is None else _format(out, file_format),
    )
    if as_json:
        output.document(_plain(found))
        return
    output.plain(
        f"{', '.join(found['releases'])} of {found['service']}: {found['predictions']:,} predictions, "
        f"{found['seen_by_users']:,} of which users got, {_time(found['first'])} to {_time(found['last'])}"
    )
    for part in found["parts"]:
        got = {True: "users got", False: "nobody got", None: "perhaps somebody got"}[part["served"]]
        output.plain(
            f"  {part['environment']}, {part['arm'] or 'arm not known'}: {part['answers']:,} answers that {got}, "
            f"{_time(part['first'])} to {_time(part['last'])}"
        )
    output.plain(f"{found['key_count']:,} keys" + (", the most touched:" if found["keys"] else ""))
    for each in found["keys"]:
        output.plain(f"  {each['key']}: {each['predictions']:,}")
    for name, count in found["business_keys"].items():
        output.plain(f"{count:,} values of the business key {name}")
    for each in found["labels"]:
        mean = "" if each["mean"] is None else f", mean {each['mean']:.4g}"
        output.plain(f"{each['labelled']:,} of what users got are labelled {each['name']}{mean}")
    if out is not None:
        output.plain(f"Wrote {found['written']:,} rows to {out}.")


def _target(file: pathlib.Path, *, force: bool) -> pathlib.Path:
    if file.exists() and not force:
        raise _refuse(f"{file} is there already.", "Choose another name, or replace it with --force.")
    return file


def _format(file: pathlib.Path, chosen: Format | None) -> str:
    if chosen is not None:
        return chosen.value
    suffix = file.suffix.lower().removeprefix(".")
    if suffix not in {each.value for each in Format}:
        raise _refuse(f"The format of {file} is not clear.", "Say --format parquet, csv or jsonl.")
    return suffix


def _refuse(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.BAD_OPTION)


def _time(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
