"""Why a prediction came out as it did."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import client, lineage, options, output
from softlaunch.config import home as homes

_LINEAGE_ROLLOUTS_MAX = 20


def why(
    prediction: Annotated[
        str, typer.Argument(help="REQUEST:ROW, as x-softlaunch-prediction-id has it.", metavar="PREDICTION")
    ],
    *,
    page: Annotated[
        pathlib.Path | None, typer.Option("--html", help="Write the page here.", metavar="FILE", dir_okay=False)
    ] = None,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    One prediction, whole: what was asked and answered, what turned out to be true, by which release in which rollout
    it was answered, and where that came from.

    Every answer to the request is told, also those the user did not get. Without a control plane all but the rollout
    is told all the same.

    Examples:

        softlaunch why 1f0c6f0e-6f0f-4c6b-9d53-0c2b4d1c9f11:0
        softlaunch why 1f0c6f0e-6f0f-4c6b-9d53-0c2b4d1c9f11:0 --html why.html
        softlaunch why 1f0c6f0e-6f0f-4c6b-9d53-0c2b4d1c9f11:0 --json | jq '.answers[0].features'
    """
    from softlaunch.core.prediction_log import told  # noqa: PLC0415 - with the rest of the log
    from softlaunch.wiring import why as wired  # noqa: PLC0415 - DuckDB, Arrow and Delta, half a second

    place = homes.Home.locate(home)
    looked_up = wired.find(place, prediction, service)
    found, rows = looked_up.service, looked_up.rows
    notes: list[str] = []
    document: dict[str, Any] = {
        "id": rows[0]["id"],
        "service": found,
        "answers": rows,
        "labels": looked_up.labels,
        "moments": _moments(place, found, rows, notes),
        "notes": notes,
    }
    came = _lineage(place, found, str(rows[0]["release"]), notes)
    if page is not None:
        _write(page, told.page(document, came[0]))
    if as_json:
        answers = [{name: _plain(value) for name, value in row.items()} for row in rows]
        labels = [_plain(each) for each in looked_up.labels]
        output.document({**document, "answers": answers, "labels": labels, "lineage": came[1]})
    elif page is not None:
        output.plain(f"Wrote {page}.")
    else:
        for line in told.lines(document, came[0]):
            output.plain(line)


def _write(path: pathlib.Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Give --html a file in a folder that exists and is yours.",
            code=errors.Code.BAD_OPTION,
        ) from error


def _moments(
    place: homes.Home, service: str, rows: Sequence[Mapping[str, Any]], notes: list[str]
) -> list[dict[str, Any] | None]:
    """What was live where and when each row was answered; None where nobody tells."""
    try:
        control = client.Client(place)
        return [
            next(
                iter(
                    control.get(
                        "/v1/history", at=row["time"].timestamp(), service=service, environment=row["environment"]
                    )["places"]
                ),
                None,
            )
            for row in rows
        ]
    except errors.SoftlaunchError as error:
        notes.append(f"The rollout is not known: {lineage.nobody(place, error)}")
        return [None] * len(rows)


def _lineage(place: homes.Home, service: str, digits: str, notes: list[str]) -> tuple[list[str], dict[str, Any] | None]:
    """Of the release: as text, and as a document; nothing when the registry has it no more."""
    from softlaunch.core import lineage_graph, lineage_nodes, release  # noqa: PLC0415 - as above
    from softlaunch.wiring import lineage as wired  # noqa: PLC0415 - as above

    try:
        known = wired.find(place, release.split_number(digits)[0])
    except errors.SoftlaunchError as error:
        notes.append(f"Where the release came from is not known: {error.message}")
        return [], None
    try:
        now = lineage_nodes.Now(**lineage.answers_of(place, service, known.digest.value, limit=_LINEAGE_ROLLOUTS_MAX))
    except errors.SoftlaunchError:
        now = None  # which the moments have told
    graph = wired.draw(place, known, now=now, directory=pathlib.Path())
    return lineage_graph.text(graph), graph.document()


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
