"""Batch jobs: run, looked at, restored."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Annotated, Any

import rich.table
import typer

from softlaunch import errors
from softlaunch.cli import options, output, training
from softlaunch.config import home as homes
from softlaunch.controller import jobs
from softlaunch.core import output_checks, training_record

JOB = typer.Typer(
    help="Batches that train and predict in one go: gated, published, restored.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_Name = Annotated[str, typer.Argument(help="Name of the job.", metavar="NAME")]
_RANGE_PARTS = 3


@JOB.command("run")
def run(
    name: _Name,
    command: Annotated[list[str] | None, typer.Argument(help="The command, behind `--`.", metavar="COMMAND...")] = None,
    *,
    publish: Annotated[pathlib.Path | None, typer.Option(help="Where a link to the good output is put.")] = None,
    table: Annotated[str, typer.Option("--output", metavar="FILE", help="The table: .csv or .parquet.")] = "output.csv",
    rows_min: Annotated[int, typer.Option(min=1, help="Fewer rows are not published.")] = 1,
    column: Annotated[list[str] | None, typer.Option(help="A column that has to be there; again for more.")] = None,
    missing_percent_max: Annotated[float | None, typer.Option(help="Missing values of those columns.")] = None,
    value_range: Annotated[
        list[str] | None, typer.Option("--range", metavar="COLUMN:MIN:MAX", help="Bounds; again for more.")
    ] = None,
    rows_change_percent_max: Annotated[float | None, typer.Option(help="Against what is published.")] = None,
    mean_change_percent_max: Annotated[
        float | None, typer.Option(help="Of every column of numbers, in percent of its standard deviation.")
    ] = None,
    keep: Annotated[int, typer.Option(min=1, help="So many good outputs are kept.")] = 5,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Run a batch, check its output, and publish it. Exits 1 when it is not good enough: what is published stays.

    The command writes to the folder SOFTLAUNCH_OUTPUT names. Without a command the job runs as it did before.

    Examples:

        softlaunch job run scores --publish out/scores --output scores.csv --range score:0:1 -- python batch.py
        softlaunch job run scores
    """
    from softlaunch.wiring import jobs as wired  # noqa: PLC0415 - a second of imports, as in `build`
    from softlaunch.wiring import training as wired_training  # noqa: PLC0415 - the same

    place = homes.Home.locate(home)
    place.prepare()
    known = next((each for each in wired.kept(place).every() if each.name == name), None)
    if command:
        where = publish if publish is not None or known is None else pathlib.Path(known.publish)
        job = jobs.Job(
            name=name,
            command=tuple(command),
            directory=str(pathlib.Path.cwd()),
            output=table,
            publish=str(pathlib.Path.cwd() / (where or name)),
            keep=keep,
            checks=output_checks.Checks(
                rows_min=rows_min,
                columns=tuple(column or ()),
                missing_percent_max=missing_percent_max,
                ranges=tuple(_range(each) for each in value_range or ()),
                rows_change_percent_max=rows_change_percent_max,
                mean_change_percent_max=mean_change_percent_max,
            ),
        )
    else:
        job = known or wired.kept(place).find(name)
    view = training.View(quiet=as_json)
    try:
        found = wired.run(place, job, wired_training.View(raw=view.raw, state=view.state))
    finally:
        view.stop()
    good = found.outcome is training_record.Outcome.SUCCEEDED
    if as_json:
        output.document({**found.document(), "published": job.publish if good else None})
    else:
        training.gates(found)
        training.close(found)
        output.plain(f"Published: {job.publish}" if good else f"Not published; as it was: {job.publish}")
    raise typer.Exit(0 if good else found.exit_code or options.EXIT_DIFFERENT)


@JOB.command("list")
def list_jobs(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    Jobs, and which of their outputs are published.

    Examples:

        softlaunch job list
        softlaunch job list --json
    """
    found = jobs.Jobs(homes.Home.locate(home).jobs)
    if as_json:
        output.document([_document(found, each) for each in found.every()])
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="dim")
    for title in ("job", "published", "good outputs", "where"):
        table.add_column(title)
    for each in found.every():
        table.add_row(each.name, found.published(each) or "nothing", str(len(found.good(each.name))), each.publish)
    output.CONSOLE.print(table)


@JOB.command("show")
def show(name: _Name, *, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    One job: its command, its checks and its good outputs.

    Examples:

        softlaunch job show scores
        softlaunch job show scores --json
    """
    found = jobs.Jobs(homes.Home.locate(home).jobs)
    job = found.find(name)
    if as_json:
        output.document(_document(found, job))
        return
    output.plain(f"command   {' '.join(training_record.without_secrets(job.command))}")
    output.plain(f"output    {job.output}")
    for check, value in dataclasses.asdict(job.checks).items():
        if value:
            output.plain(f"check     {check} {value}")
    published = found.published(job)
    for each in found.good(name):
        output.plain(f"good      {each}{'  published' if each == published else ''}")
    output.plain(f"Published: {job.publish}" if published else "Nothing is published.")


@JOB.command("restore")
def restore(
    name: _Name,
    *,
    to: Annotated[str | None, typer.Option(help="A run of `job show`.", show_default="the one before")] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Publish an earlier good output again.

    Examples:

        softlaunch job restore scores
        softlaunch job restore scores --to 20261123-104512-3fa2c1
    """
    from softlaunch.wiring import jobs as wired  # noqa: PLC0415 - as in `run`

    place = homes.Home.locate(home)
    run = wired.restore(place, name, to)
    if as_json:
        output.document({"job": name, "published": run})
    else:
        output.plain(f"{name} publishes the output of run {run} again.")


def _document(found: jobs.Jobs, job: jobs.Job) -> dict[str, Any]:
    document = dataclasses.asdict(job)
    document["command"] = list(training_record.without_secrets(job.command))
    return {**document, "published": found.published(job), "good": list(found.good(job.name))}


def _range(text: str) -> tuple[str, float, float]:
    parts = text.rsplit(":", 2)
    try:
        if len(parts) == _RANGE_PARTS and parts[0]:
            return parts[0], float(parts[1]), float(parts[2])
    except ValueError:
        pass
    raise errors.ConfigError(
        f"The range {text!r:.80} is not COLUMN:MIN:MAX.",
        remedy="For example: `--range score:0:1`.",
        code=errors.Code.JOB_NAME,
    )
