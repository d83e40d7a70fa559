"""What core.gitops.decide rests on, gathered from the ledger, the store and the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from softlaunch.controller import arms, follow_state
from softlaunch.controller import loop as loops
from softlaunch.core import gitops, release
from softlaunch.core.rollout import phases
from softlaunch.ports import registry as registries
from softlaunch.ports import store as stores

_AFTER_PROMOTION = (phases.Phase.WATCHING, phases.Phase.FINISHING)
_LOOKS_BACK = 200
"""Rollouts of one place among which the one that brought its stable release is looked for."""


class Observer:
    """
    Reads; changes nothing.

    Args:
        loop: What is live, and which rollouts run.
        store: Finished rollouts, and pins.
        registry: Which release a commit became.
    """

    def __init__(self, *, loop: loops.ControlLoop, store: stores.Store, registry: registries.Registry) -> None:
        self._loop = loop
        self._store = store
        self._registry = registry

    def facts(
        self,
        service: str,
        target: follow_state.Target,
        state: follow_state.State,
        *,
        trees: Mapping[str, str],
        busy: str = "",
    ) -> gitops.Facts:
        """
        Everything about one environment.

        Args:
            service: The service.
            target: What Git says.
            state: How far the service has got.
            trees: Content of the service's folder by commit, of commits that are pinned.
            busy: Why no pipeline may be started now.
        """
        place = (service, target.environment)
        known = self._registry.resolve(target.commit, service=service) if target.commit else None
        with self._loop.lock:
            live = self._loop.ledger.lives.get(place)
            rollout = self._loop.ledger.rollouts.get(place)
        recent = self._recent(place)
        running = self._running(live.stable if live is not None else None, rollout, recent)
        return gitops.Facts(
            branch=target.branch,
            tip=gitops.Tip(commit=target.commit, tree=target.tree, trouble=target.trouble),
            known_as=known.value if known is not None else "",
            running=running,
            desired_arm=self._desired_arm(place, target, known),
            entering=_entering(rollout),
            pins=tuple(
                gitops.Pinned(
                    release=pin.release.value,
                    commit=pin.commit,
                    tree=trees.get(pin.commit, ""),
                    reason=pin.reason,
                    by=pin.by,
                    arm=_pinned_arm(pin.release),
                )
                for pin in self.pins(service, target.environment)
            ),
            attempt=state.attempts.get(target.environment),
            taken_back=self._taken_back(place, target, state, known, recent),
            busy=busy,
        )

    def pins(self, service: str, environment: str | None = None) -> list[stores.Pin]:
        """Pins that nobody has lifted, newest first."""
        found = self._store.pins(service=service, environment=environment)
        return [pin for pin in found if pin.lifted_at is None]

    def answering(self, service: str, environment: str) -> str:
        """The arm that runs; empty: nothing does."""
        place = (service, environment)
        with self._loop.lock:
            live = self._loop.ledger.lives.get(place)
            rollout = self._loop.ledger.rollouts.get(place)
        found = self._running(live.stable if live is not None else None, rollout, ())
        return found.arm if found is not None else ""

    def entering(self, service: str, environment: str, commit: str) -> bool:
        """Whether a launch of the commit is under way there."""
        with self._loop.lock:
            rollout = self._loop.ledger.rollouts.get((service, environment))
        found = _entering(rollout)
        return found is not None and found.commit == commit

    def good_commits(self, place: tuple[str, str], running: gitops.Running, pin: gitops.Pinned) -> list[str]:
        """Every commit known to have become what runs; of a pin of settings those that were launched with its own."""
        if pin.arm:
            promoted = (each for each in self._recent(place) if each.state.phase is phases.Phase.PROMOTED)
            known = [each.commit for each in promoted if each.candidate.text == running.arm]
        else:
            known = [each.commit for each in self._registry.lineage(release.Digest(running.release))]
        return [each for each in dict.fromkeys([running.commit, *known]) if each]

    def _desired_arm(self, place: tuple[str, str], target: follow_state.Target, known: release.Digest | None) -> str:
        if known is None or not target.settings:
            return ""
        with self._loop.lock:
            return arms.of(self._loop.ledger, self._store, place, known, target.settings).text

    def _recent(self, place: tuple[str, str]) -> list[stores.RolloutRecord]:
        """Rollouts that were no drills, newest first."""
        found = self._store.rollouts(service=place[0], environment=place[1], limit=_LOOKS_BACK)
        return [record for record in found if not record.state.plan.drill]

    def _running(
        self,
        stable: release.Digest | None,
        rollout: stores.RolloutRecord | None,
        recent: Sequence[stores.RolloutRecord],
    ) -> gitops.Running | None:
        if rollout is not None and rollout.state.phase in _AFTER_PROMOTION:
            return _brought(rollout)
        if stable is None:
            return None
        promoted = (each for each in recent if each.state.phase is phases.Phase.PROMOTED)
        record = next((each for each in promoted if each.candidate == stable), None)
        if record is not None:
            return _brought(record)
        return gitops.Running(release=stable.value, arm=stable.text, commit="", by="somebody, long ago")

    def _taken_back(
        self,
        place: tuple[str, str],
        target: follow_state.Target,
        state: follow_state.State,
        known: release.Digest | None,
        recent: Sequence[stores.RolloutRecord],
    ) -> str:
        """Whether the last thing that was done here was going back, in a way that Git must not undo."""
        if not recent:
            return ""
        last = recent[0]
        pins = self._store.pins(service=place[0], environment=place[1])
        if any(pin.release.release == known and (pin.lifted_at or 0.0) > last.created_at for pin in pins):
            return ""  # who lifts a pin wants it launched
        if last.state.phase is phases.Phase.ABORTED and last.commit == target.commit:
            return f"Rollout {last.id} was taken back. {last.state.reason}"
        branch = state.branches.get(target.branch, follow_state.Branch())
        if last.state.plan.immediate and branch.tip == target.commit and branch.seen_at <= last.created_at:
            return f"{last.requested_by} went back to {last.candidate.short}."
        return ""


def _pinned_arm(pinned: release.Digest) -> str:
    """The arm as it would run; empty: whatever the settings."""
    return release.arm(pinned, pinned.settings).text if isinstance(pinned, release.Arm) else ""


def _brought(record: stores.RolloutRecord) -> gitops.Running:
    return gitops.Running(
        release=record.candidate.value,
        arm=record.candidate.text,
        commit=record.commit,
        by=record.requested_by,
        returned=record.state.plan.immediate,
    )


def _entering(rollout: stores.RolloutRecord | None) -> gitops.Entering | None:
    if rollout is None or rollout.state.phase in _AFTER_PROMOTION:
        return None
    return gitops.Entering(
        id=rollout.id, release=rollout.candidate.value, commit=rollout.commit, by=rollout.requested_by
    )
