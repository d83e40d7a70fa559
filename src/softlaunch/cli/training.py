"""Training runs: recorded while they run, listed, shown, compared and read from MLflow."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import rich.markup
import rich.status
import rich.table
import rich.text
import typer

from softlaunch.cli import live, options, output
from softlaunch.config import home as homes
from softlaunch.controller import training as records
from softlaunch.core import training_record

if TYPE_CHECKING:
    from softlaunch.ports import process_meter

RUNS = typer.Typer(
    help="Recorded training runs.", invoke_without_command=True, rich_markup_mode="markdown", no_args_is_help=False
)
_COLOURS = {
    training_record.Outcome.RUNNING: "yellow",
    training_record.Outcome.SUCCEEDED: "green",
    training_record.Outcome.INTERRUPTED: "yellow",
}
_SHOWN = 20
_LISTED = 50
_LAST_LINES = 10
_UNITS = ("B", "kB", "MB", "GB", "TB")
_THOUSAND = 1000
Command = Annotated[list[str], typer.Argument(help="The command, behind `--`.", metavar="COMMAND...")]
_Run = Annotated[str, typer.Argument(help="Id of a run, the beginning of it, or its name.", metavar="RUN")]


def run(
    command: Command,
    *,
    name: Annotated[str, typer.Option(help="What to call the run.")] = "",
    param: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="A parameter; again for more.")
    ] = None,
    metrics_file: Annotated[
        pathlib.Path | None, typer.Option(help="JSON lines the command writes: its metrics.", dir_okay=False)
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Run a training and record it: metrics, CPU, RAM, network, GPU, output, parameters and produced files.

    The exit code is the command's. A release that is built with a file of the run names the run. Metrics are read from
    lines such as `epoch 3 loss=0.2`, and from JSON lines in the file that SOFTLAUNCH_METRICS names.

    Examples:

        softlaunch run -- python train.py --learning-rate 0.1
        softlaunch run --name night --param data=2026-11 -- python train.py
        softlaunch run --metrics-file out/metrics.jsonl --json -- python train.py
    """
    from softlaunch.wiring import training  # noqa: PLC0415 - a second of imports, as in `build`

    place = homes.Home.locate(home)
    place.prepare()
    asked = training.Order(
        command=tuple(command),
        directory=pathlib.Path.cwd(),
        name=name,
        parameters=training.split_parameters(param or ()),
        metrics_file=metrics_file,
    )
    view = View(quiet=as_json)
    try:
        found = training.record(place, asked, training.View(raw=view.raw, state=view.state))
    finally:
        view.stop()
    if as_json:
        output.document({**found.document(), "digest": found.digest, "record": str(place.training / found.run)})
    else:
        close(found)
    raise typer.Exit(found.exit_code or 0)


