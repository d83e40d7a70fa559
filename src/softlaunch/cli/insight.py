"""Commands that answer why, and what next."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import time
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import client, options, output
from softlaunch.config import home as homes

_Number = Annotated[int | None, typer.Argument(help="Rollout; the last one if left out.", metavar="[NUMBER]")]


def explain(
    number: _Number = None,
    *,
    page: Annotated[
        pathlib.Path | None, typer.Option("--html", help="Write a report with the evidence curves.", dir_okay=False)
    ] = None,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Why a rollout went as it did, in at most ten lines, or as a page with its evidence curves.

    Examples:

        softlaunch explain
        softlaunch explain 7 --json
        softlaunch explain 7 --html report.html
    """
    control = client.Client(homes.Home.locate(home))
    number = number if number is not None else _last(control, service, environment)
    if number is None:
        output.plain("No launches yet.") if not as_json else output.document({"lines": []})
        return
    if page is not None:
        _write(page, _page(control, number))
        output.document({"file": str(page)}) if as_json else output.plain(f"Wrote {page}.")
        return
    found = control.get(f"/v1/rollouts/{number}/explain")
    if as_json:
        output.document(found)
        return
    for line in found["lines"]:
        output.plain(line)


def rejudge(
    number: _Number = None,
    *,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Recompute a rollout's decisions from its archived evidence; exits 1 where a number differs.

    A fresh judge is fed every archived attempt, in this process, on the machine of the control plane. Its reports and
    its state must be what was stored, to the last bit.

    Examples:

        softlaunch rejudge
        softlaunch rejudge 7 --json
    """
    from softlaunch.controller import rejudge as again  # noqa: PLC0415 - likewise
    from softlaunch.wiring import recordings  # noqa: PLC0415 - adapters take a second to import, and few commands need them

    found_home = homes.Home.locate(home)
    control = client.Client(found_home)
    number = number if number is not None else _last(control, service, environment)
    if number is None:
        raise errors.ConfigError(
            "There is no rollout to recompute.", remedy="Launch something first.", code=errors.Code.NO_ROLLOUT
        )
    kept = again.Kept(**control.get(f"/v1/rollouts/{number}/evidence"))
    found = again.recompute(kept, recordings.evidence(found_home).read(number))
    if as_json:
        output.document({"rollout_id": number, **found.document()})
    else:
        span = f"{_clock(found.first_at)} to {_clock(found.last_at)}" if found.first_at and found.last_at else "none"
        whole = "the whole rollout" if found.whole else "its recent part; older evidence was dropped"
        output.plain(
            f"Rollout {number}: judged {found.attempt_count:,} attempts again ({span}: {whole}) and recomputed "
            f"{found.decision_count} decisions."
        )
        output.plain(f"Verdict: {found.verdict}. {found.reason}")
        output.plain(
            "Every report, number and state is what was stored, to the last bit."
            if found.agrees
            else f"DIFFERENT: {found.difference}"
        )
    if not found.agrees:
        raise typer.Exit(options.EXIT_DIFFERENT)


def next_step(
    *,
    environment: options.Environment = None,
    requests_per_day: Annotated[
        float | None, typer.Option(min=0.0, help="Traffic, where it is not to be taken from past rollouts.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="The truth about predictions comes back later.")] = False,
    alerts: Annotated[bool, typer.Option("--alerts", help="Somebody else alerts you, without notify.")] = False,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Which single step is worth its effort for this service now, and which is not; with the arithmetic.

    Scores the service against five mistakes: deploying by hand, switching without a strategy, no automatic way back,
    no load test, no monitoring. Past rollouts are asked for when the control plane runs.

    Examples:

        softlaunch next
        softlaunch next --requests-per-day 200
        softlaunch next --env production --labels --json
    """
    from softlaunch.config import service_file  # noqa: PLC0415 - reading YAML is a fifth of a second of imports
    from softlaunch.controller import advice  # noqa: PLC0415 - scipy likewise

    service = service_file.load(directory / service_file.FILE_NAME)
    chosen = service.environment(environment) if environment else service.environments[-1]
    if chosen is None:
        raise errors.ConfigError(
            f"{service.service} has no environment {environment!r}.",
            remedy=f"Choose one of {', '.join(found.name for found in service.environments)}.",
            code=errors.Code.WHICH_PLACE,
        )
    facts = advice.facts(service, chosen, _rollouts(homes.Home.locate(home), service.service, chosen.name))
    facts = dataclasses.replace(
        facts,
        has_labels=labels,
        has_alerts=alerts,
        requests_per_day=facts.requests_per_day if requests_per_day is None else requests_per_day,
    )
    found = advice.advise(facts)
    if as_json:
        output.document({"requests_per_day": facts.requests_per_day, **found.document()})
        return
    for line in advice.lines(facts, found):
        output.plain(line)


def _last(control: client.Client, service: str | None, environment: str | None) -> int | None:
    last = control.get("/v1/rollouts", service=service, environment=environment, limit=1)
    return last[0]["id"] if last else None


def _rollouts(home: homes.Home, service: str, environment: str) -> list[dict[str, Any]]:
    """None are known while the control plane does not run: the file alone is judged then."""
    try:
        found: list[dict[str, Any]] = client.Client(home).get(
            "/v1/rollouts", service=service, environment=environment, limit=100
        )
    except errors.UnavailableError:
        return []
    return found


def _page(control: client.Client, number: int) -> str:
    from softlaunch.controller import report  # noqa: PLC0415 - only this needs it

    view = control.get(f"/v1/rollouts/{number}")
    pins = control.get(f"/v1/services/{view['service']}/{view['environment']}/pins")
    return report.page(
        view,
        events=control.get("/v1/events", rollout_id=number),
        curve=control.get(f"/v1/rollouts/{number}/curve")["curve"],
        pin=next((pin for pin in pins if _means(pin, view)), None),
        generated_at=time.time(),
    )


def _means(pin: dict[str, Any], view: dict[str, Any]) -> bool:
    """Whether a pin is about the candidate; one with an arm is about it with those settings alone."""
    arm = view["candidate_arm"]
    exact = arm if "_" in arm else f"{arm}_0"
    return bool(pin["release"] == view["candidate"] and pin.get("arm", exact) == exact)


def _write(path: pathlib.Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be written: {error.strerror}.",
            remedy="Name a file in a folder of yours.",
            code=errors.Code.BAD_OPTION,
        ) from error


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
