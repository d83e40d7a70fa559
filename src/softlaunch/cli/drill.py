"""`softlaunch drill`: does the net hold?"""

from __future__ import annotations

import itertools
import json
import random
import time
import urllib.parse
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from softlaunch import errors
from softlaunch.cli import client, launch, live, options, output, places
from softlaunch.config import home as homes
from softlaunch.controller import drill as drills_of
from softlaunch.core import drills, units
from softlaunch.testing import arrivals, traffic

POLL_SECONDS = 0.1
USER_COUNT = 1_000
SLOW_START_SECONDS = 10.0
"""A release that is not ready meets nobody, and waiting longer shows nothing more."""
QUIET_SECONDS = 1.0
"""Load before the drill starts and after it has ended: what users get then counts as well."""


def drill(
    faults: Annotated[
        list[str] | None, typer.Argument(help="Faults, or `all`; none: list them.", metavar="FAULT...")
    ] = None,
    *,
    share: Annotated[str, typer.Option(help="Share of the traffic the faulty copy gets.")] = "10%",
    rate: Annotated[float, typer.Option(help="Requests per second sent meanwhile; 0: the traffic there is.")] = 100.0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter of the fault, such as percent=5.", metavar="NAME=VALUE")
    ] = None,
    patience: Annotated[str, typer.Option(help="Give up and abort after this long.")] = "2m",
    production: Annotated[bool, typer.Option("--production", help="Drill an environment that has users.")] = False,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Fire drill: launch the live release against itself with a fault planted in the copy, and score the net.

    The copy is an ordinary candidate with the environment's own guardrails; it is never promoted. Requests are made
    from the release's reference rows. Exits 1 when the net did not hold.

    Examples:

        softlaunch drill                                  # what can be planted
        softlaunch drill errors_5xx --env integration
        softlaunch drill all --env integration --json
        softlaunch drill latency_tail --set percent=10 --set seconds=0.3 --share 5% --production
    """
    if not faults:
        _catalogue(as_json=as_json)
        return
    values = _values(settings or [])
    names = list(drills.FaultName) if faults == ["all"] else faults
    planted = [drills.fault(name, values) for name in names]
    percent = units.percent(share)
    seconds = units.duration_seconds(patience)
    control = client.Client(homes.Home.locate(home))
    place = places.pick(control, service=service, environment=environment, running=False)
    cards = []
    for fault in planted:
        if not as_json:
            output.text(f"Drill [bold]{fault.name}[/] in {place[0]}, {place[1]} ...")
        wait = min(seconds, SLOW_START_SECONDS) if fault.name is drills.FaultName.SLOW_START else seconds
        card = _one(control, place, fault, percent=float(percent), rate=rate, seconds=wait, production=production)
        cards.append(card)
        if not as_json:
            for line in card.lines():
                output.plain(line)
    if as_json:
        output.document({"held": all(card.held for card in cards), "drills": [card.document() for card in cards]})
    elif len(cards) > 1:
        output.plain(f"{sum(card.held for card in cards)} of {len(cards)} drills held.")
    if not all(card.held for card in cards):
        raise typer.Exit(options.EXIT_DIFFERENT)


def _one(
    control: client.Client,
    place: tuple[str, str],
    fault: drills.Fault,
    *,
    percent: float,
    rate: float,
    seconds: float,
    production: bool,
) -> drills_of.Scorecard:
    path = f"/v1/services/{place[0]}/{place[1]}/drill"
    body = {
        "fault": fault.name.value,
        "parameters": dict(fault.values),
        "percent": percent,
        "by": launch.who(),
        "production": production,
    }
    if rate <= 0:
        done = control.post(path, body)
        view = _await(control, place, done["rollout_id"], seconds)
        return drills_of.score(view, fault)
    material = control.get(f"/v1/services/{place[0]}/{place[1]}/material")
    load = traffic.Load(_target(material["url"]), _requests(material), timeout_seconds=10.0)
    with traffic.Background(load, arrivals.poisson(rate, seed=0)) as background:
        time.sleep(QUIET_SECONDS)
        done = control.post(path, body)
        view = _await(control, place, done["rollout_id"], seconds)
        time.sleep(QUIET_SECONDS)
    report = background.report
    return drills_of.score(view, fault, users=drills_of.Users(sent=report.planned, failed=report.failed))


def _await(control: client.Client, place: tuple[str, str], number: int, seconds: float) -> dict[str, Any]:
    give_up_at = time.monotonic() + seconds
    aborted = False
    while True:
        view: dict[str, Any] = control.get(f"/v1/rollouts/{number}")
        if live.over(view):
            return view
        if time.monotonic() > give_up_at and not aborted:
            aborted = True
            if view["phase"] not in ("returning", "finishing"):
                control.post(
                    f"/v1/services/{place[0]}/{place[1]}/abort",
                    {"by": launch.who(), "reason": f"Nothing had caught the fault after {seconds:g} s."},
                )
        time.sleep(POLL_SECONDS)


def _target(url: str) -> traffic.Target:
    parts = urllib.parse.urlsplit(url)
    return traffic.Target(host=parts.hostname or "127.0.0.1", port=parts.port or 80)


def _requests(material: dict[str, Any]) -> Iterator[traffic.Request]:
    prefix = urllib.parse.urlsplit(material["url"]).path
    rows = material["rows"]
    if not rows:
        raise errors.ConfigError(
            "The live release has no reference rows to make requests from.",
            remedy="Give `reference:` in softlaunch.yaml, or use --rate 0 with traffic of your own.",
            code=errors.Code.BAD_OPTION,
        )
    bodies = [json.dumps({"rows": [row]}).encode() for row in rows]
    header = material["key_header"]
    chance = random.Random(0)
    for body in itertools.cycle(bodies):
        headers = [("content-type", "application/json")]
        if header:
            headers.append((header, f"drill-{chance.randrange(USER_COUNT)}"))
        yield traffic.Request(path=f"{prefix}predict", headers=tuple(headers), body=body)


def _values(settings: list[str]) -> dict[str, float]:
    found = {}
    for each in settings:
        name, sign, value = each.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise errors.ConfigError(
                f"--set {each!r} sets nothing.", remedy="Write NAME=NUMBER.", code=errors.Code.BAD_OPTION
            )
    return found


def _catalogue(*, as_json: bool) -> None:
    if as_json:
        output.document(
            {
                name.value: {
                    "caught_by": list(drills.CATCHERS[name]),
                    "parameters": {key: found.default for key, found in drills.PARAMETERS[name].items()},
                }
                for name in drills.FaultName
            }
        )
        return
    for name in drills.FaultName:
        output.text(f"[bold]{name}[/]  caught by {' or '.join(drills.CATCHERS[name])}")
        for key, found in drills.PARAMETERS[name].items():
            output.plain(f"    {key}={found.default:g}  {found.meaning}")
