"""A team's own checks: queries of a Prometheus server, and URLs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol, TypeAlias

from softlaunch.core import spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Value:
    """A number, never NaN, to be compared with the check's bounds."""

    value: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """A URL answered, and there is no number to compare."""

    ok: bool
    detail: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unavailable:
    """Nobody could say: no failure, and no pass either."""

    reason: str


Answer: TypeAlias = Value | Status | Unavailable


class Checks(Protocol):
    def ask(self, check: spec.CheckSpec, names: Mapping[str, str]) -> Answer:
        """
        What the check's target says now. Blocks for some seconds at most, and raises nothing.

        Args:
            check: Of kind PROMQL or HTTP; an EXPRESSION is the judge's business, and unavailable here.
            names: `service`, `environment`, `candidate` and `stable`, put into the target.
        """
        ...
