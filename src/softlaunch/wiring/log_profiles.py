"""Live profiles of a service's log, summed up over hours. Imports no heavy library but NumPy."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

from softlaunch.adapters.lake import profiles
from softlaunch.config import home as homes
from softlaunch.core.drift import binning, distances, live_profile

Wanted = Callable[[live_profile.Key], bool]


def summary(
    home: homes.Home, service: str, *, hours: tuple[int | None, int | None], wanted: Wanted, hourly: bool
) -> list[dict[str, Any]]:
    """
    A document for each environment, release and arm, and for each hour if `hourly`.

    Raises:
        UnavailableError: profiles cannot be read.
    """
    kept = profiles.SqliteProfiles(home.log).read(service, hours=hours)
    groups: dict[tuple[Any, ...], list[tuple[live_profile.Key, live_profile.LiveProfile]]] = {}
    for key, found in kept.profiles:
        if wanted(key):
            place = (key.environment, key.release, key.arm, key.hour if hourly else None)
            groups.setdefault(place, []).append((key, found))
    documents = []
    for (environment, release, arm, _), members in groups.items():
        merged = live_profile.merge(found for _, found in members)
        documents.append(
            {
                "environment": environment,
                "release": release,
                "arm": arm or None,
                "from": _time(min(key.hour for key, _ in members)),
                "to": _time(max(key.hour for key, _ in members) + 1),
                "hours": len(members),
                "rows": merged.row_count,
                "feature_rows": merged.feature_row_count,
                "answer_rows": merged.answer_row_count,
                "columns": [
                    _column(key, column, kept.binnings.get(key.binning)) for key, column in merged.columns.items()
                ],
            }
        )
    return documents


def _column(key: live_profile.ColumnKey, column: live_profile.Column, bins: binning.Binning | None) -> dict[str, Any]:
    apart = None
    if bins is not None and bins.reference_counts:
        apart = distances.between_counts(
            column.counts, bins.reference_counts, ordered=bins.kind is binning.Kind.NUMERIC
        )
    return {
        "part": key.part,
        "name": key.name,
        "kind": None if bins is None else bins.kind.value,
        "bins": len(column.counts),
        "reference": bins is not None and bool(bins.reference_counts),
        "values": column.value_count,
        "missing": column.missing_count,
        "infinite": column.infinite_count,
        "distinct": round(column.distinct_count),
        "minimum": column.minimum,
        "maximum": column.maximum,
        "other": column.counts[-1] if bins is not None and bins.kind is binning.Kind.CATEGORIES else None,
        "psi": None if apart is None else apart.psi,
        "psi_by_chance": None if apart is None else apart.psi_by_chance,
        "js": None if apart is None else apart.js,
        "ks": None if apart is None else apart.ks,
    }


def _time(hour: int) -> str:
    moment = datetime.datetime.fromtimestamp(hour * live_profile.HOUR_SECONDS, datetime.UTC)
    return moment.isoformat().replace("+00:00", "Z")
