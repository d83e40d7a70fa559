"""
An evidence curve as inline SVG: odds upwards, the candidate's first attempts to the right, both logarithmic.

Attempts, not time: a step of ten seconds and a watch window of a day have as much to show as attempts they saw.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.core.rollout import judge_report

_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 12, 22, 34
_FLOOR = -3.0
"""Below odds of 20 : 1 against, nobody looks closer."""
_CEILING = 2.5
"""Thresholds: evidence beyond that has decided long since, and would press the rest flat."""
_DECADE = math.log(10)
_LABEL_WIDTH = 40.0


def svg(name: str, entry: Mapping[str, Any], shares: Sequence[float]) -> str:
    """
    The chart of one guardrail.

    Args:
        name: Of the guardrail.
        entry: Its part of a curve document (controller.curves).
        shares: The candidate's share at every point.
    """
    trials = entry["candidate_trials"]
    fails, passes = entry["log_threshold"], entry["log_threshold_promote"]
    highest, decides = max(fails, passes), entry["enforcing"]
    scale = _Scale(
        trials_max=max(*trials, 10),
        top=min(max(highest, *entry["log_e"], *entry["log_e_promote"]), _CEILING * highest),
        bottom=max(_FLOOR, min(0.0, *entry["log_e"], *entry["log_e_promote"])),
    )
    parts = [
        *_grid(scale),
        *_steps(scale, trials, shares),
        *_limit(scale, fails, "worse", "takes it back" if decides else "would take it back", above=fails >= passes),
        *_limit(scale, passes, "good", "enough to promote" if decides else "would be enough", above=passes > fails),
        _line(scale, trials, entry["log_e_promote"], "good"),
        _line(scale, trials, entry["log_e"], "worse"),
    ]
    reached, good = judge_report.odds(entry["log_e"][-1]), judge_report.odds(entry["log_e_promote"][-1])
    said = (
        f"{name}: after {trials[-1]:,} candidate attempts, odds that it is worse {reached} of "
        f"{judge_report.odds(fails)}, that it is good enough {good} of {judge_report.odds(passes)}"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(said)}">'
        + "".join(parts)
        + "</svg>"
    )


class _Scale:
    def __init__(self, *, trials_max: int, top: float, bottom: float) -> None:
        self.trials_max = trials_max
        self.top = top * 1.12 + 0.2
        self.bottom = bottom

    def x(self, trials: float) -> float:
        share = math.log1p(trials) / math.log1p(self.trials_max)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, log_e: float) -> float:
        inside = min(max(log_e, self.bottom), self.top)
        return _TOP + (self.top - inside) / (self.top - self.bottom) * (_HEIGHT - _TOP - _BOTTOM)


def _grid(scale: _Scale) -> list[str]:
    found = []
    decades = int(scale.top // _DECADE)
    for power in range(0, decades + 1, 1 + decades // 6):
        y = scale.y(power * _DECADE)
        found.append(f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        found.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_odds(power)}</text>')
    power = 0
    while 10**power <= scale.trials_max:
        x = scale.x(10**power)
        found.append(f'<text x="{x:.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{_count(10**power)}</text>')
        power += 1
    found.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">candidate attempts</text>')
    return found


def _steps(scale: _Scale, trials: Sequence[int], shares: Sequence[float]) -> list[str]:
    found: list[str] = []
    free_from = 0.0
    before = None
    for count, share in zip(trials, shares, strict=True):
        if share != before:
            x = scale.x(count)
            found.append(f'<line class="step" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 4}" y2="{_HEIGHT - _BOTTOM}"/>')
            if free_from <= x <= _WIDTH - _RIGHT - _LABEL_WIDTH / 2:
                found.append(f'<text x="{x + 2:.1f}" y="{_TOP - 8}">{share * 100:g} %</text>')
                free_from = x + _LABEL_WIDTH
        before = share
    return found


def _limit(scale: _Scale, log_e: float, tone: str, said: str, *, above: bool) -> list[str]:
    y = scale.y(log_e)
    label = f"{said} at {judge_report.odds(log_e)}"
    return [
        f'<line class="limit {tone}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="{tone}" x="{_LEFT + 4}" y="{y - 4 if above else y + 13:.1f}">{html.escape(label)}</text>',
    ]


def _line(scale: _Scale, trials: Sequence[int], values: Sequence[float], tone: str) -> str:
    places = " ".join(f"{scale.x(count):.1f},{scale.y(value):.1f}" for count, value in zip(trials, values, strict=True))
    return f'<polyline class="line {tone}" points="{places}"/>'


def _odds(power: int) -> str:
    return f"1 : {10**power:,}" if power <= 4 else f"1 : 1e{power}"


def _count(number: int) -> str:
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)
