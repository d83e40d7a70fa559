"""Labels: what turned out to be true of predictions."""

from __future__ import annotations

import datetime
import enum
import pathlib
import sys
from typing import Annotated, Any

import typer

from softlaunch.cli import options, output
from softlaunch.config import home as homes
from softlaunch.core.labels import rules

LABELS: typer.Typer = typer.Typer(
    help="Labels: what turned out to be true, joined with the predictions they are about.", no_args_is_help=True
)


class Format(enum.StrEnum):
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@LABELS.command("push")
def push(
    file: Annotated[pathlib.Path, typer.Argument(help="Labels, plain or gzip; - for standard input.", metavar="FILE")],
    *,
    file_format: Annotated[
        Format | None, typer.Option("--format", help="jsonl, csv or parquet.", show_default="by name", metavar="NAME")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The label's name.", show_default="label", metavar="NAME")
    ] = None,
    event: Annotated[
        str | None, typer.Option("--event", help="Every row is this business event.", metavar="NAME")
    ] = None,
    key_name: Annotated[
        str | None,
        typer.Option("--key-name", help="Business key in `key`.", show_default="the sticky key", metavar="NAME"),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="Which column is what, MEMBER=COLUMN. Repeatable.", metavar="PAIR"),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also if this very file was pushed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, and write nothing.")] = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Add labels to a service's log. Corrections are labels with a higher `version`; nothing is overwritten.

    It may be killed at any moment and repeated: the same file is added once. Rows that do not fit are set aside.

    Examples:

        softlaunch labels push truth.csv --name late --column prediction_id=id --column value=is_late
        softlaunch labels push orders.parquet --name refunded --key-name order --column key=order_id --column at=day
        tail -f clicks.jsonl | head -1000 | softlaunch labels push - --event click --service shop
    """
    from softlaunch.controller.labels import pushing  # noqa: PLC0415 - with what follows
    from softlaunch.wiring import labels as wired  # noqa: PLC0415 - DuckDB, Arrow and Delta, half a second

    place = homes.Home.locate(home)
    order = wired.Order(
        file=None if str(file) == "-" else file,
        service=wired.known_service(place, service),
        format=file_format.value if file_format else None,
        mapped=pushing.Mapped.of(columns or [], name=name, event=event, key_name=key_name),
        again=again,
        dry_run=dry_run,
    )
    done = wired.push(place, order, tell=lambda count: print(f"{count:,} labels are read.", file=sys.stderr))
    found = done.outcome
    if as_json:
        output.document(
            {
                "service": order.service,
                "added": 0 if dry_run else found.labels,
                "would_add": found.labels,
                "before": found.before,
                "empty": found.empty,
                "bad": sum(found.reasons.values()),
                "reasons": dict(found.reasons),
                "unused_columns": sorted(found.unused),
                "waiting": done.waiting,
                "quarantine": str(done.quarantine) if done.quarantine else None,
            }
        )
        return
    verb = "Would add" if dry_run else "Accepted" if done.waiting else "Added"
    output.plain(f"{verb} {_count(found.labels, 'label')} to {order.service}.")
    if done.waiting:
        output.plain("  the shipper has not added them within a minute; they wait (`softlaunch labels status`)")
    if found.before:
        output.plain(f"  {found.before:,} were pushed before by this very file (--again adds them once more)")
    if found.empty:
        output.plain(f"  {_count(found.empty, 'row')} without a value say nothing yet")
    for reason, count in found.reasons.items():
        output.plain(f"  {_count(count, 'row')} set aside: {reason}")
    if done.quarantine:
        output.plain(f"  they are in {done.quarantine}")
    if found.unused:
        output.plain(f"  columns that are nothing of a label: {', '.join(sorted(found.unused))}")


@LABELS.command("status")
def status(
    *,
    as_of: options.AsOf = None,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    How many predictions have which label, how late labels come, and what waits for its prediction.

    Examples:

        softlaunch labels status
        softlaunch labels status --as-of 2026-11-01T00:00:00Z --json
    """
    from softlaunch.wiring import labels as wired  # noqa: PLC0415 - as above
    from softlaunch.wiring import prediction_log  # noqa: PLC0415 - as above

    place = homes.Home.locate(home)
    found = wired.status(place, prediction_log.chosen(place, service), as_of=options.moment(as_of))
    if as_json:
        output.document(found)
        return
    output.plain(f"{found['service']}: {_count(found['predictions'], 'prediction')} as known at {found['as_of']}")
    if found["pushes_waiting"]:
        output.plain(f"  {_count(found['pushes_waiting'], 'push', 'pushes')} wait for the shipper")
    for name, each in found["events"].items():
        output.plain(f"  event {name}: {each['received']:,} received")
    if not found["labels"]:
        output.plain("  no label came yet: `softlaunch labels push --help`")
    for name, each in sorted(found["labels"].items()):
        output.plain(f"{name}: {_count(each['labelled'], 'prediction')} labelled, {each['received']:,} received")
        for line in _details(each):
            output.plain(f"  {line}")


@LABELS.command("declare")
def declare(
    name: Annotated[str, typer.Argument(help="The label's name.", metavar="NAME")],
    *,
    within: Annotated[
        str, typer.Option("--within", help="From the prediction to the outcome, at most.", metavar="DURATION")
    ] = "7d",
    match: Annotated[
        rules.Match,
        typer.Option("--match", help="all, or last: which predictions of a business key are meant.", metavar="WHICH"),
    ] = rules.Match.ALL,
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event", help="A business event that means this label, EVENT or EVENT=VALUE. Repeatable.", metavar="PAIR"
        ),
    ] = None,
    otherwise: Annotated[
        float | None,
        typer.Option("--otherwise", help="The value once the window has passed without one.", metavar="NUMBER"),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the declaration back.")] = False,
    service: options.LogService = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Say what a label means: its window, which prediction of a key is meant, which business events stand for it.

    Nothing that was pushed is changed: declarations are read when labels are joined, and may be changed at any time.

    Examples:

        softlaunch labels declare clicked --event click --within 7d --otherwise 0 --match last
        softlaunch labels declare good --event accepted=1 --event refunded=0 --within 30d
        softlaunch labels declare clicked --remove
    """
    from softlaunch.wiring import label_rules  # noqa: PLC0415 - with what follows
    from softlaunch.wiring import labels as wired  # noqa: PLC0415 - as above

    place = homes.Home.locate(home)
    chosen = wired.known_service(place, service)
    known = label_rules.read(place, chosen)
    if remove:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise rules.refuse(f"{name!r:.120} is not declared for {chosen}.", f"Declared are: {listed}.")
        del known[name]
    else:
        found, rule = rules.declared(
            name=name, within=within, match=match.value, events=events or [], otherwise=otherwise
        )
        known[found] = rule
    label_rules.write(place, chosen, known)
    if as_json:
        output.document({"service": chosen, "declared": {each: rule.to_json() for each, rule in known.items()}})
    else:
        output.plain(f"{name} of {chosen} is {'not declared any more' if remove else 'declared'}.")


def _details(each: dict[str, Any]) -> list[str]:
    lines = []
    if each["mature"]:
        share = 100 * each["mature_labelled"] / each["mature"]
        lines.append(f"{share:.1f} % of the {each['mature']:,} predictions whose window has passed are labelled")
    else:
        lines.append("no prediction's window has passed yet")
    if each.get("delay_seconds_p50") is not None:
        half, most = (_duration(each[f"delay_seconds_p{which}"]) for which in (50, 90))
        lines.append(f"mean {each['mean']:.4g}; " if each["mean"] is not None else "")
        lines[-1] += f"half came within {half}, nine of ten within {most}"
    if each.get("implied"):
        lines.append(f"{each['implied']:,} by a window that passed without one")
    if each.get("disagreements"):
        lines.append(f"raters disagree on {each['disagreements']:,}")
    if each["orphans"]:
        lines.append(f"waiting, since they are about no prediction of the log: {each['orphans']:,}")
    return lines


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{datetime.timedelta(seconds=max(0.0, seconds)).total_seconds():.1f} s"


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
