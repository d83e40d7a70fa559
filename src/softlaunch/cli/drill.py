"""`softlaunch drill`: does the net hold?"""

from __future__ import annotations

import contextlib
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
from softlaunch.testing import arrivals, http_answers, outcomes, traffic

POLL_SECONDS = 0.1
USER_COUNT = 1_000
SLOW_START_SECONDS = 10.0
"""A release that is not ready meets nobody, and waiting longer shows nothing more."""
OBSERVED_SECONDS = 3.0
"""After a guardrail that only observes has seen the fault: as long may others take to catch it."""
QUIET_SECONDS = 1.0
"""Load before the drill starts and after it has ended: what users get then counts as well."""


def drill(
    faults: Annotated[
        list[str] | None, typer.Argument(help="Faults, or `all`; none: list them.", metavar="FAULT...")
    ] = None,
    *,
    share: Annotated[
        str | None, typer.Option(help="Share of the traffic the faulty copy gets; default: what suits the fault.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Requests per second sent meanwhile; 0: the traffic there is; default: what suits the fault."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Parameter of the fault, such as percent=5.", metavar="NAME=VALUE")
    ] = None,
    patience: Annotated[str, typer.Option(help="Give up and abort after this long.")] = "2m",
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Let the fault's guardrails decide, also those that only observe here.")
    ] = False,
    production: Annotated[bool, typer.Option("--production", help="Drill an environment that has users.")] = False,
    service: options.Service = None,
    environment: options.Environment = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Fire drill: launch the live release against itself with a fault planted in the copy, and score the net.

    The copy is an ordinary candidate with the environment's own guardrails; it is never promoted. Requests are made
    from the release's reference rows. Exits 1 when the net did not hold, also because a guardrail only observes.

    Examples:

        softlaunch drill                                  # what can be planted
        softlaunch drill errors_5xx --env integration
        softlaunch drill all --env integration --json
        softlaunch drill memory_leak --env integration --enforce
        softlaunch drill latency_tail --set percent=10 --set seconds=0.3 --share 5% --production
    """
    if not faults:
        _catalogue(as_json=as_json)
        return
    values = _values(settings or [])
    names = list(drills.FaultName) if faults == ["all"] else faults
    planted = [drills.fault(name, values) for name in names]
    percent = None if share is None else float(units.percent(share))
    seconds = units.duration_seconds(patience)
    control = client.Client(homes.Home.locate(home))
    place = places.pick(control, service=service, environment=environment, running=False)
    cards = []
    for fault in planted:
        if not as_json:
            output.text(f"Drill [bold]{fault.name}[/] in {place[0]}, {place[1]} ...")
        body = {"percent": percent, "production": production, "enforce": enforce}
        card = _one(control, place, fault, body, rate=rate, patience=seconds, quiet=as_json)
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
    asked: dict[str, Any],
    *,
    rate: float | None,
    patience: float,
    quiet: bool,
) -> drills_of.Scorecard:
    root = f"/v1/services/{place[0]}/{place[1]}"
    usual = drills.load_of(fault.name)
    body = {
        "fault": fault.name.value,
        "parameters": dict(fault.values),
        "by": launch.who(),
        **asked,
        "percent": usual.percent if asked["percent"] is None else asked["percent"],
    }
    watch = _Watch(control, root, fault, patience, quiet=quiet)
    if rate is not None and rate <= 0:
        return drills_of.score(watch.until_over(control.post(f"{root}/drill", body)["rollout_id"]), fault)
    material = control.get(f"{root}/material", production=str(asked["production"]).lower())
    check = outcomes.Check(valid=_valid)
    load = traffic.Load(_target(material["url"]), _requests(material), timeout_seconds=10.0, check=check)
    offsets = arrivals.poisson(usual.rate_per_second if rate is None else rate, seed=0)
    with traffic.Background(load, offsets) as background:
        time.sleep(QUIET_SECONDS)
        view = watch.until_over(control.post(f"{root}/drill", body)["rollout_id"])
        time.sleep(QUIET_SECONDS)
    report = background.report
    return drills_of.score(view, fault, users=drills_of.Users(sent=report.planned, failed=report.failed))


class _Watch:
    """Follows a drill to its end, and ends it when nothing catches it."""

    def __init__(self, control: client.Client, root: str, fault: drills.Fault, patience: float, *, quiet: bool) -> None:
        self._control = control
        self._root = root
        self._fault = fault
        self._slow = fault.name is drills.FaultName.SLOW_START
        self._patience = min(patience, SLOW_START_SECONDS) if self._slow else patience
        self._quiet = quiet
        self._told = 0

    def until_over(self, number: int) -> dict[str, Any]:
        """The rollout's last view."""
        try:
            return self._follow(number)
        except BaseException:  # Ctrl-C too: nobody leaves a planted fault behind
            with contextlib.suppress(errors.SoftlaunchError):
                self._abort("Whoever drilled has gone away.")
            raise

    def _follow(self, number: int) -> dict[str, Any]:
        began = time.monotonic()
        observed_at: float | None = None
        aborted = False
        while True:
            view: dict[str, Any] = self._control.get(f"/v1/rollouts/{number}")
            self._tell(number)
            if live.over(view):
                return view
            now = time.monotonic()
            observer = drills_of.watched_only(view, self._fault)
            if observer and observed_at is None:
                observed_at = now
            reason = ""
            if observed_at is not None and now - observed_at > OBSERVED_SECONDS:
                reason = f"{observer or 'A guardrail'} saw the fault and only observes."
            elif now - began > self._patience:
                reason = f"Nothing had caught the fault after {self._patience:g} s."
                if self._slow:
                    reason = f"{self._patience:g} s of a slow start are enough."
            if reason and not aborted and view["phase"] not in ("returning", "finishing"):
                aborted = True
                self._abort(reason)
            time.sleep(POLL_SECONDS)

    def _abort(self, reason: str) -> None:
        try:
            self._control.post(f"{self._root}/abort", {"by": launch.who(), "reason": reason})
        except errors.SoftlaunchError as error:
            if error.code not in (errors.Code.NOT_NOW, errors.Code.NO_ROLLOUT):  # it ended by itself meanwhile
                raise

    def _tell(self, number: int) -> None:
        if self._quiet:
            return
        for event in self._control.get("/v1/events", rollout_id=number, after_id=self._told):
            self._told = event["id"]
            output.plain(f"  {live.clock(event['at'])}  {event['text']}")


def _valid(answer: http_answers.Answer) -> bool:
    """Predictions, and every number in them finite."""
    try:
        found = json.loads(answer.body, parse_constant=_refuse_constant)["predictions"]
    except (ValueError, KeyError, TypeError):
        return False
    return isinstance(found, list) and len(found) > 0


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


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