@RUNS.callback()
def runs(
    context: typer.Context,
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """Recorded training runs; without a command: list them."""
    if context.invoked_subcommand is None:
        list_runs(home=home, as_json=as_json)


@RUNS.command("list")
def list_runs(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    Recorded training runs, newest first.

    Examples:

        softlaunch runs list
        softlaunch runs list --json
    """
    kept = records.Records(homes.Home.locate(home).training)
    found = kept.every()
    if as_json:
        output.document([_document(kept, each) for each in found])
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="dim")
    for title in ("run", "name", "when", "took", "outcome", "commit", "metrics", "releases"):
        table.add_column(title)
    for each in found[:_LISTED]:
        table.add_row(
            each.run,
            rich.markup.escape(each.name or each.job),
            live.day(each.started_at),
            _took(each),
            _outcome(each),
            each.code.commit[:12] + ("+" if each.code.dirty else ""),
            " ".join(f"{metric.name}={metric.last:.4g}" for metric in each.metrics[:3]),
            " ".join(live.short(use.release) for use in kept.uses(each.run)),
        )
    output.CONSOLE.print(table)


@RUNS.command("show")
def show(run: _Run, *, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    One run: parameters, metrics, resources, produced files, the releases that use it and its last output.

    Examples:

        softlaunch runs show 20261123-104512-3fa2c1
        softlaunch runs show night --json
    """
    kept = records.Records(homes.Home.locate(home).training)
    found = kept.find(run)
    if as_json:
        output.document(_document(kept, found))
        return
    _describe(found)
    for use in kept.uses(found.run):
        path = found.produced(use.sha256)
        how = f"its model is {path}" if path is not None else f"its model names this run: {use.by}"
        output.plain(f"used by   {use.service} {live.short(use.release)}, {how}")
    log = kept.directory(found.run) / records.OUTPUT
    if log.is_file():
        lines = log.read_text(errors="replace").splitlines()
        output.text(f"[dim]last of {len(lines)} lines of output:[/]")
        for line in lines[-_LAST_LINES:]:
            output.plain(f"  {line}")
    output.plain(f"Record: {kept.directory(found.run)}, sha256 {found.digest}")


@RUNS.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help="A run.", metavar="FIRST")],
    second: Annotated[str, typer.Argument(help="Another one.", metavar="SECOND")],
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    What differs between two runs: parameters, last values of metrics, code, locks and resources.

    Examples:

        softlaunch runs compare night day
        softlaunch runs compare 20261123-104512-3fa2c1 20261123-110200-77ab01 --json
    """
    kept = records.Records(homes.Home.locate(home).training)
    both = [_facts(kept.find(each)) for each in (first, second)]
    names = [name for name in {**both[0], **both[1]} if both[0].get(name) != both[1].get(name)]
    if as_json:
        output.document([{"what": name, "a": both[0].get(name), "b": both[1].get(name)} for name in names])
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="dim")
    for title in ("what", first, second):
        table.add_column(title)
    for name in names:
        table.add_row(*(rich.markup.escape(str(found)) for found in (name, *(each.get(name, "-") for each in both))))
    output.CONSOLE.print(table)


@RUNS.command("import")
def import_run(
    run: Annotated[str, typer.Argument(help="mlflow:RUN_ID.", metavar="RUN")],
    *,
    source: Annotated[
        str, typer.Option("--from", envvar="MLFLOW_TRACKING_URI", help="Tracking server, or folder of a file store.")
    ] = "mlruns",
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Read a run that MLflow recorded: parameters, metrics, and the digests of its artifacts.

    Examples:

        softlaunch runs import mlflow:bd47b6ea68da43a8b9eb99ff6412cfde
        softlaunch runs import mlflow:bd47b6ea68da43a8b9eb99ff6412cfde --from http://127.0.0.1:5000 --json
    """
    from softlaunch.wiring import mlflow_runs  # noqa: PLC0415 - as in `run`

    place = homes.Home.locate(home)
    place.prepare()
    found = mlflow_runs.take(place, run, source)
    if as_json:
        output.document(_document(records.Records(place.training), found))
    else:
        close(found)


class View:
    """The command's output as it comes, and on a terminal a line below with what happens now."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._status: rich.status.Status | None = None
        self._rest = b""
        if not quiet and output.CONSOLE.is_terminal:
            self._status = output.CONSOLE.status("starts ...")
            self._status.start()

    def raw(self, is_error: bool, chunk: bytes) -> None:  # noqa: FBT001 - see wiring.training.View
        """Output; with --json all of it goes to standard error."""
        if self._status is None:
            stream = sys.stderr if is_error or self._quiet else sys.stdout
            stream.buffer.write(chunk)
            stream.flush()
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:  # of a progress bar only its last state
            shown = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace")
            output.CONSOLE.print(rich.text.Text.from_ansi(shown))

    def state(self, summaries: Mapping[str, training_record.MetricSummary], sample: process_meter.Sample) -> None:
        """What happens now."""
        if self._status is None:
            return
        metrics = "  ".join(f"{each.name} {each.last:.4g}" for each in list(summaries.values())[:4])
        parts = [
            *([metrics] if metrics else []),
            f"CPU {sample.cpu_percent:.0f} %",
            f"RAM {amount(sample.ram_bytes)}",
            *([f"net {amount(sample.received_bytes)} in"] if sample.received_bytes is not None else []),
            *([f"GPU {sample.gpu_percent:.0f} %"] if sample.gpu_percent is not None else []),
        ]
        self._status.update(rich.markup.escape("  |  ".join(parts)))

    def stop(self) -> None:
        """Nothing runs any more."""
        if self._status is None:
            return
        self._status.stop()
        if self._rest:
            output.CONSOLE.print(rich.text.Text.from_ansi(self._rest.decode(errors="replace")))
        self._status, self._rest = None, b""


def close(found: training_record.TrainingRecord) -> None:
    """The run in few lines."""
    metrics = ", ".join(f"{each.name} {each.last:.4g}" for each in found.metrics[:6])
    output.text(
        f"[bold]run {found.run}[/] {_outcome(found)} in {_took(found)}, {_count(len(found.files), 'file')} produced"
        + (f"; {rich.markup.escape(metrics)}" if metrics else "")
    )
    output.text(f"[dim]softlaunch runs show {found.run}[/]")


def gates(found: training_record.TrainingRecord) -> None:
    """A line for each check of a job's output."""
    for gate in found.gates:
        mark = "[green]✓[/]" if gate.passed else "[red]✗[/]"
        output.text(f"gate      {mark} {rich.markup.escape(f'{gate.name}: {gate.detail}')}")


