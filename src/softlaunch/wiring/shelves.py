"""What this home's registry holds, what of it is needed, and removing the rest."""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.adapters.oci import garbage
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.sql import store as sql_store
from softlaunch.config import home as homes
from softlaunch.core import release
from softlaunch.core.rollout import phases
from softlaunch.ports import store

KEEP_DEFAULT = 10
GRACE_SECONDS_MIN = 600.0
"""Files that are being written are not listed yet, and a model may be large."""
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_LIKE_A_DIGEST = re.compile(r"[0-9a-f]{6,}|sha256[:-].*")
_LOOKS_BACK = 1_000

Uses = Mapping[release.Digest, list[str]]


def uses(home: homes.Home) -> Uses:
    """
    Where each release is used, by the state of the home; the control plane may run or not.

    Raises:
        ConfigError: another softlaunch wrote the state.
        UnavailableError: it cannot be read.
    """
    found: dict[release.Digest, list[str]] = {}
    if not home.state_file.is_file() and home.heads_file.exists():
        raise errors.UnavailableError(
            f"There was a state of this home, and {home.state_file} is not there any more.",
            remedy="Restore it from a copy: without it nobody knows which releases are live.",
            code=errors.Code.STATE_DAMAGED,
        )
    if home.state_file.is_file():
        with sql_store.SqlStore(home.state_file, upgrade=False) as state:
            for digest, use in _uses(state):
                if use not in found.setdefault(digest.release, []):
                    found[digest.release].append(use)
    return found


def releases(home: homes.Home) -> list[dict[str, Any]]:
    """Every release of the home, the oldest first: what it is, where it came from and where it is used."""
    used = uses(home)
    return [
        {**each, "used": used.get(release.Digest(each["release"]), [])}
        for each in oci_registry.OciRegistry(home.registry).listed()
    ]


def collect(
    home: homes.Home, *, keep: int = KEEP_DEFAULT, grace_seconds: float = 86_400.0, dry_run: bool = False
) -> dict[str, Any]:
    """
    Removes releases that nothing needs, with what is attached to them, and files that nothing lists.

    Args:
        home: Whose registry.
        keep: So many of the newest releases of each service stay, and of those that were promoted last in each place.
        grace_seconds: Nothing younger is removed.
        dry_run: Only tell.

    Raises:
        ConfigError: the grace is too short, or another softlaunch wrote the state.
        UnavailableError: registry or state cannot be read: nothing is removed then.
    """
    if grace_seconds < GRACE_SECONDS_MIN:
        raise errors.ConfigError(
            f"A grace of {grace_seconds:g} s is too short: what is being built or fetched now would be removed.",
            remedy=f"Give {GRACE_SECONDS_MIN / 60:g}m or more.",
            code=errors.Code.BAD_OPTION,
        )
    shelf = oci_registry.OciRegistry(home.registry)
    kept: dict[release.Digest, list[str]] = {}

    def needed() -> set[release.Digest]:
        kept.clear()
        kept.update(_needed(home, shelf, keep))
        return set(kept)

    home.prepare()
    unpacked: list[pathlib.Path] = []

    def put_aside(digest: release.Digest) -> None:
        if _unpacked(home, digest).is_dir():
            unpacked.append(oci_registry.put_aside(_unpacked(home, digest)))

    done = garbage.Garbage(home.registry).collect(
        needed, grace_seconds=grace_seconds, dry_run=dry_run, removed=put_aside
    )
    for place in unpacked:
        shutil.rmtree(place, ignore_errors=True)
    listed = {each["release"]: each["service"] for each in shelf.listed()}
    return {
        "dry_run": dry_run,
        "removed": [digest.value for digest in done.releases],
        "young": [digest.value for digest in done.young],
        "kept": [
            {"release": digest.value, "service": listed[digest.value], "why": why}
            for digest, why in kept.items()
            if digest.value in listed
        ],
        "referrers": done.referrer_count,
        "files": done.file_count,
        "freed_bytes": done.freed_bytes,
        "unpacked": len(unpacked),
    }


