"""Live profiles of a prediction log: what came in and went out, by release, arm and hour."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import options, output
from softlaunch.config import home as homes

_HOUR_SECONDS = 3_600
_ARMS = ("stable", "candidate", "shadow", "unknown")


def profile(
    *,
    environment: options.Environment = None,
    release: Annotated[
        str | None,
        typer.Option("--release", "-r", help="First digits of a digest.", show_default="all", metavar="NAME"),
    ] = None,
    arm: Annotated[
        str | None, typer.Option("--arm", help=f"One of {', '.join(_ARMS)}.", show_default="all", metavar="ARM")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="First hour, as 2026-11-24T13 (UTC) or a day.", show_default="all", metavar="TIME"),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="End, not included.", show_default="all", metavar="TIME")
    ] = None,
    hourly: Annotated[bool, typer.Option("--hourly", help="Each hour by itself.")] = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Show live profiles: counts of features and answers by release and arm, and how far they are from the reference.

    They are counted while the log is written, so no row is read. PSI, JS and KS compare with the release's reference
    profile where there is one. They are distances, no tests: PSI of equal samples is not 0 but about `by chance`.

    Examples:

        softlaunch log profile
        softlaunch log profile --release 0123456789ab --arm candidate --from 2026-11-24T13
        softlaunch log profile --from 2026-11-24 --to 2026-11-25 --hourly --json
    """
    from softlaunch.wiring import log_profiles, prediction_log  # noqa: PLC0415 - Arrow and Delta, half a second

    if arm is not None and arm not in _ARMS:
        raise errors.ConfigError(
            f"There is no arm {arm!r}.", remedy=f"Choose one of {', '.join(_ARMS)}.", code=errors.Code.BAD_OPTION
        )
    place = homes.Home.locate(home)
    name = prediction_log.chosen(place, service)
    found = log_profiles.summary(
        place,
        name,
        hours=(_hour(since, up=False), _hour(until, up=True)),
        wanted=lambda key: (
            (environment is None or key.environment == environment)
            and (release is None or key.release.startswith(release[:12]))
            and (arm is None or (key.arm or "unknown") == arm)
        ),
        hourly=hourly,
    )
    if as_json:
        output.document({"service": name, "profiles": found})
        return
    if not found:
        output.plain(f"No row of {name} was counted there.")
    for each in found:
        output.plain(
            f"{each['release']} in {each['environment']}, {each['arm'] or 'arm unknown'}, {each['from']} to "
            f"{each['to']}: {each['rows']:,} rows, {each['feature_rows']:,} with features, "
            f"{each['answer_rows']:,} with an answer"
        )
        _table(each["columns"])


def _table(columns: list[dict[str, Any]]) -> None:
    if not columns:
        return
    heads = (
        "column",
        "values",
        "missing",
        "infinite",
        "distinct",
        "minimum",
        "maximum",
        "psi",
        "by chance",
        "js",
        "ks",
    )
    names = ("values", "missing", "infinite", "distinct", "minimum", "maximum", "psi", "psi_by_chance", "js", "ks")
    rows = [heads, *((_name(each), *(_text(each[name]) for name in names)) for each in columns)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        output.plain("  " + "  ".join(cells))


def _name(column: dict[str, Any]) -> str:
    text = f"{'answer ' if column['part'] == 'answer' else ''}{column['name']}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _hour(text: str | None, *, up: bool) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise errors.ConfigError(
            f"{text!r} is no time.", remedy="Write it as 2026-11-24 or 2026-11-24T13.", code=errors.Code.BAD_OPTION
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    seconds = int(moment.timestamp())
    return -(-seconds // _HOUR_SECONDS) if up else seconds // _HOUR_SECONDS
