"""What leaves the log: exports, and whom a release has touched. Heavy libraries, as the log's."""

from __future__ import annotations

import datetime
import pathlib
import re
from typing import Any

from softlaunch import errors
from softlaunch.adapters.lake import asking, exporting
from softlaunch.adapters.lake import sql as sql_text
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.config import home as homes
from softlaunch.core import release as releases
from softlaunch.wiring import labels, log_place, prediction_log

_KEYS_SHOWN = 20
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{4,64})")
_ALL = "SELECT * FROM predictions ORDER BY time"
_TOUCHED = """SELECT id, environment, arm, served, time, key, keys, status, release FROM predictions
WHERE regexp_matches(release, {pattern}) ORDER BY time"""


def export(
    home: homes.Home,
    service: str | None,
    target: pathlib.Path,
    *,
    sql: str | None,
    label: str | None,
    file_format: str,
    as_of: datetime.datetime | None,
) -> int:
    """
    Writes rows of the log into a file; how many.

    Args:
        home: Whose log.
        service: None: the only one.
        target: The file.
        sql: The query; None: every prediction.
        label: Beside every prediction, what is known by the label of this name.
        file_format: See exporting.FORMATS.
        as_of: As known then; None: now.

    Raises:
        ConfigError, UnavailableError: see exporting.export.
    """
    name = prediction_log.chosen(home, service)
    if label is not None:
        sql = (
            "SELECT p.*, l.value AS label_value, l.text AS label_text, l.arrived AS label_arrived FROM predictions p "  # noqa: S608 - quoted
            f"LEFT JOIN (SELECT * FROM labelled WHERE name = {sql_text.quoted(label)}) l USING (id) ORDER BY p.time"
        )
    return exporting.export(
        log_place.predictions(home, name),
        sql or _ALL,
        labelled=labels.joined(home, name, as_of=as_of),
        target=target,
        file_format=file_format,
    )


def impact(
    home: homes.Home, release: str, service: str | None, *, target: pathlib.Path | None, file_format: str
) -> dict[str, Any]:
    """
    Which predictions and keys a release has touched.

    Args:
        home: Whose log.
        release: Digest or its beginning, commit, tag or branch.
        service: None: the only one.
        target: Every touched prediction goes into this file; None: into none.
        file_format: Of that file.

    Raises:
        ConfigError: there is no such release, neither in the registry nor in the log, or no log.
        UnavailableError: the log cannot be read.
    """
    name = prediction_log.chosen(home, service)
    pattern = _pattern(home, name, release)
    path, view = log_place.predictions(home, name), labels.joined(home, name)
    parts = asking.select(path, _PARTS, [pattern])
    if not parts:
        raise errors.ConfigError(
            f"No prediction of {name} was made by {release!r:.120}.",
            remedy='`softlaunch log query "SELECT DISTINCT release FROM predictions"` lists those that made some.',
            code=errors.Code.NOT_IN_LOG,
        )
    found: dict[str, Any] = {
        "service": name,
        "releases": sorted({row["release"] for row in asking.select(path, _RELEASES, [pattern])}),
        "parts": parts,
        **asking.select(path, _WHOLE, [pattern])[0],
        "keys": asking.select(path, _KEYS, [pattern, _KEYS_SHOWN]),
        "business_keys": {row["name"]: row["found"] for row in asking.select(path, _BUSINESS, [pattern])},
        "labels": asking.select(path, _LABELS, [pattern], labelled=view),
    }
    if target is not None:
        sql = _TOUCHED.format(pattern=sql_text.quoted(pattern))
        found["written"] = exporting.export(path, sql, labelled=view, target=target, file_format=file_format)
    return found


_PARTS = """
SELECT environment, arm, served, count(*) AS answers, count(DISTINCT id) AS predictions, min(time) AS first,
    max(time) AS last
FROM predictions WHERE regexp_matches(release, $1) GROUP BY ALL ORDER BY ALL"""
_RELEASES = "SELECT DISTINCT release FROM predictions WHERE regexp_matches(release, $1)"
_WHOLE = """
SELECT count(*) AS answers, count(DISTINCT id) AS predictions, count(DISTINCT id) FILTER (served) AS seen_by_users,
    count(DISTINCT key) AS key_count, min(time) AS first, max(time) AS last
FROM predictions WHERE regexp_matches(release, $1)"""
_KEYS = """
SELECT key, count(DISTINCT id) AS predictions FROM predictions
WHERE regexp_matches(release, $1) AND served AND key IS NOT NULL GROUP BY key ORDER BY predictions DESC, key LIMIT $2"""
_BUSINESS = """
SELECT entry.key AS name, count(DISTINCT entry.value) AS found
FROM (SELECT unnest(map_entries(keys)) AS entry FROM predictions WHERE regexp_matches(release, $1) AND served)
GROUP BY ALL ORDER BY ALL"""
_LABELS = """
SELECT name, count(*) AS labelled, avg(value) AS mean FROM labelled
WHERE id IN (SELECT id FROM predictions WHERE regexp_matches(release, $1) AND served) GROUP BY name ORDER BY name"""


def _pattern(home: homes.Home, service: str, release: str) -> str:
    """As the log names it: twelve digits, and perhaps the number of its settings."""
    name, number = releases.split_number(release)
    digest = oci_registry.OciRegistry(home.registry).resolve(name, service=service) if name else None
    suffix = "(_[0-9]+)?" if number is None else f"_{number}"
    if digest is not None:
        return f"^{digest.short}{suffix}$"
    if matched := _HEX.fullmatch(name):  # gone from the registry, and yet it has answered
        return f"^{matched[1][:12]}[0-9a-f]*{suffix}$"
    return f"^{re.escape(release)}$"  # as an import has named it
