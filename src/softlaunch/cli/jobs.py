"""Batch jobs: run, looked at, restored."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import rich.markup
import rich.table
import typer

from softlaunch import errors
from softlaunch.cli import options, output, training
from softlaunch.config import home as homes
from softlaunch.controller import jobs
from softlaunch.core import job_spec, training_record, units
from softlaunch.wiring import job_files

JOB = typer.Typer(
    help="Batches that train and predict in one go: gated, published, restored.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_Name = Annotated[str, typer.Argument(help="Name of the job.", metavar="NAME")]
_RANGE_PARTS = 3
_COMMAND_CHARACTERS_MAX = 60


@JOB.command("run")
def run(
    name: Annotated[
        str | None, typer.Argument(help="Name of the job.", metavar="NAME", show_default="list the jobs there are")
    ] = None,
    command: Annotated[list[str] | None, typer.Argument(help="The command, behind `--`.", metavar="COMMAND...")] = None,
    *,
    publish: Annotated[pathlib.Path | None, typer.Option(help="Where a link to the good output is put.")] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="A file it writes, or a pattern; again for more.",
            show_default="output.csv",
        ),
    ] = None,
    rows_min: Annotated[int | None, typer.Option(min=1, help="Fewer rows are not published.", show_default="1")] = None,
    column: Annotated[list[str] | None, typer.Option(help="A column that has to be there; again for more.")] = None,
    missing_percent_max: Annotated[float | None, typer.Option(help="Missing values of those columns.")] = None,
    value_range: Annotated[
        list[str] | None, typer.Option("--range", metavar="COLUMN:MIN:MAX", help="Bounds; again for more.")
    ] = None,
    rows_change_percent_max: Annotated[float | None, typer.Option(help="Against what is published.")] = None,
    mean_change_percent_max: Annotated[
        float | None, typer.Option(help="Of every column of numbers, in percent of its standard deviation.")
    ] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="So many good outputs are kept.", show_default="5")] = None,
    timeout: Annotated[str | None, typer.Option(help="After this long it is stopped, such as 2h.")] = None,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Run a batch, check its output, and publish it. Exits 1 when it is not good enough: what is published stays.

    Jobs stand under `jobs:` in softlaunch.yaml, or a first run gives the command. Options go before what stands there.
    The command writes to the folder SOFTLAUNCH_OUTPUT names.

    Examples:

        softlaunch job run scores
        softlaunch job run scores --publish out/scores --output scores.csv --range score:0:1 -- python batch.py
    """
    if name is None:
        list_jobs(directory=directory, home=home, as_json=as_json)
        return
    from softlaunch.wiring import jobs as wired  # noqa: PLC0415 - a second of imports, as in `build`
    from softlaunch.wiring import training as wired_training  # noqa: PLC0415 - the same

    place = homes.Home.locate(home)
    place.prepare()
    job = _found(place, name, directory, tuple(command or ()))
    given = {
        "rows_min": rows_min,
        "columns": tuple(column) if column else None,
        "missing_percent_max": missing_percent_max,
        "ranges": tuple(_range(each) for each in value_range) if value_range else None,
        "rows_change_percent_max": rows_change_percent_max,
        "mean_change_percent_max": mean_change_percent_max,
    }
    job = dataclasses.replace(
        job,
        publish=str(pathlib.Path.cwd() / publish) if publish is not None else job.publish,
        outputs=_outputs(job.outputs, table or (), {key: value for key, value in given.items() if value is not None}),
        keep=keep if keep is not None else job.keep,
        timeout_seconds=units.duration_seconds(timeout) if timeout is not None else job.timeout_seconds,
    )
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
        for note in found.notes:
            output.text(f"[yellow]note[/]      {rich.markup.escape(note)}")
        training.close(found)
        output.plain(f"Published: {job.publish}" if good else f"Not published; as it was: {job.publish}")
    raise typer.Exit(0 if good else found.exit_code or options.EXIT_DIFFERENT)


