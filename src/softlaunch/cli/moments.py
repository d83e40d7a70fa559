"""What was live at a moment, for people; and how they write moments."""

from __future__ import annotations

import datetime
import re
import time
from typing import Any

import rich.markup

from softlaunch import errors
from softlaunch.cli import live, output
from softlaunch.core import units

_AGO = re.compile(r"(\S+) ago")
_UNIX = re.compile(r"\d{9,11}(\.\d{1,9})?", re.ASCII)


def parse(text: str, *, now: float) -> float:
    """
    Unix seconds of a moment: ISO 8601 (local time unless it says a zone), Unix seconds, or `90m ago`.

    Raises:
        ConfigError: anything else.
    """
    text = text.strip()
    if _UNIX.fullmatch(text):
        return float(text)
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now - units.duration_seconds(ago[1])
        return datetime.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError, errors.ConfigError) as error:
        raise errors.ConfigError(
            f"{text!r:.100} is no moment.",
            remedy="Write 2026-11-23T14:30, 2026-11-23T14:30Z, seconds since 1970, or how long ago: '90m ago'.",
            code=errors.Code.BAD_OPTION,
        ) from error


def show(found: dict[str, Any]) -> None:
    """Prints every place at the moment."""
    if not found["places"]:
        output.plain(f"{_when(found['at'])}: nothing had been launched.")
        return
    output.text(f"[bold]{_when(found['at'])}[/]")
    for place in found["places"]:
        output.text("")
        output.text(f"[bold]{place['service']}[/] in [bold]{place['environment']}[/]: {_serving(place)}")
        _live(place["live"])
        _entering(place["entering"])


def _serving(place: dict[str, Any]) -> str:
    shares = ", ".join(f"{live.short(release)} {share:g}%" for release, share in place["serves"].items())
    return shares or "nothing answered"


def _live(reign: dict[str, Any] | None) -> None:
    if reign is None:
        output.text("  live      nothing yet")
        return
    output.text(f"  live      {reign['arm']} since {_when(reign['since'])}{_who(reign['launch'])}")
    _settings(reign["launch"])
    if reign["until"] is not None:
        left = f" for {reign['left_for_arm']}" if reign["left_for"] else ""
        output.text(f"  until     {_when(reign['until'])}{left} (rollout {reign['left_by_rollout']})")
        output.text(f"  why       {rich.markup.escape(reign['why'])}")


def _entering(launch: dict[str, Any] | None) -> None:
    if launch is None:
        return
    output.text(f"  entering  {launch['arm']} since {_when(launch['started_at'])}{_who(launch)}")
    _settings(launch)
    if launch["outcome"] is not None:
        outcome = launch["outcome"].replace("_", " ")
        output.text(f"  became    {outcome} at {_when(launch['ended_at'])}: {rich.markup.escape(launch['why'])}")


def _settings(launch: dict[str, Any] | None) -> None:
    if launch is not None and launch["settings_changed"]:
        output.text(f"  settings  {rich.markup.escape(live.settings(launch['settings_changed']))}")


def _who(launch: dict[str, Any] | None) -> str:
    if launch is None:
        return ""
    approved = f", approved by {', '.join(launch['approved_by'])}" if launch["approved_by"] else ""
    if launch["decided_by"]:
        approved += f", decided by {', '.join(dict.fromkeys(launch['decided_by']))}"
    asked = f"rollout {launch['rollout']}: {launch['ref']}, asked for by {launch['requested_by']}{approved}"
    return f" ({rich.markup.escape(asked)})"


def _when(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
