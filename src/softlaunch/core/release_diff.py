"""
What is different between two releases.

Only what a release's digest covers can make two releases differ; where the data came from and what built them is told
beside it, as far as it is known.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from softlaunch.core import release
from softlaunch.core.drift import distances, profile

LINES_MAX = 20_000
"""A longer file is compared as bytes: comparing lines takes time by the square. A guess."""
_PACKAGE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(.*)", re.DOTALL)
_VERSION = re.compile(r"===?\s*([^\s;,]+)")
_HASH = re.compile(r"--hash[=\s]\S+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Something that is other than it was. None: it was not there, or is gone."""

    name: str
    before: Any
    after: Any
    note: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileChange:
    """A file of the code."""

    path: str
    kind: str
    """added, removed, changed, or mode: the bytes are the same."""
    added_lines: int = 0
    removed_lines: int = 0
    binary: bool = False
    """Not compared line by line: no text, or too long."""
    patch: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateChange:
    name: str
    before: release.GateResult | None
    after: release.GateResult | None

    @property
    def difference(self) -> float | None:
        """After minus before; None where one of both was not measured."""
        return self.after.value - self.before.value if self.before is not None and self.after is not None else None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {**dataclasses.asdict(self), "difference": self.difference}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureChange:
    """One feature's rows in both references."""

    name: str
    statistic: str
    """kolmogorov_smirnov or total_variation; empty: there is nothing to compare, and `note` says why."""
    distance: float | None
    distance_least: float | None
    """No less, however the rows of a bin are spread: see core.drift.distances."""
    missing_before: float | None
    """Share of the rows without a value."""
    missing_after: float | None
    note: str = ""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    before: release.Digest
    after: release.Digest
    code: tuple[FileChange, ...] = ()
    packages: tuple[Change, ...] = ()
    model: tuple[Change, ...] = ()
    signature: tuple[Change, ...] = ()
    gates: tuple[GateChange, ...] = ()
    profile: tuple[FeatureChange, ...] = ()
    """The greatest distance first."""
    runtime: tuple[Change, ...] = ()
    data: tuple[Change, ...] = ()
    other: tuple[Change, ...] = ()
    """Files of the release that nothing above tells of."""
    notes: tuple[str, ...] = ()
    """What is not compared, and why."""

    @property
    def differs(self) -> bool:
        return self.before != self.after

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = {"before": self.before.value, "after": self.after.value, "differs": self.differs}
        for name in SECTIONS:
            found[name] = [each.document() for each in getattr(self, name)]
        return {**found, "notes": list(self.notes)}


SECTIONS = ("code", "packages", "model", "signature", "gates", "profile", "runtime", "data", "other")


def compare_file(path: str, before: bytes | None, after: bytes | None) -> FileChange:
    """A file of the code, whose bytes or mode differ; None: it is not there."""
    kind = "added" if before is None else "removed" if after is None else "mode" if before == after else "changed"
    old, new = _lines(before), _lines(after)
    if old is None or new is None:
        return FileChange(path=path, kind=kind, binary=True)
    names = "/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}"
    found = list(difflib.unified_diff(old, new, *names))
    body = found[2:]
    return FileChange(
        path=path,
        kind=kind,
        added_lines=sum(line.startswith("+") for line in body),
        removed_lines=sum(line.startswith("-") for line in body),
        patch="".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found),
    )


