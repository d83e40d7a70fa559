"""
Evidence curves: how the evidence of a rollout grew, in a few hundred points however long it took.

A point is kept when the share or the step changes, when evidence has moved by a fiftieth of its threshold, or when
enough time has passed. Too many points are thinned to half: those go first that lie nearest to the line between their
neighbours. So a failure of one second stays steep beside a quiet day. The same reports give the same curve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

POINTS_MAX = 300
"""A curve on paper has no more to show, and it is written with every save: 300 points of four guardrails are 50 kB."""
SPACING_SECONDS = 0.25
"""Between points while nothing happens, to begin with; each thinning doubles it."""
MOVED = 0.02
"""Of the threshold: what the eye can see."""

_SERIES = ("log_e", "log_e_promote", "candidate_events", "candidate_trials", "stable_events", "stable_trials")


class _Point(NamedTuple):
    at: float
    share: float
    step: int
    log_e: float
    guardrails: dict[str, tuple[float, ...]]
    """By name, in the order of _SERIES."""


class Curve:
    """The evidence of one rollout over time; `restore` goes on from a document."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._tail: _Point | None = None
        """The latest one, which the next may replace."""
        self._spacing = SPACING_SECONDS
        self._threshold = 1.0
        self._thresholds: dict[str, tuple[float, float, bool]] = {}

    def offer(self, at: float, report: Mapping[str, Any], *, share: float, step: int) -> None:
        """
        Takes a report of the judge into account.

        Args:
            at: Unix seconds; not before the one offered last.
            report: As rejudge.report_document makes it.
            share: The candidate's, 0 to 1.
            step: Index into the plan's steps.
        """
        self._threshold = report["log_threshold"]
        for name, entry in report["guardrails"].items():
            self._thresholds[name] = (entry["log_threshold"], entry["log_threshold_promote"], entry["enforcing"])
        point = _Point(
            at=round(at, 2),
            share=round(share, 4),
            step=step,
            log_e=_rounded(report["log_e"]),
            guardrails={
                name: tuple(_rounded(entry[series]) for series in _SERIES)
                for name, entry in report["guardrails"].items()
            },
        )
        if not self._points:
            self._points.append(point)
            return
        anchor = self._points[-1]
        turned = (anchor.share, anchor.step) != (point.share, point.step)
        if not turned and not self._moved(anchor, point) and point.at - anchor.at < self._spacing:
            self._tail = point
            return
        if self._tail is not None and self._tail.at > anchor.at:
            self._points.append(self._tail)  # where the flat part ends
        self._points.append(point)
        self._tail = None
        if len(self._points) > POINTS_MAX - 1:
            self._thin()

    def document(self) -> dict[str, Any]:
        """
        Columns of numbers, one entry per point.

        Shape: {"at", "share", "step", "log_e": [...], "log_threshold", "spacing", "guardrails": {NAME:
        {"log_threshold", "log_threshold_promote", "enforcing", "log_e": [...], "log_e_promote": [...],
        "candidate_events": [...], "candidate_trials": [...], "stable_events": [...], "stable_trials": [...]}}}.
        """
        points = self._points if self._tail is None else [*self._points, self._tail]
        return {
            "at": [point.at for point in points],
            "share": [point.share for point in points],
            "step": [point.step for point in points],
            "log_e": [point.log_e for point in points],
            "log_threshold": self._threshold,
            "spacing": self._spacing,
            "guardrails": {
                name: {
                    "log_threshold": fails,
                    "log_threshold_promote": passes,
                    "enforcing": enforcing,
                    **{
                        series: [point.guardrails.get(name, (0.0,) * len(_SERIES))[index] for point in points]
                        for index, series in enumerate(_SERIES)
                    },
                }
                for name, (fails, passes, enforcing) in self._thresholds.items()
            },
        }

    @classmethod
    def restore(cls, document: Mapping[str, Any] | None) -> Curve:
        """The curve `document` described; a new one for None."""
        found = cls()
        if document is None or not document["at"]:
            return found
        found._spacing = document["spacing"]
        found._threshold = document["log_threshold"]
        guardrails = document["guardrails"]
        for name, entry in guardrails.items():
            found._thresholds[name] = (entry["log_threshold"], entry["log_threshold_promote"], entry["enforcing"])
        columns = zip(document["at"], document["share"], document["step"], document["log_e"], strict=True)
        found._points = [
            _Point(
                *values,
                {name: tuple(entry[series][index] for series in _SERIES) for name, entry in guardrails.items()},
            )
            for index, values in enumerate(columns)
        ]
        return found

    def _moved(self, before: _Point, after: _Point) -> bool:
        if abs(after.log_e - before.log_e) >= MOVED * self._threshold:
            return True
        for name, (fails, passes, _) in self._thresholds.items():
            one, other = before.guardrails.get(name), after.guardrails.get(name)
            if one is None or other is None:
                return one is not other
            if abs(other[0] - one[0]) >= MOVED * fails or abs(other[1] - one[1]) >= MOVED * passes:
                return True
        return False

    def _thin(self) -> None:
        self._spacing *= 2
        for turns_stay in (True, False):
            while len(self._points) > POINTS_MAX // 2:
                gone = self._dispensable(turns_stay=turns_stay)
                if not gone:
                    break
                self._points = [point for index, point in enumerate(self._points) if index not in gone]

    def _dispensable(self, *, turns_stay: bool) -> set[int]:
        """Points to leave out: the least telling ones, no two neighbours, not more than needed."""
        ranked = sorted(
            (self._deviation(index), index)
            for index in range(1, len(self._points) - 1)
            if not (turns_stay and self._turn(index))
        )
        wanted = len(self._points) - POINTS_MAX // 2
        gone: set[int] = set()
        # Only the flatter half of them in one go: what lies beside a gap lies differently afterwards.
        for _, index in ranked[: (len(ranked) + 1) // 2]:
            if len(gone) < wanted and index - 1 not in gone and index + 1 not in gone:
                gone.add(index)
        return gone

    def _turn(self, index: int) -> bool:
        here, before, after = self._points[index], self._points[index - 1], self._points[index + 1]
        return (before.share, before.step) != (here.share, here.step) or (after.share, after.step) != (
            here.share,
            here.step,
        )

    def _deviation(self, index: int) -> float:
        """How far a point lies from the line between its neighbours, in thresholds."""
        here, before, after = self._points[index], self._points[index - 1], self._points[index + 1]
        part = (here.at - before.at) / (after.at - before.at) if after.at > before.at else 0.5
        found = abs(here.log_e - before.log_e - part * (after.log_e - before.log_e)) / self._threshold
        for name, (fails, passes, _) in self._thresholds.items():
            one, middle, other = (point.guardrails.get(name) for point in (before, here, after))
            if one is None or middle is None or other is None:
                continue
            for series, threshold in enumerate((fails, passes)):
                line = one[series] + part * (other[series] - one[series])
                found = max(found, abs(middle[series] - line) / threshold)
        return found


def _rounded(value: float) -> float:
    return value if isinstance(value, int) else round(value, 3)
