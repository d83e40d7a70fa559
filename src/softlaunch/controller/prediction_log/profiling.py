"""
Live profiles, counted while shipping: of each batch by release, arm and hour, in step with the log's commit.

    blocks ──► counts ──► prepared under a mark ──► the log's commit, which carries the mark ──► taken over

Counting is done column by column in NumPy: some 0.1 us a value, where moving a record costs 16.
"""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from softlaunch.core import release
from softlaunch.core.drift import binning, live_codec, live_profile, profile
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake as lakes
from softlaunch.ports import live_profiles

Reference = Callable[[str, str], profile.Profile | None]
"""Service and the first twelve digits of a digest to the profile that travels in the release, if there is one."""
_RELEASE, _ARM, _TIME = (
    next(place for place, field in enumerate(schema.ENVELOPE) if field.name == name)
    for name in ("release", "arm", "time")
)
_HOUR_US = live_profile.HOUR_SECONDS * 1_000_000
_DATATYPES: Mapping[schema.Kind, release.Datatype] = {
    schema.Kind.BOOL: release.Datatype.BOOL,
    schema.Kind.INT: release.Datatype.INT64,
    schema.Kind.FLOAT: release.Datatype.FP32,
    schema.Kind.DOUBLE: release.Datatype.FP64,
    schema.Kind.TEXT: release.Datatype.BYTES,
}


class Profiler:
    """
    Args:
        store: Where profiles are kept.
        reference: Of a release.
    """

    def __init__(self, store: live_profiles.LiveProfiles, reference: Reference) -> None:
        self._store = store
        self._reference = reference
        self._profiles: dict[tuple[str, str], profile.Profile | None] = {}
        self._binnings: dict[tuple[str, str, str, schema.Field], binning.Binning] = {}

    def prepare(
        self, service: str, environment: str, blocks: Sequence[lakes.Block], after: progress.Progress
    ) -> progress.Progress:
        """
        Counts the rows of a batch; the progress its commit is to carry.

        Raises:
            UnavailableError: counts cannot be kept now.
        """
        used: dict[bytes, binning.Binning] = {}
        parts: dict[live_profile.Key, list[live_profile.LiveProfile]] = {}
        for block in blocks:
            for key, found in self._counted(service, environment, block, used):
                parts.setdefault(key, []).append(found)
        profiles = {key: live_profile.merge(found) for key, found in parts.items()}
        mark = _mark(after.version, profiles)
        self._store.prepare(service, environment, mark=mark, profiles=profiles, binnings=used.values())
        return dataclasses.replace(after, profiles=mark)

    def settle(self, service: str, environment: str, told: progress.Progress) -> None:
        """
        Takes over the counts of what is in the log now.

        Args:
            service: Whose.
            environment: Which place of it; see ports.segments.environment_of.
            told: As the log tells it.

        Raises:
            UnavailableError: as `prepare`.
        """
        self._store.settle(service, {environment: told})

    def _counted(
        self, service: str, environment: str, block: lakes.Block, used: dict[bytes, binning.Binning]
    ) -> Iterator[tuple[live_profile.Key, live_profile.LiveProfile]]:
        if not block.rows:
            return
        digits = block.rows[0][_RELEASE]
        groups = _groups(block.rows)
        columns: dict[int, dict[live_profile.ColumnKey, live_profile.Column]] = {
            number: {} for number in range(len(groups))
        }
        known = {}
        for part, fields, rows in (
            (live_profile.FEATURES, block.feature_fields, block.features),
            (live_profile.ANSWER, block.answer_fields, block.answers),
        ):
            present, selected = _present(rows, groups)
            known[part] = [len(present) if isinstance(places, slice) else len(places) for places in selected]
            if not present:
                continue
            for place, field in enumerate(fields):
                values = list(map(operator.itemgetter(place), present))
                bins = self._binning(service, digits, part, field)
                used[bins.digest] = bins
                key = live_profile.ColumnKey(part=part, name=schema.feature_of(field.name), binning=bins.digest)
                counting = bins.values(values)
                for number, places in enumerate(selected):
                    if len(counting[places]):
                        columns[number][key] = live_profile.counted(bins.count(counting[places]))
        for number, ((arm, hour), places) in enumerate(groups):
            yield (
                live_profile.Key(environment=environment, release=digits, arm=arm, hour=hour),
                live_profile.LiveProfile(
                    row_count=len(block.rows) if isinstance(places, slice) else len(places),
                    feature_row_count=known[live_profile.FEATURES][number],
                    answer_row_count=known[live_profile.ANSWER][number],
                    columns=columns[number],
                ),
            )

    def _binning(self, service: str, digits: str, part: str, field: schema.Field) -> binning.Binning:
        place = (service, digits, part, field)
        found = self._binnings.get(place)
        if found is None:
            if (service, digits) not in self._profiles:
                self._profiles[service, digits] = self._reference(service, digits)
            reference = self._profiles[service, digits] if part == live_profile.FEATURES else None
            name = schema.feature_of(field.name)
            column = (
                None if reference is None else next((each for each in reference.columns if each.name == name), None)
            )
            found = self._binnings[place] = binning.of_column(
                _DATATYPES[field.kind], column, reference_row_count=0 if reference is None else reference.row_count
            )
        return found


def _groups(rows: Sequence[lakes.Values]) -> list[tuple[tuple[str, int], Any]]:
    """Arm and hour, and the places of its rows; nearly always there is one, or an hour has just ended."""
    hours = np.array(list(map(operator.itemgetter(_TIME), rows)), dtype=np.int64) // _HOUR_US
    arms = list(map(operator.itemgetter(_ARM), rows))
    # Sorted: the numbers of arms make no difference to what comes out, but to the order of it.
    names = sorted({arm or live_profile.UNKNOWN_ARM for arm in set(arms)})
    if len(names) == 1 and hours.min() == hours.max():
        return [((names[0], int(hours[0])), slice(None))]
    numbers = {name: number for number, name in enumerate(names)}
    codes = np.array([numbers[arm or live_profile.UNKNOWN_ARM] for arm in arms], dtype=np.int64)
    found, inverse = np.unique(np.stack([codes, hours], axis=1), axis=0, return_inverse=True)
    inverse = inverse.ravel()
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    return [
        ((names[int(code)], int(hour)), places)
        for (code, hour), places in zip(found, np.split(order, ends[:-1]), strict=True)
    ]


def _present(
    rows: Sequence[lakes.Values | None], groups: Sequence[tuple[Any, Any]]
) -> tuple[Sequence[lakes.Values], list[Any]]:
    """The rows that are there, and the places among these of each group's."""
    absent = [row is None for row in rows]
    present = [row for row in rows if row is not None]
    if not any(absent):
        return present, [places for _, places in groups]
    there = ~np.array(absent)
    ranks = np.cumsum(there) - 1
    selected = []
    for _, places in groups:
        of_group = np.zeros(len(rows), dtype=bool)
        of_group[places] = True
        selected.append(ranks[of_group & there])
    return present, selected


def _mark(version: int, profiles: live_profiles.Profiles) -> str:
    found = hashlib.blake2b(str(version).encode(), digest_size=12)
    for key in sorted(profiles):
        found.update(repr(key).encode())
        found.update(live_codec.encode(profiles[key]))
    return found.hexdigest()