def _lines(raw: bytes | None) -> list[str] | None:
    """The lines with their ends; None of what is no text, or is too long."""
    if raw is None:
        return []
    if b"\0" in raw or raw.count(b"\n") > LINES_MAX:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    return re.findall(r"[^\n]*\n|[^\n]+", text)  # splitlines() would also split at form feeds, inside a line of code


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    """Every name whose values differ, by name."""
    return tuple(
        Change(name=name, before=before.get(name), after=after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def packages(lock: bytes | None) -> dict[str, str]:
    """
    What each package of a requirements.lock is fixed to, by its normalised name (PEP 503).

    Versions where the file has them; a URL or another requirement as it is written. A package that stands there more
    than once, for several platforms, has all of them.
    """
    found: dict[str, set[str]] = {}
    for requirement in _requirements(lock):
        match = _PACKAGE.fullmatch(requirement)
        if match is None or requirement.startswith(("-", ".", "/")):
            continue
        version = _VERSION.match(match[2].lstrip("( "))
        found.setdefault(_normal(match[1]), set()).add(version[1] if version else match[2].split(";")[0].strip())
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def compare_packages(before: bytes | None, after: bytes | None) -> tuple[Change, ...]:
    """Packages that were added, removed or are of another version; and the file, when it differs by something else."""
    found = compare(packages(before), packages(after))
    if found or before == after:
        return found
    hashes = sorted(_hashes(before)) != sorted(_hashes(after))
    note = "the same versions with other hashes" if hashes else "the same versions, written differently"
    return (Change(name="requirements.lock", before=_size(before), after=_size(after), note=note),)


def _requirements(lock: bytes | None) -> Iterable[str]:
    text = (lock or b"").decode(errors="replace")
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        bare = _HASH.sub("", re.sub(r"(^|\s)#.*", "", line)).strip()
        if bare:
            yield bare


def _hashes(lock: bytes | None) -> list[str]:
    return _HASH.findall((lock or b"").decode(errors="replace"))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _size(raw: bytes | None) -> int | None:
    return None if raw is None else len(raw)


def compare_signatures(before: release.Signature, after: release.Signature) -> tuple[Change, ...]:
    """Inputs and outputs that were added, removed or changed, and whether the inputs' order did."""
    found: list[Change] = []
    for kind, old, new in (("input", before.inputs, after.inputs), ("output", before.outputs, after.outputs)):
        olds, news = ({f"{kind} {each.name}": _column(each) for each in columns} for columns in (old, new))
        found += compare(olds, news)
        if olds.keys() == news.keys() and list(olds) != list(news):
            names = [each.name for each in old], [each.name for each in new]
            found.append(Change(name=f"order of {kind}s", before=", ".join(names[0]), after=", ".join(names[1])))
    return tuple(found)


def _column(column: release.Column) -> str:
    bounds = [f">= {column.minimum:g}" if column.minimum is not None else ""]
    bounds.append(f"<= {column.maximum:g}" if column.maximum is not None else "")
    parts = (column.datatype.value, "nullable" if column.nullable else "", *bounds)
    return ", ".join(part for part in parts if part)


def compare_gates(before: Iterable[release.GateResult], after: Iterable[release.GateResult]) -> tuple[GateChange, ...]:
    """Gates whose value, threshold or result differs."""
    olds, news = ({gate.name: gate for gate in gates} for gates in (before, after))
    return tuple(GateChange(name=each.name, before=each.before, after=each.after) for each in compare(olds, news))


def compare_profiles(before: profile.Profile | None, after: profile.Profile | None) -> tuple[FeatureChange, ...]:
    """Features whose rows are distributed otherwise: what cannot be compared first, then the greatest distance."""
    olds, news = (
        {column.name: (column, found.row_count) for column in found.columns} if found is not None else {}
        for found in (before, after)
    )
    changes = [_feature(name, olds.get(name), news.get(name)) for name in sorted(olds.keys() | news.keys())]
    moved = [each for each in changes if each.note or each.distance or each.missing_before != each.missing_after]
    return tuple(sorted(moved, key=_size_of))


def _size_of(change: FeatureChange) -> tuple[bool, float, float, str]:
    missing = abs((change.missing_after or 0.0) - (change.missing_before or 0.0))
    return change.distance is not None, -(change.distance or 0.0), -missing, change.name


_Column = tuple[profile.ColumnProfile, int]


def _feature(name: str, before: _Column | None, after: _Column | None) -> FeatureChange:
    statistic, distance, note = "", None, ""
    if before is None or after is None:
        note = "only after" if before is None else "only before"
    else:
        one, other = before[0], after[0]
        if isinstance(one, profile.NumericProfile) and isinstance(other, profile.NumericProfile):
            statistic, distance = "kolmogorov_smirnov", distances.kolmogorov_smirnov(one, other)
        elif isinstance(one, profile.CategoryProfile) and isinstance(other, profile.CategoryProfile):
            statistic, distance = "total_variation", distances.total_variation(one, other)
        else:
            note = "numbers on one side, categories on the other"
        if statistic and distance is None and one != other:
            note = "no value on one side"
    return FeatureChange(
        name=name,
        statistic=statistic if distance is not None else "",
        distance=distance.value if distance is not None else None,
        distance_least=distance.least if distance is not None else None,
        missing_before=_missing(before),
        missing_after=_missing(after),
        note=note,
    )


def _missing(found: _Column | None) -> float | None:
    return None if found is None or not found[1] else found[0].missing_count / found[1]


_TOLD = frozenset({"signature", "gates", "lock_file", "profile_file", "smoke_file"})


def compare_runtimes(before: release.ReleaseContent, after: release.ReleaseContent) -> tuple[Change, ...]:
    """How the model is run: everything in release.json that no other part of the difference tells of."""
    olds, news = (
        {
            name: value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False)
            for name, value in dataclasses.asdict(content).items()
            if name not in _TOLD
        }
        for content in (before, after)
    )
    return compare(olds, news)
