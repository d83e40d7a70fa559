"""The pipeline from a commit to users, and the records of its runs."""

from __future__ import annotations

import pathlib
import signal
import sys
import time
import types
from typing import Annotated

import rich.markup
import rich.status
import rich.table
import typer

from softlaunch import errors
from softlaunch.cli import client, launch, live, options, output
from softlaunch.config import home as homes
from softlaunch.controller.pipeline import run_record, shipping
from softlaunch.core import release, spec_json

_MARKS = {"done": "[green]✓[/]", "cached": "[green]=[/]", "skipped": "[dim]-[/]", "failed": "[red]✗[/]"}
_OUTCOMES = {"promoted": "green", "unchanged": "green", "": "yellow"}
_ENDED_BY_SIGTERM = 143
_LISTED = 30


def ship(
    ref: options.Ref = "HEAD",
    *,
    environment: options.Environment = None,
    by: Annotated[str | None, typer.Option(help="Who ships, for the history.", show_default="you")] = None,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Bring a commit to users: test, build, sign, launch, watch; through every environment on the way.

    A run can be killed and repeated at any time: what was finished is not done again. An environment with `after:`
    gets the very digest that passed the environment named there; new content goes there first, by itself. With
    `registry:` in softlaunch.yaml the release and its evidence are sent there before it is launched. What is not
    committed is not shipped.

    Exits 1 when tests or gates failed or the release was taken back, 3 when another run ships there or the release is
    pinned.

    Examples:

        softlaunch ship --env production
        softlaunch ship develop --env integration
        softlaunch ship 3f2a91c --env production --by ana --json
    """
    from softlaunch.wiring import shipping as pipeline  # noqa: PLC0415 - a second of imports, as in `build`

    signal.signal(signal.SIGTERM, _stop)
    place = homes.Home.locate(home)
    control = client.Client(place)
    asked = pipeline.order(place, directory, ref, environment, by or launch.who())
    if asked.dirty:
        _tell_dirty(asked)
    view = _View(quiet=as_json)
    try:
        record = pipeline.ship(place, directory, asked, _Control(control, view), show=view.show)
    except errors.SoftlaunchError as error:
        view.stop()
        if not as_json:
            raise
        last = next((each for each in pipeline.runs(place, asked.service.service) if _of(each, asked)), None)
        shown = last.document() if last is not None and error.code is not errors.Code.PIPELINE_RUNS else {}
        output.document({**shown, "error": error.message, "remedy": error.remedy, "code": error.code.value})
        code = next((code for kind, code in output.EXIT_CODES if isinstance(error, kind)), 70)
        raise typer.Exit(code) from error
    finally:
        view.stop()
    if as_json:
        output.document(record.document())
    else:
        _close(record)
    if record.outcome not in (shipping.PROMOTED, shipping.UNCHANGED):
        raise typer.Exit(options.EXIT_DIFFERENT)


def pipelines(
    service: Annotated[str | None, typer.Argument(help="A service; or `show`, to see one run.")] = None,
    run: Annotated[int | None, typer.Argument(help="Number of the run, behind `show`.")] = None,
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Runs of `softlaunch ship`, newest first; or one of them with its steps.

    Examples:

        softlaunch pipelines
        softlaunch pipelines flight-delay --json
        softlaunch pipelines show 7
    """
    from softlaunch.wiring import shipping as pipeline  # noqa: PLC0415 - as in `ship`

    place = homes.Home.locate(home)
    if run is not None or service == "show":
        if service != "show" or run is None:
            raise errors.ConfigError(
                "One run is shown by its number.",
                remedy="For example: `softlaunch pipelines show 7`.",
                code=errors.Code.BAD_OPTION,
            )
        record, directory = pipeline.run(place, run)
        if as_json:
            output.document({**record.document(), "directory": str(directory)})
        else:
            _show_run(record, directory)
        return
    found = pipeline.runs(place, service)
    if as_json:
        output.document([each.document() for each in found])
        return
    table = rich.table.Table(box=None, pad_edge=False, header_style="dim")
    for title in ("run", "when", "service", "environment", "commit", "release", "outcome"):
        table.add_column(title)
    for each in found[:_LISTED]:
        table.add_row(
            str(each.run),
            live.day(each.started_at),
            each.service,
            each.environment,
            each.commit[:12],
            live.short(each.release),
            _outcome(each),
        )
    output.CONSOLE.print(table)


class _Control:
    """The control plane; a controller.pipeline.shipping.Launches."""

    def __init__(self, control: client.Client, view: _View) -> None:
        self._client, self._view = control, view

    def passed(self, service: str, environment: str, digest: release.Digest) -> bool:
        found = self._client.get("/v1/rollouts", service=service, environment=environment, limit=1000)
        return any(each["candidate"] == digest.value and each["outcome"] == "promoted" for each in found)

    def begin(self, asked: shipping.Launch) -> int | None:
        done = self._client.post(
            "/v1/rollouts",
            {
                "service": asked.service,
                "environment": spec_json.dump_environment(asked.environment).decode(),
                "release": asked.release.value,
                "ref": asked.ref,
                "commit": asked.commit,
                "by": asked.by,
                "replace": True,
            },
        )
        if done["after"] is not None:
            live.follow(self._client, done["after"], quiet=True, until=live.over)
        number: int | None = done["rollout_id"]
        return number

    def watch(self, number: int, *, to_the_end: bool) -> shipping.Seen:
        self._view.stop()  # the rollout has a view of its own
        until = live.over if to_the_end else live.decided
        found = live.follow(self._client, number, quiet=self._view.quiet, until=until)
        return shipping.Seen(outcome=found["outcome"] or shipping.PROMOTED, reason=found["reason"])


class _View:
    """A line for each step that ended, and on a terminal the one that runs."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._began = 0.0
        self._running: rich.status.Status | None = None

    def show(self, name: str, state: str, detail: str) -> None:
        """See controller.pipeline.workshop.Progress."""
        if self.quiet:
            return
        self.stop()
        if state == "started":
            self._began = time.monotonic()
            if output.CONSOLE.is_terminal:
                self._running = output.CONSOLE.status(f"{name} ...")
                self._running.start()
            return
        seconds = time.monotonic() - self._began
        output.text(f"{_MARKS.get(state, ' ')} {name:<20} {rich.markup.escape(detail)} [dim]({seconds:.1f} s)[/]")

    def stop(self) -> None:
        """Nothing runs any more."""
        if self._running is not None:
            self._running.stop()
            self._running = None


def _stop(_number: int, _frame: types.FrameType | None) -> None:
    """Ends like an error, so that what was started is ended too."""
    sys.exit(_ENDED_BY_SIGTERM)


def _tell_dirty(asked: shipping.Order) -> None:
    names = ", ".join(asked.dirty[:3]) + (f" and {len(asked.dirty) - 3} more" if len(asked.dirty) > 3 else "")
    output.CONSOLE_ERR.print(
        f"[yellow]dirty[/] commit {asked.commit.id[:12]} is shipped, without the changes to {rich.markup.escape(names)}"
    )


def _of(record: run_record.RunRecord, asked: shipping.Order) -> bool:
    return (record.environment, record.commit) == (asked.environment.name, asked.commit.id)


def _close(record: run_record.RunRecord) -> None:
    output.text(
        f"[bold]run {record.run}[/] {_outcome(record)}: {live.short(record.release)} in {record.environment}"
        + (f". {rich.markup.escape(record.reason)}" if record.reason else "")
    )


def _outcome(record: run_record.RunRecord) -> str:
    colour = _OUTCOMES.get(record.outcome, "red")
    return f"[{colour}]{record.outcome.replace('_', ' ') or 'unfinished'}[/]"


def _show_run(record: run_record.RunRecord, directory: pathlib.Path) -> None:
    output.text(
        f"[bold]run {record.run}[/] {record.service} in {record.environment}, commit {record.commit[:12]}"
        f" ({rich.markup.escape(record.ref)}) by {rich.markup.escape(record.by)}, {live.day(record.started_at)}"
    )
    for step in record.steps:
        mark = _MARKS.get("cached" if step.cached else step.state, " ")
        detail = rich.markup.escape(step.detail)
        output.text(f"{mark} {step.name:<20} {detail} [dim]({step.seconds:.1f} s)[/]")
    _close(record)
    output.plain(f"Logs and reports: {directory}")