@JOB.command("list")
def list_jobs(
    *,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Jobs of softlaunch.yaml and those that ran, and which of their outputs are published.

    Examples:

        softlaunch job list
        softlaunch job list --json
    """
    found = jobs.Jobs(homes.Home.locate(home).jobs)
    here = {each.name: each for each in job_files.of_folder(directory)}
    every = [*here.values(), *(each for each in found.every() if each.name not in here)]
    if as_json:
        output.document([_document(found, each) for each in every])
        return
    if not every:
        output.plain("There is no job: write one under `jobs:` in softlaunch.yaml, or `softlaunch job run` a command.")
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="dim")
    for title in ("job", "command", "published", "good outputs", "where"):
        table.add_column(title)
    for each in every:
        words = rich.markup.escape(_shortened(" ".join(training_record.without_secrets(each.command))))
        published = found.published(each) or "nothing"
        table.add_row(each.name, words, published, str(len(found.good(each.name))), rich.markup.escape(each.publish))
    output.CONSOLE.print(table)


@JOB.command("show")
def show(
    name: _Name,
    *,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    One job: its command, its checks and its good outputs.

    Examples:

        softlaunch job show scores
        softlaunch job show scores --json
    """
    place = homes.Home.locate(home)
    found = jobs.Jobs(place.jobs)
    job = job_files.find(place, name, directory)
    if as_json:
        output.document(_document(found, job))
        return
    output.plain(f"command   {' '.join(training_record.without_secrets(job.command))}")
    output.plain(f"folder    {job.directory}{', from softlaunch.yaml there' if job.file else ''}")
    if job.timeout_seconds is not None:
        output.plain(f"timeout   {units.format_duration(job.timeout_seconds)}")
    for key in job.env:
        output.plain(f"variable  {key}")
    for key, reference in job.secrets.items():
        output.plain(f"secret    {key} from {reference}")
    for each in job.outputs:
        output.plain(f"output    {each.pattern}")
        for line in _checks(each) if each.is_table else ():
            output.plain(f"check     {line}")
    published = found.published(job)
    for run_id in found.good(name):
        output.plain(f"good      {run_id}{'  published' if run_id == published else ''}")
    output.plain(f"Published: {job.publish}" if published else f"Nothing is published at {job.publish}.")


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


def _found(place: homes.Home, name: str, directory: pathlib.Path, command: tuple[str, ...]) -> jobs.Job:
    """The job as it stands in softlaunch.yaml or ran before; with a command it need not be known."""
    try:
        known = job_files.find(place, name, directory)
    except errors.ConfigError as error:
        if not command or error.code is not errors.Code.NO_JOB:
            raise
        folder = pathlib.Path.cwd()
        return jobs.Job(name=name, command=command, directory=str(folder), publish=str(folder / name))
    if not command:
        return known
    if known.file:
        return dataclasses.replace(known, command=command)
    return jobs.Job(name=name, command=command, directory=str(pathlib.Path.cwd()), publish=known.publish)


def _outputs(
    found: Sequence[job_spec.Output], given: Sequence[str], checks: Mapping[str, Any]
) -> tuple[job_spec.Output, ...]:
    """The outputs with what the options say: their checks go for each table."""
    known = {each.pattern: each.checks for each in found}
    one = found[0].checks if len(found) == 1 else job_spec.Checks()
    named = [job_spec.Output(pattern=pattern, checks=known.get(pattern, one)) for pattern in given] or found
    if checks and not any(each.is_table for each in named):
        raise errors.ConfigError(
            f"There are no rows in {', '.join(each.pattern for each in named)} that could be checked.",
            remedy=f"Name a table with --output; tables end with {' or '.join(job_spec.TABLES)}.",
            code=errors.Code.JOB_NAME,
        )
    return tuple(
        dataclasses.replace(each, checks=dataclasses.replace(each.checks, **checks)) if each.is_table else each
        for each in named
    )


def _checks(asked: job_spec.Output) -> Iterator[str]:
    found = asked.checks
    yield f"rows_min {found.rows_min}"
    if found.columns:
        yield f"columns {', '.join(found.columns)}"
    for name, least, greatest in found.ranges:
        yield f"range {name} {least:g} to {greatest:g}"
    for name in ("missing_percent_max", "rows_change_percent_max", "mean_change_percent_max"):
        if getattr(found, name) is not None:
            yield f"{name} {getattr(found, name):g}"


def _shortened(text: str) -> str:
    return text if len(text) <= _COMMAND_CHARACTERS_MAX else f"{text[: _COMMAND_CHARACTERS_MAX - 3]}..."


def _document(found: jobs.Jobs, job: jobs.Job) -> dict[str, Any]:
    document = dataclasses.asdict(job)
    document["command"] = list(training_record.without_secrets(job.command))
    document["secrets"] = {key: str(reference) for key, reference in job.secrets.items()}
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
