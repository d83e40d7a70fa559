"""Pins: releases that went wrong somewhere and are not launched there again, until somebody says why they may be."""

from __future__ import annotations

import dataclasses
import datetime

from softlaunch import errors
from softlaunch.controller import ledger as ledgers
from softlaunch.controller import loop as loops
from softlaunch.core import release as releases
from softlaunch.ports import registry, store

_NAME_LENGTH_MIN = 7
"""So much of a digest or commit names it; git's own length of short names."""


class Pins:
    """
    Looks pins up and lifts them; controller.launches sets them.

    Args:
        loop: Owns the ledger and its lock.
        store: Has every pin there ever was.
        registry: Resolves names of releases.
    """

    def __init__(self, *, loop: loops.ControlLoop, store: store.Store, registry: registry.Registry) -> None:
        self._loop = loop
        self._store = store
        self._registry = registry

    def find(self, place: ledgers.Place, arm: releases.Digest) -> store.Pin | None:
        """The pin that keeps an arm out of a place; None: nothing does."""
        found = self._store.pins(service=place[0], environment=place[1])
        return next((pin for pin in found if means(pin, arm) and pin.lifted_at is None), None)

    def check(self, place: ledgers.Place, arm: releases.Digest) -> None:
        """
        Raises:
            ConfigError: the release is pinned there, or it is with these settings.
        """
        pin = self.find(place, arm)
        if pin is not None:
            name = arm.release.short + (" with these settings" if isinstance(pin.release, releases.Arm) else "")
            when = datetime.datetime.fromtimestamp(pin.at, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise errors.ConfigError(
                f"{name} is pinned in {place[1]!r} since {when} by {pin.by}: {pin.reason}",
                remedy=f"When that is mended: `softlaunch unpin {pin.release.short} --service {place[0]} "
                f"--env {place[1]} --reason TEXT`, and launch it again.",
                code=errors.Code.PINNED,
            )

    def lift(self, *, service: str, environment: str, release: str, by: str, reason: str) -> store.Pin:
        """
        Allows a pinned release to be launched again.

        Args:
            service: The service.
            environment: Where it is pinned.
            release: Its digest or the beginning of it, its commit, tag or branch; or what names one pin of settings.
            by: Who lifts.
            reason: Why; it must not be empty.

        Raises:
            ConfigError: nothing is pinned by that name, or no reason is given.
        """
        if not reason.strip():
            raise errors.ConfigError(
                f"The pin of {release} cannot be lifted without a reason.",
                remedy="Say what has changed: --reason TEXT.",
                code=errors.Code.PINNED,
            )
        with self._loop.lock:
            named = self._registry.resolve(release, service=service)
            found = [
                pin
                for pin in self._store.pins(service=service, environment=environment)
                if pin.lifted_at is None
                and (
                    release in (pin.release.short, pin.release.text)
                    or pin.release.release == named
                    or _begins(pin.release.value, release)
                    or _begins(pin.commit, release)
                )
            ]
            if not found:
                raise errors.ConfigError(
                    f"No release of {service!r} called {release!r} is pinned in {environment!r}.",
                    remedy="`softlaunch pins` lists what is.",
                    code=errors.Code.NOT_PINNED,
                )
            now = self._loop.now()
            for pin in found:
                lifted = dataclasses.replace(pin, lifted_at=now, lifted_by=by, lifted_reason=reason)
                self._loop.ledger.put_pin(lifted)
            self._loop.ledger.note(
                (service, environment),
                at=now,
                rollout_id=None,
                kind="unpinned",
                text=f"{found[0].release.short} may be launched again, says {by}: {reason}",
            )
            self._loop.flush()
            return lifted


def means(pin: store.Pin, arm: releases.Digest) -> bool:
    """Whether a pin is about this arm."""
    exact = isinstance(pin.release, releases.Arm)
    return pin.release == (releases.exactly(arm) if exact else arm.release)


def _begins(text: str, beginning: str) -> bool:
    return len(beginning) >= _NAME_LENGTH_MIN and text.removeprefix("sha256:").startswith(
        beginning.removeprefix("sha256:")
    )