def tag(home: homes.Home, reference: str, name: str, *, force: bool = False) -> release.Digest:
    """
    Lets a tag of this home's registry name a release.

    Raises:
        ConfigError: no such release, no name a tag can have, or it names another one and `force` is false.
    """
    home.prepare()
    shelf = oci_registry.OciRegistry(home.registry)
    digest = shelf.resolve(reference)
    if digest is None:
        raise errors.ConfigError(
            f"There is no release {reference!r:.120}.",
            remedy="`softlaunch registry list` shows what there is.",
            code=errors.Code.NO_RELEASE,
        )
    if not _TAG.fullmatch(name) or _LIKE_A_DIGEST.fullmatch(name):
        raise _refused(
            f"{name!r:.160} cannot be a tag.",
            "Give letters, digits, '.', '_' and '-', at most 128, that cannot be taken for a digest or a commit: v1.2",
        )
    known = shelf.tags().get(name)
    if known not in (None, digest) and not force:
        assert known is not None
        raise _refused(
            f"The tag {name!r} names {known.short} already.", f"Give --force to let it name {digest.short}, or another."
        )
    shelf.tag(name, digest)
    return digest


def untag(home: homes.Home, name: str) -> release.Digest:
    """
    Takes a tag away; the release stays until it is collected.

    Raises:
        ConfigError: there is no such tag.
    """
    home.prepare()
    shelf = oci_registry.OciRegistry(home.registry)
    known = shelf.tags().get(name)
    if known is None:
        raise _refused(f"There is no tag {name!r:.160}.", "`softlaunch registry list` shows them.")
    shelf.tag(name, None)
    return known


def _needed(home: homes.Home, shelf: oci_registry.OciRegistry, keep: int) -> dict[release.Digest, list[str]]:
    found: dict[release.Digest, list[str]] = {digest: list(why) for digest, why in uses(home).items()}

    def add(digest: release.Digest, why: str) -> None:
        found.setdefault(digest.release, []).append(why)

    for name, digest in shelf.tags().items():
        add(digest, f"tagged {name}")
    services = set()
    for each in shelf.listed():
        services.add(each["service"])
        if each["tags"]:
            add(release.Digest(each["release"]), f"git tag {', '.join(each['tags'])}")
    for service in sorted(services):
        for digest in shelf.newest(service)[:keep]:
            add(digest, f"one of the {keep} newest of {service}")
    if home.state_file.is_file():
        with sql_store.SqlStore(home.state_file, upgrade=False) as state:
            for live in state.load().lives:
                for digest in _promoted(state, live, keep):
                    add(digest, f"one of the last {keep} promoted in {live.environment}")
    return found


def _uses(state: sql_store.SqlStore) -> Iterator[tuple[release.Digest, str]]:
    world = state.load()
    for live in world.lives:
        for digest, what in ((live.stable, "live"), (live.previous, "previous")):
            if digest is not None:
                yield digest, f"{what} in {live.environment}"
    for rollout in world.rollouts:
        yield rollout.candidate, f"candidate in {rollout.environment}"
        if rollout.stable is not None:
            yield rollout.stable, f"live in {rollout.environment}"
        if rollout.successor is not None:
            yield rollout.successor.release, f"next in {rollout.environment}"
    for pin in state.pins():
        yield pin.release, f"pinned in {pin.environment}"


def _promoted(state: sql_store.SqlStore, live: store.LiveRecord, keep: int) -> list[release.Digest]:
    """What a rollback by hand may name."""
    found = state.rollouts(service=live.service, environment=live.environment, limit=_LOOKS_BACK)
    stayed = (each.candidate.release for each in found if each.state.phase is phases.Phase.PROMOTED)
    return list(dict.fromkeys(stayed))[:keep]


def _unpacked(home: homes.Home, digest: release.Digest) -> pathlib.Path:
    return home.releases / digest.value.removeprefix("sha256:")


def _refused(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.REGISTRY_TAG)
