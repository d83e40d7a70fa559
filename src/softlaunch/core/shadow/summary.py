"""What many pairs say together: agreement, answers, latency and errors of both arms, for people and for reports."""

from __future__ import annotations

import bisect
import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

from softlaunch.core import attempts
from softlaunch.core.shadow import pairing
from softlaunch.core.stats import quantiles

_NUMBERS_KEPT = 200
"""So many of stable's numbers decide where bins begin; a guess: each of ten bins is known within a third."""
_BIN_COUNT = 10
_CLASSES_MAX = 100
_OTHER = "(other)"
_EXAMPLES_MAX = 10
_QUANTILES = (0.5, 0.9, 0.99)

STABLE, CANDIDATE = 0, 1
Counts: TypeAlias = tuple[int, int]
"""Stable's and the candidate's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bin:
    name: str
    """A class, or `LOW to HIGH` of numbers."""
    counts: Counts


class Outputs:
    """
    Distributions of both arms' answers (core.attempts.Attempt.output): classes by name, numbers in bins.

    Bins are cut at the tenths of stable's first numbers, so that each holds as many of its answers.
    """

    def __init__(self) -> None:
        self._classes: dict[str, list[int]] = {}
        self._kept: list[tuple[int, float]] = []
        self._edges: list[float] | None = None
        self._counts: list[list[int]] = []

    def add(self, arm: int, output: str) -> None:
        """Counts one answer of STABLE or CANDIDATE; an empty one says nothing."""
        kind, _, value = output.partition(":")
        if kind == "c":
            if value not in self._classes and len(self._classes) >= _CLASSES_MAX:
                value = _OTHER
            self._classes.setdefault(value, [0, 0])[arm] += 1
        elif kind == "n":
            self._add_number(arm, float(value))

    def bins(self) -> tuple[Bin, ...]:
        """Classes, the most frequent first, and numbers from low to high."""
        by_count = sorted(self._classes.items(), key=lambda item: (-sum(item[1]), item[0]))
        found = [Bin(name=name, counts=(counts[STABLE], counts[CANDIDATE])) for name, counts in by_count]
        edges, counted = self._edges, self._counts
        if edges is None:
            edges, counted = _binned(self._kept)
        limits = ["below", *(f"{edge:.4g}" for edge in edges), "above"]
        for number, counts in enumerate(counted):
            name = f"{limits[number]} to {limits[number + 1]}" if edges else "all numbers"
            name = name.replace("below to", "below").replace(f"{limits[number]} to above", f"{limits[number]} or more")
            found.append(Bin(name=name, counts=(counts[STABLE], counts[CANDIDATE])))
        return tuple(found)

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `load` goes on from it."""
        return {
            "classes": self._classes,
            "kept": [list(each) for each in self._kept],
            "edges": self._edges,
            "counts": self._counts,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        self._classes = {str(name): list(counts) for name, counts in state["classes"].items()}
        self._kept = [(int(arm), float(value)) for arm, value in state["kept"]]
        self._edges = None if state["edges"] is None else [float(edge) for edge in state["edges"]]
        self._counts = [list(counts) for counts in state["counts"]]

    def _add_number(self, arm: int, value: float) -> None:
        if self._edges is not None:
            self._counts[bisect.bisect_right(self._edges, value)][arm] += 1
            return
        self._kept.append((arm, value))
        if sum(each == STABLE for each, _ in self._kept) >= _NUMBERS_KEPT:
            self._edges, self._counts = _binned(self._kept)
            self._kept = []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What pairs say; times in microseconds of service inside the process."""

    pair_count: int
    joined_count: int
    lost_count: int
    """Pairs not judged because records were lost, not answers."""
    compared_count: int
    """Both answers were successful."""
    agreed_count: int
    outcomes: Mapping[str, Counts]
    latency_us: Mapping[str, tuple[float | None, float | None]]
    """By quantile, such as p99."""
    cpu_us_mean: tuple[float | None, float | None]
    outputs: tuple[Bin, ...]
    examples: tuple[str, ...]
    """The first differences."""

    @property
    def agreement_rate(self) -> float | None:
        """Of compared pairs; None when there is none."""
        return self.agreed_count / self.compared_count if self.compared_count else None

    @property
    def joined_share(self) -> float | None:
        """Pairs in which the candidate answered, if only with an error; None without pairs."""
        return self.joined_count / self.pair_count if self.pair_count else None

    def to_json(self) -> dict[str, Any]:
        """For interfaces."""
        document = dataclasses.asdict(self)
        return {**document, "agreement_rate": self.agreement_rate, "joined_share": self.joined_share}


class Summary:
    """Adds pairs up."""

    def __init__(self) -> None:
        self._pairs = self._joined = self._compared = self._agreed = 0
        self._outcomes: tuple[collections.Counter[str], collections.Counter[str]] = (
            collections.Counter(),
            collections.Counter(),
        )
        self._latency = (quantiles.LatencyHistogram(), quantiles.LatencyHistogram())
        self._cpu = [[0, 0], [0, 0]]
        self._outputs = Outputs()
        self._examples: list[str] = []

    def add(self, pair: pairing.Pair) -> None:
        self._pairs += 1
        self._joined += pair.joined
        if pair.agrees is not None:
            self._compared += 1
            self._agreed += pair.agrees
        if pair.difference is not None and len(self._examples) < _EXAMPLES_MAX:
            self._examples.append(f"{pair.request_id} {pair.difference}")
        for arm, attempt in ((STABLE, pair.stable), (CANDIDATE, pair.candidate)):
            self._outcomes[arm][attempts.outcome(attempt)] += 1
            if attempt.latency_us is not None:
                self._latency[arm].add(attempt.latency_us)
            if attempt.cpu_us is not None:
                self._cpu[arm][0] += 1
                self._cpu[arm][1] += attempt.cpu_us
            self._outputs.add(arm, attempt.output)

    def report(self, *, lost_count: int = 0) -> Report:
        """What is known now."""
        stable, candidate = self._latency
        return Report(
            pair_count=self._pairs,
            joined_count=self._joined,
            lost_count=lost_count,
            compared_count=self._compared,
            agreed_count=self._agreed,
            outcomes={
                str(name): (self._outcomes[STABLE][name], self._outcomes[CANDIDATE][name])
                for name in attempts.Outcome
                if self._outcomes[STABLE][name] or self._outcomes[CANDIDATE][name]
            },
            latency_us={
                f"p{probability * 100:g}": (_quantile(stable, probability), _quantile(candidate, probability))
                for probability in _QUANTILES
            },
            cpu_us_mean=(_mean(self._cpu[STABLE]), _mean(self._cpu[CANDIDATE])),
            outputs=self._outputs.bins(),
            examples=tuple(self._examples),
        )

    def state(self) -> dict[str, Any]:
        """A JSON-able object; `restore` makes an equal summary of it."""
        return {
            "counts": [self._pairs, self._joined, self._compared, self._agreed],
            "outcomes": [{str(name): count for name, count in found.items()} for found in self._outcomes],
            "latency": [found.to_json() for found in self._latency],
            "cpu": self._cpu,
            "outputs": self._outputs.state(),
            "examples": self._examples,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Summary:
        """The summary that goes on where the one that wrote `state` stood."""
        found = cls()
        found._pairs, found._joined, found._compared, found._agreed = map(int, state["counts"])
        stable, candidate = (collections.Counter(counts) for counts in state["outcomes"])
        found._outcomes = (stable, candidate)
        first, second = (quantiles.LatencyHistogram.from_json(document) for document in state["latency"])
        found._latency = (first, second)
        found._cpu = [list(pair) for pair in state["cpu"]]
        found._outputs.load(state["outputs"])
        found._examples = list(state["examples"])
        return found


def _binned(kept: list[tuple[int, float]]) -> tuple[list[float], list[list[int]]]:
    mine = sorted(value for arm, value in kept if arm == STABLE)
    edges = sorted({mine[len(mine) * number // _BIN_COUNT] for number in range(1, _BIN_COUNT)}) if mine else []
    if not kept:
        return edges, []
    counts = [[0, 0] for _ in range(len(edges) + 1)]
    for arm, value in kept:
        counts[bisect.bisect_right(edges, value)][arm] += 1
    return edges, counts


def _quantile(histogram: quantiles.LatencyHistogram, probability: float) -> float | None:
    return histogram.quantile(probability) if histogram.count else None


def _mean(sums: list[int]) -> float | None:
    return sums[1] / sums[0] if sums[0] else None
