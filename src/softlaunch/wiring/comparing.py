"""Two releases of a home, compared."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from softlaunch import errors
from softlaunch.config import home as homes
from softlaunch.core import intoto, lineage_graph, lineage_nodes, release, release_diff
from softlaunch.core.drift import profile
from softlaunch.wiring import lineage

_CODE, _MODEL, _LOCK, _PROFILE = "code/", "model/", "requirements.lock", "profile.json"
_DESCRIPTION = "release.json"


def compare(
    home: homes.Home, before: lineage.Known, after: lineage.Known, *, directory: pathlib.Path
) -> release_diff.Difference:
    """
    What is different in `after`.

    Args:
        home: Of both.
        before: A release.
        after: Another one, or the same.
        directory: Where a repository may be that holds the commits, for data that nobody signed.

    Raises:
        ConfigError: a profile cannot be read.
    """
    if before.digest == after.digest:
        return release_diff.Difference(before=before.digest, after=after.digest)
    old, new = ({each.path: each for each in lineage.listed(known.directory)} for known in (before, after))
    changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)]
    locks = [_read(known, known.content.lock_file) for known in (before, after)]
    features = release_diff.compare_profiles(_profile(before), _profile(after))
    data, notes = _data(before, after, directory)
    told = {_DESCRIPTION, _LOCK, *([_PROFILE] if features else [])}
    return release_diff.Difference(
        before=before.digest,
        after=after.digest,
        code=tuple(
            release_diff.compare_file(
                path.removeprefix(_CODE),
                _read(before, path if path in old else None),
                _read(after, path if path in new else None),
            )
            for path in changed
            if path.startswith(_CODE)
        ),
        packages=release_diff.compare_packages(*locks),
        model=tuple(_bytes(path, old.get(path), new.get(path)) for path in changed if path.startswith(_MODEL)),
        signature=release_diff.compare_signatures(before.content.signature, after.content.signature),
        gates=release_diff.compare_gates(before.content.gates, after.content.gates),
        profile=features,
        runtime=(
            *release_diff.compare_runtimes(before.content, after.content),
            *_surroundings(home, before, after),
        ),
        data=data,
        other=tuple(
            _bytes(path, old.get(path), new.get(path))
            for path in changed
            if not path.startswith((_CODE, _MODEL)) and path not in told
        ),
        notes=notes,
    )


def pick(found: Mapping[str, Any]) -> tuple[str, str]:
    """
    The two releases of a place: live against the candidate, or against what was live before.

    Args:
        found: Of the status, a service in an environment.

    Raises:
        ConfigError: there are no two.
    """
    running = found["rollout"]
    if found["stable"] and running is not None and running["candidate"] != found["stable"]:
        return found["stable"], running["candidate"]
    if found["stable"] and found["previous"]:
        return found["previous"], found["stable"]
    raise errors.ConfigError(
        f"There are no two releases of {found['service']} in {found['environment']} to compare.",
        remedy="Name two releases: `softlaunch diff BEFORE AFTER`; `softlaunch registry list` has all of them.",
        code=errors.Code.BAD_OPTION,
    )


def _read(known: lineage.Known, name: str | None) -> bytes | None:
    """A file of the release; of a link the text it is."""
    if name is None:
        return None
    path = known.directory / name
    return os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()


def _profile(known: lineage.Known) -> profile.Profile | None:
    raw = _read(known, known.content.profile_file)
    return profile.load(raw) if raw is not None else None


def _bytes(path: str, before: lineage_nodes.File | None, after: lineage_nodes.File | None) -> release_diff.Change:
    told = [
        {"sha256": each.sha256, "bytes": each.bytes, "mode": each.mode} if each is not None else None
        for each in (before, after)
    ]
    return release_diff.Change(name=path, before=told[0], after=told[1])


def _surroundings(home: homes.Home, before: lineage.Known, after: lineage.Known) -> tuple[release_diff.Change, ...]:
    """What built them and what their images stand on, as far as that is known of both."""
    old, new = ({**_builder(known), **_bases(home, known)} for known in (before, after))
    both = old.keys() & new.keys()
    return release_diff.compare({name: old[name] for name in both}, {name: new[name] for name in both})


def _builder(known: lineage.Known) -> dict[str, str]:
    proofs = [
        each.statement.predicate
        for each in known.said
        if each.proof is lineage_graph.Proof.VERIFIED
        and each.statement is not None
        and each.statement.kind is intoto.Kind.PROVENANCE
    ]
    definition = proofs[0].get("buildDefinition") if proofs else None
    versions = definition.get("internalParameters") if isinstance(definition, dict) else None
    return (
        {f"built with {name}": str(version) for name, version in versions.items()} if isinstance(versions, dict) else {}
    )


def _bases(home: homes.Home, known: lineage.Known) -> dict[str, str]:
    found = sorted({each["base"] for each in lineage.images(home, known.digest) if each["base"]})
    return {"base of images": ", ".join(found)} if found else {}


def _data(
    before: lineage.Known, after: lineage.Known, directory: pathlib.Path
) -> tuple[tuple[release_diff.Change, ...], tuple[str, ...]]:
    """Pins of model, reference and holdout that differ; or why they are not compared."""
    pins = [_pins(known, directory) for known in (before, after)]
    silent = [known.digest for known, found in zip((before, after), pins, strict=True) if found is None]
    if silent:
        return (), (_unknown(silent),)
    return release_diff.compare(pins[0] or {}, pins[1] or {}), ()


def _unknown(silent: list[release.Digest]) -> str:
    which = " and ".join(each.short for each in silent)
    return (
        f"Data is not compared: nobody who is trusted here signed what went into {which}, "
        "and no repository here holds the commit (--dir)."
    )


def _pins(known: lineage.Known, directory: pathlib.Path) -> dict[str, Any] | None:
    drawing = lineage_graph.Drawing(
        lineage_graph.Node(id=known.digest.value, kind=lineage_graph.Kind.RELEASE, label=known.digest.short)
    )
    lineage.add_data(drawing, known, directory)
    found = [
        node.facts
        for node in drawing.graph().nodes
        if node.kind is lineage_graph.Kind.DATA and node.proof is not lineage_graph.Proof.REFUSED
    ]
    if not found and drawing.graph().notes:
        return None
    return {each["role"]: {name: each[name] for name in ("uri", "version", "sha256")} for each in found}
