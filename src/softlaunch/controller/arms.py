"""
Arms: releases with the settings they run with, so that changed settings are launched and judged as a changed model is.

The settings are what an environment gives a process: `env:` and `secrets:`. A release runs under its plain digest with
the settings it was first launched with in a place, and under a release.Arm with each later ones. Which those are is
written in the rollouts that brought them, in the transaction that began them: there is nothing else to keep in step.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence

from softlaunch.controller import ledger as ledgers
from softlaunch.core import release, secret_references, spec
from softlaunch.core.rollout import phases
from softlaunch.ports import store

_LOOKS_BACK = 1_000
"""Rollouts of one release in one place."""
_COMMIT_LENGTH_MIN = 7
Settings = Mapping[str, str | secret_references.SecretReference]


def settings(environment: spec.EnvironmentSpec) -> Settings:
    """
    What a process finds in its environment, by name; a secret wins over a plain text.

    Of an attached environment nothing: its processes are somebody else's.
    """
    return {} if environment.attach is not None else {**environment.env, **environment.secrets}


def rendered(environment: spec.EnvironmentSpec) -> str:
    """The settings as a text that is equal for equal settings; it has what softlaunch.yaml says, and no secret."""
    found = settings(environment)
    plain = {name: each if isinstance(each, str) else dataclasses.asdict(each) for name, each in found.items()}
    return json.dumps(plain, sort_keys=True)


def with_settings(environment: spec.EnvironmentSpec, other: spec.EnvironmentSpec) -> spec.EnvironmentSpec:
    """The environment with the settings of another one."""
    return dataclasses.replace(environment, env=other.env, secrets=other.secrets)


def changed(before: spec.EnvironmentSpec, after: spec.EnvironmentSpec) -> dict[str, list[str]]:
    """Names of variables that are added, changed or removed; empty when none is. Never a value."""
    old, new = settings(before), settings(after)
    found = {
        "added": sorted(new.keys() - old.keys()),
        "changed": sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
        "removed": sorted(old.keys() - new.keys()),
    }
    return {how: names for how, names in found.items() if names}


def told(names: Mapping[str, Sequence[str]]) -> str:
    """A change of settings as a sentence; empty when there is none."""
    parts = [f"{', '.join(found)} {how}" for how, found in names.items()]
    return f"Settings: {'; '.join(parts)}." if parts else ""


def of(
    book: ledgers.Ledger,
    kept: store.Store,
    place: ledgers.Place,
    digest: release.Digest,
    wanted: str,
) -> release.Digest:
    """
    The arm that a release is with some settings.

    The same for the same settings, however often it is asked; another one for settings that the release never had here.

    Args:
        book: What is live and what runs, written down or not.
        kept: Every rollout there was.
        place: Where.
        digest: The release.
        wanted: The settings, `rendered`.
    """
    known = {arm: rendered(each) for arm, each in _launched(book, kept, place, digest.release)}
    found = next((arm for arm, each in known.items() if each == wanted), None)
    if found is not None:
        return found
    return release.arm(digest, 1 + max((release.settings_number(arm) for arm in known), default=-1))


def _launched(
    book: ledgers.Ledger, kept: store.Store, place: ledgers.Place, digest: release.Digest
) -> Iterable[tuple[release.Digest, spec.EnvironmentSpec]]:
    """Arms of a release, oldest first: what comes last about an arm holds."""
    service, environment = place
    for record in reversed(kept.rollouts(service=service, environment=environment, release=digest, limit=_LOOKS_BACK)):
        yield record.candidate, record.spec
    live, running = book.lives.get(place), book.rollouts.get(place)
    if live is not None:
        if live.previous is not None and live.previous.release == digest and live.previous_spec is not None:
            yield live.previous, live.previous_spec
        if live.stable is not None and live.stable.release == digest:
            yield live.stable, live.spec
    if running is not None:
        if running.candidate.release == digest:
            yield running.candidate, running.spec
        if running.successor is not None and running.successor.release.release == digest:
            yield running.successor.release, running.successor.spec


def stayed(kept: store.Store, place: ledgers.Place, digest: release.Digest) -> list[store.RolloutRecord]:
    """Rollouts that brought the release, with any settings, and were promoted; newest first."""
    found = kept.rollouts(service=place[0], environment=place[1], release=digest.release, limit=_LOOKS_BACK)
    return [each for each in found if each.state.phase is phases.Phase.PROMOTED]


def brought(kept: store.Store, place: ledgers.Place, arm: release.Digest) -> store.RolloutRecord | None:
    """The newest rollout that was promoted with exactly this arm; None: there was none."""
    return next((each for each in stayed(kept, place, arm) if each.candidate == arm), None)


def as_it_was(
    kept: store.Store, live: store.LiveRecord, digest: release.Digest, *, called: str
) -> release.Digest | None:
    """
    The arm that somebody means who names a release to go back to; None: it never was live there.

    With the settings of the commit that was named; else as it is live; else as it last was.
    """
    were = stayed(kept, (live.service, live.environment), digest)
    if len(called) >= _COMMIT_LENGTH_MIN:
        of_commit = next((each.candidate for each in were if each.commit.startswith(called)), None)
        if of_commit is not None:
            return of_commit
    if live.stable is not None and live.stable.release == digest:
        return live.stable
    return were[0].candidate if were else None


def spec_of(kept: store.Store, live: store.LiveRecord, arm: release.Digest) -> spec.EnvironmentSpec:
    """The environment as it is, with the settings of an arm that was live there; of another one as it is."""
    if arm == live.previous:
        return previous_spec(live)
    found = brought(kept, (live.service, live.environment), arm)
    return live.spec if found is None else with_settings(live.spec, found.spec)


def previous_spec(live: store.LiveRecord) -> spec.EnvironmentSpec:
    """The environment as it is, with the settings the previous release ran with: going back goes back to both."""
    return live.spec if live.previous_spec is None else with_settings(live.spec, live.previous_spec)
