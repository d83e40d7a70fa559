"""
What labels of a name mean, where that has to be declared.

Without a declaration a label is joined with the prediction whose id it names, whenever it comes, and by a business key
with every prediction of that key in the seven days before the outcome. A declaration changes the window and which
prediction of a key is meant, and can make business events into a label: `clicked` is 1 when a click came within 7 days,
and 0 once they have passed without one.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import Any

from softlaunch import errors
from softlaunch.core import units
from softlaunch.core.labels import record

WITHIN_SECONDS = 7 * 86_400.0
"""Of a key's labels, unless declared otherwise."""
_SECONDS_MAX = 10 * 366 * 86_400.0


class Match(enum.StrEnum):
    """Which predictions of a business key a label is about."""

    ALL = "all"
    """Every one in the window: the key names the thing that the model was asked about (an order, a flight)."""
    LAST = "last"
    """The last one before the outcome: the key names who acted on an answer (a user)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A declaration; the default one stands for names that have none."""

    within_seconds: float = WITHIN_SECONDS
    """From the prediction to the outcome."""
    match: Match = Match.ALL
    events: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Events that mean this label, each with its value; empty: labels of this very name do."""
    otherwise: float | None = None
    """The value of a prediction whose window has passed without a label; None: it has none."""

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {
            "within_seconds": self.within_seconds,
            "match": self.match.value,
            "events": dict(self.events),
            "otherwise": self.otherwise,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Rule:
        """
        The rule that `to_json` told of.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(
            within_seconds=float(document["within_seconds"]),
            match=Match(document["match"]),
            events={str(name): float(value) for name, value in document["events"].items()},
            otherwise=None if document["otherwise"] is None else float(document["otherwise"]),
        )


def declared(*, name: str, within: str, match: str, events: list[str], otherwise: float | None) -> tuple[str, Rule]:
    """
    A rule from what a user wrote, with the label's name.

    Args:
        name: Of the label.
        within: A duration: "7d".
        match: all or last.
        events: "click" (means 1) or "refund=0".
        otherwise: See Rule.

    Raises:
        ConfigError: something of it cannot be.
    """
    seconds = units.duration_seconds(within)
    if not 0 < seconds <= _SECONDS_MAX:
        raise refuse(f"--within {within} is no window.", "Take a duration between 1s and 3650d.")
    found: dict[str, float] = {}
    for each in events:
        event, mark, text = each.partition("=")
        try:
            value = float(text) if mark else 1.0
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise refuse(f"--event {each!r}: {text!r} is no number.", "Write NAME or NAME=NUMBER: refund=0.")
        if found.setdefault(_named(event), value) != value:
            raise refuse(f"--event {event!r} is given two values.", "Give one.")
    if otherwise is not None and not math.isfinite(otherwise):
        raise refuse(f"--otherwise {otherwise} is no number.", "Write one, as 0.")
    return _named(name), Rule(within_seconds=seconds, match=Match(match), events=found, otherwise=otherwise)


def _named(text: str) -> str:
    try:
        return record.name_of(text)
    except record.UnfitError as error:
        raise refuse(f"{text!r:.120} cannot be used: {error}.", "Choose another name.") from error


def refuse(message: str, remedy: str) -> errors.ConfigError:
    """The error of labels that cannot be used."""
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.LABELS)
