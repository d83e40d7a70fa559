"""The live view of a rollout: steps, shares, attempts, evidence against its threshold, verdict and reason."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable
from typing import Any

import rich.console
import rich.live
import rich.markup
import rich.table
import rich.text

from softlaunch.cli import client, output
from softlaunch.core import release, units

POLL_SECONDS = 0.25
_BAR_WIDTH = 24
_HOLDS = {
    "approval": "waits for approval",
    "frozen": "a guardrail broke: people decide",
    "evidence_lost": "held: evidence lost",
    "ejected": "held: the gateway took the candidate out",
    "deadline": "held: no decision in time",
    "gateway": "held: the gateway refused the routes",
    "outage": "held: both releases fail",
    "unmeasured": "held: verification says nothing",
}


def follow(control: client.Client, number: int, *, quiet: bool, until: Callable[[dict[str, Any]], bool]) -> Any:
    """
    Shows a rollout until `until` says it is enough; returns its last view.

    On a terminal the view is redrawn in place; elsewhere each history record becomes one line.

    Args:
        control: The control plane.
        number: The rollout.
        quiet: Print nothing.
        until: Given a view, whether to stop.
    """
    if output.CONSOLE.is_terminal and not quiet:
        return _redraw(control, number, until)
    seen = 0
    while True:
        view = control.get(f"/v1/rollouts/{number}")
        if not quiet:
            for event in control.get("/v1/events", rollout_id=number, after_id=seen):
                seen = event["id"]
                output.plain(f"{clock(event['at'])}  {event['text']}")
        if until(view):
            return view
        time.sleep(POLL_SECONDS)


def _redraw(control: client.Client, number: int, until: Callable[[dict[str, Any]], bool]) -> Any:
    with rich.live.Live(console=output.CONSOLE, auto_refresh=False) as screen:
        while True:
            view = control.get(f"/v1/rollouts/{number}")
            events = control.get("/v1/events", rollout_id=number)
            screen.update(render(view, events), refresh=True)
            if until(view):
                return view
            time.sleep(POLL_SECONDS)


def over(view: dict[str, Any]) -> bool:
    """The rollout has ended."""
    return view["outcome"] is not None


def decided(view: dict[str, Any]) -> bool:
    """The rollout has ended, or was promoted and is only being watched."""
    return over(view) or view["phase"] == "watching"


def render(view: dict[str, Any], events: list[dict[str, Any]]) -> rich.console.Group:
    """The view as something Rich can draw."""
    head = rich.text.Text.from_markup(
        f"[bold]{rich.markup.escape(view['service'])}[/] in [bold]{rich.markup.escape(view['environment'])}[/]: "
        f"{view['candidate_arm']} ({rich.markup.escape(view['ref'])})"
        + (f" against {view['stable_arm']}" if view["stable"] else "")
        + f"   {standing(view)}"
    )
    if view["settings_changed"]:
        head.append(f"\nsettings: {settings(view['settings_changed'])}")
    if view["successor"]:
        follows = view["successor"]
        head.append(f"\nmakes way for {follows['arm']} ({follows['ref']}), asked by {follows['requested_by']}")
    history = rich.text.Text("\n".join(f"{clock(event['at'])}  {event['text']}" for event in events[-6:]), style="dim")
    parts: list[rich.console.RenderableType] = [head, _steps(view)]
    if view["evidence"] and any(entry["candidate_trials"] for entry in view["evidence"]["guardrails"].values()):
        parts.append(_evidence(view["evidence"]))
    if view["hold"]:
        parts.append(rich.text.Text(f"Held: {view['hold']['reason']}", style="yellow"))
    parts += [rich.text.Text(view["reason"]), history]
    return rich.console.Group(*parts)


def _steps(view: dict[str, Any]) -> rich.text.Text:
    text = rich.text.Text("steps  ")
    for index, step in enumerate(view["steps"]):
        past = view["phase"] in ("watching", "finishing", "promoted") or (
            view["phase"] == "stepping" and index < view["step"]
        )
        current = view["phase"] == "stepping" and index == view["step"]
        style = "bold green" if past else "bold reverse" if current else "dim"
        text.append(f" {step_words(step)} ", style=style)
        if index + 1 < len(view["steps"]):
            text.append(" > ", style="dim")
    text.append(f"\nnow     the candidate gets {routing(view)}")
    if view["progress"]:
        text.append(f"\nverify  {view['progress']}")
    pairs = (view["measured"].get("shadow") or {}).get("compared_count", 0)
    if pairs:
        agreed = view["measured"]["shadow"]["agreed_count"]
        text.append(f"\nshadow  {agreed:,} of {pairs:,} answers agree with stable's to the same request")
    return text


def step_words(step: dict[str, Any]) -> str:
    """A step as people say it."""
    lasting = f" for {units.format_duration(step['seconds'])}" if step["seconds"] else ""
    match step["kind"]:
        case "cohort":
            return f"{step['cohort']} {step['percent']:g} %{lasting}"
        case "shadow":
            return f"shadow {step['percent']:g} %{lasting}"
        case "approval":
            return f"approval by {' or '.join(step['approvers'])}" if step["approvers"] else "approval"
        case _:
            return f"{step['percent']:g} %{lasting}"


def routing(view: dict[str, Any]) -> str:
    """Which requests the candidate gets now: its share of all users, of cohorts, and copies."""
    found = [f"{percent:g} % of {name}" for name, percent in view["cohorts_percent"].items()]
    if view["shadow_percent"]:
        found.append(f"copies of {view['shadow_percent']:g} %")
    if view["candidate_percent"] or not found:
        found.insert(0, f"{view['candidate_percent']:g} %")
    return ", ".join(found)


def _evidence(report: dict[str, Any]) -> rich.table.Table:
    table = rich.table.Table(box=None, pad_edge=False)
    for heading in ("guardrail", "candidate", "stable", "odds it is worse", "", "enough to promote", "verdict"):
        table.add_column(heading)
    for name, entry in report["guardrails"].items():
        observed = entry.get("enforcing") is False
        if observed and not entry["candidate_trials"]:
            continue
        table.add_row(
            name,
            f"{entry['candidate_events']} / {entry['candidate_trials']}",
            f"{entry['stable_events']} / {entry['stable_trials']}",
            odds(entry["log_e"]),
            bar(entry["log_e"], entry["log_threshold"], "red"),
            bar(entry["log_e_promote"], entry["log_threshold_promote"], "green"),
            entry["verdict"] + (" (observed only)" if observed else ""),
        )
    return table


def bar(value: float | None, threshold: float, colour: str) -> str:
    """How far a log e-value is on its way to the threshold."""
    share = 0.0 if value is None else max(0.0, min(1.0, value / threshold))
    filled = round(share * _BAR_WIDTH)
    return f"[{colour}]{'━' * filled}[/][dim]{'─' * (_BAR_WIDTH - filled)}[/]"


def odds(log_e: float | None) -> str:
    """exp(log_e) : 1, readable."""
    if log_e is None:
        return "-"
    if log_e <= 0:
        return "below 1 : 1"
    if log_e > math.log(1e6):
        return "over 1,000,000 : 1"
    return f"{math.exp(log_e):,.1f} : 1"


def standing(view: dict[str, Any]) -> str:
    """Phase or outcome in colour, and what keeps it from going on."""
    words = {"promoted": "[bold green]promoted[/]", "rolled_back": "[bold red]rolled back[/]"}
    phase = view["outcome"] or view["phase"]
    said = words.get(phase, f"[bold]{phase.replace('_', ' ')}[/]")
    if view["paused"]:
        said += " [yellow](paused)[/]"
    if view["hold"]:
        kind = view["hold"]["kind"]
        said += f" [yellow]({_HOLDS.get(kind, kind.replace('_', ' '))})[/]"
    return f"[magenta]drill[/] {said}" if view["drill"] else said


def short(digest: str | None) -> str:
    """How people name a release, or an arm."""
    return release.short(digest) if digest else "-"


def settings(changed: dict[str, list[str]]) -> str:
    """Which variables have changed; empty: none has."""
    return "; ".join(f"{', '.join(names)} {how}" for how, names in changed.items())


def clock(seconds: float) -> str:
    """Local time of day."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S.%f")[:-4]


def day(seconds: float) -> str:
    """Local date and minute."""
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