def amount(count: float) -> str:
    """Bytes for people."""
    for unit in _UNITS:
        if count < _THOUSAND or unit == _UNITS[-1]:
            break
        count /= _THOUSAND
    return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"


def _describe(found: training_record.TrainingRecord) -> None:
    title = f" ({rich.markup.escape(found.name or found.job)})" if found.name or found.job else ""
    code = f", exit code {found.exit_code}" if found.exit_code else ""
    output.text(
        f"[bold]run {found.run}[/]{title} {_outcome(found)}{code}, {live.day(found.started_at)}, took {_took(found)}"
    )
    output.plain(f"command   {' '.join(found.command)}" if found.command else f"source    {found.source}")
    commit = found.code.commit[:12] or "no git commit"
    dirty = f", {_count(len(found.code.dirty), 'file')} changed" if found.code.dirty else ""
    python = f", Python {found.code.python}" if found.code.python else ""
    output.plain(f"code      {commit}{dirty}{python}")
    for name, value in found.parameters.items():
        output.plain(f"param     {name} = {value}")
    for each in found.metrics:
        span = f" ({each.least:.6g} to {each.greatest:.6g} in {each.count})" if each.least is not None else ""
        at = f" at step {each.step}" if each.step is not None else ""
        output.plain(f"metric    {each.name} {each.last:.6g}{at}{span if each.count > 1 else ''}")
    gates(found)
    _describe_resources(found.resources)
    for file in found.files[:_SHOWN]:
        output.plain(f"file      {file.path}  {amount(file.bytes)}  sha256 {file.sha256[:12]}")
    if len(found.files) > _SHOWN:
        output.plain(f"          and {len(found.files) - _SHOWN} more, see --json")
    for note in found.notes:
        output.text(f"[yellow]note[/]      {rich.markup.escape(note)}")


def _describe_resources(taken: training_record.Resources) -> None:
    if taken.cpu_seconds is not None and taken.ram_bytes_max is not None:
        output.plain(f"took      {taken.cpu_seconds:.1f} s of CPU, at most {amount(taken.ram_bytes_max)} of RAM")
        if taken.received_bytes is not None and taken.sent_bytes is not None:
            network = f"{amount(taken.received_bytes)} in, {amount(taken.sent_bytes)} out"
            output.plain(f"network   {network} (all of the machine meanwhile)")
        output.plain(
            f"GPU       {taken.gpu}, at most {taken.gpu_percent_max:.0f} %, {amount(taken.gpu_memory_bytes_max or 0)}"
            if taken.gpu is not None and taken.gpu_percent_max is not None
            else "GPU       none that nvidia-smi sees"
        )


def _document(kept: records.Records, found: training_record.TrainingRecord) -> dict[str, Any]:
    releases = [dataclasses.asdict(use) for use in kept.uses(found.run)]
    where = str(kept.directory(found.run))
    return {**found.document(), "digest": found.digest, "releases": releases, "record": where}


def _facts(found: training_record.TrainingRecord) -> dict[str, str]:
    taken = found.resources
    return {
        "outcome": found.outcome.value,
        "command": " ".join(found.command),
        "commit": found.code.commit[:12],
        "dirty": " ".join(found.code.dirty),
        "python": found.code.python,
        **{f"lock {name}": sha256[:12] for name, sha256 in found.code.locks.items()},
        **{f"seed {name}": value for name, value in found.code.seeds.items()},
        **{f"param {name}": value for name, value in found.parameters.items()},
        **{f"metric {each.name}": f"{each.last:.6g}" for each in found.metrics},
        **{f"file {each.path}": each.sha256[:12] for each in found.files},
        "CPU seconds": "" if taken.cpu_seconds is None else f"{taken.cpu_seconds:.1f}",
        "RAM": "" if taken.ram_bytes_max is None else amount(taken.ram_bytes_max),
        "took": _took(found),
    }


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _outcome(found: training_record.TrainingRecord) -> str:
    return f"[{_COLOURS.get(found.outcome, 'red')}]{found.outcome.value.replace('_', ' ')}[/]"


def _took(found: training_record.TrainingRecord) -> str:
    if found.finished_at is None:
        running = found.outcome is training_record.Outcome.RUNNING
        return f"{time.time() - found.started_at:.0f} s so far" if running else "?"
    return f"{found.finished_at - found.started_at:.1f} s"
