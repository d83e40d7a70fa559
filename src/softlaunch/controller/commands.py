"""
Commands: what an operator or a pipeline may ask of the control plane.

Each checks its preconditions, changes the ledger and flushes before it answers: what was acknowledged survives a
kill -9. The control loop then makes the world agree.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

from softlaunch import errors
from softlaunch.controller import ledger as ledgers
from softlaunch.controller import loop as loops
from softlaunch.core import env_references, release, spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.ports import registry, store


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeployRequest:
    service: str
    environment: spec.EnvironmentSpec
    release: release.Digest
    ref: str
    commit: str
    by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    rollout_id: int | None
    """None: the release is already this environment's stable release and nothing was started."""
    text: str


class Commands:
    """
    The use cases of the control plane.

    Args:
        loop: Owns the ledger and its lock.
        store: To look at finished rollouts.
        registry: To check that a release exists and to resolve names.
        choose_port: Picks the listener port of a new environment, given the ports in use.
        variables: What `$NAME` in an environment's `env:` is looked up in.
    """

    def __init__(
        self,
        *,
        loop: loops.ControlLoop,
        store: store.Store,
        registry: registry.Registry,
        choose_port: Callable[[str, Sequence[int]], int],
        variables: Mapping[str, str],
    ) -> None:
        self._loop = loop
        self._store = store
        self._registry = registry
        self._choose_port = choose_port
        self._variables = variables

    def deploy(self, request: DeployRequest) -> Deployed:
        """
        Starts a rollout of a release into an environment.

        Raises:
            ConfigError: no such release, it has not passed the environment named in `after`, or `env:` names a variable
                that is not set.
            ConflictError: a rollout runs in that environment.
        """
        self._check_exists(request.release)
        env_references.resolve(request.environment.env, self._variables)
        place = (request.service, request.environment.name)
        with self._loop.lock:
            self._check_free(place)
            after = request.environment.after
            if after is not None and not self._passed(request.service, after, request.release):
                raise errors.ConfigError(
                    f"Release {request.release.short} has not passed {after!r}, and {request.environment.name!r} takes "
                    f"only releases that have.",
                    remedy=f"Run `softlaunch deploy {request.ref} --env {after}` first.",
                    code=errors.Code.NOT_PASSED,
                )
            live = self._loop.ledger.lives.get(place)
            if live is not None and live.stable == request.release:
                if live.spec.env != request.environment.env:
                    raise errors.ConfigError(
                        f"{request.release.short} is already live in {request.environment.name}, with another `env:`.",
                        remedy="A changed environment is launched with a changed release: commit the change that needs "
                        "it, or deploy another release first.",
                        code=errors.Code.ENV_CHANGED,
                    )
                self._loop.ledger.put_live(dataclasses.replace(live, spec=request.environment))
                try:
                    self._loop.flush()
                except errors.UnavailableError:
                    self._loop.ledger.put_live(live)
                    raise
                return Deployed(
                    rollout_id=None, text=f"{request.release.short} is already live in {request.environment.name}."
                )
            return self._start(request, immediate=False)

    def rollback(self, *, service: str, environment: str, to: str, by: str) -> Deployed:
        """
        Goes back: ends the running rollout, or sends all traffic to an earlier release at once.

        Args:
            service: The service.
            environment: Where.
            to: `previous`, or a digest, commit, tag or branch of a release that exists.
            by: Who asks.

        Raises:
            ConfigError: nothing is live there, there is no previous release, or `to` names none.
            ConflictError: a rollout runs and `to` is not the release it would go back to.
        """
        place = (service, environment)
        with self._loop.lock:
            live = self._live(place)
            running = self._loop.ledger.rollouts.get(place)
            if running is not None:
                target = running.stable if to == "previous" else self._resolve(to, service)
                if target != running.stable:
                    self._check_free(place)
                self._tell(running, messages.AbortAsked(by=by, reason="Rollback asked."))
                return Deployed(rollout_id=running.id, text="The running rollout goes back to its stable release.")
            target = live.previous if to == "previous" else self._resolve(to, service)
            if target is None:
                raise errors.ConfigError(
                    f"There is no previous release of {service} in {environment}.",
                    remedy="Name one: `softlaunch history` lists what was live.",
                    code=errors.Code.NO_PREVIOUS,
                )
            if target == live.stable:
                return Deployed(rollout_id=None, text=f"{target.short} is already live in {environment}.")
            self._check_exists(target)
            request = DeployRequest(
                service=service,
                environment=live.spec,
                release=target,
                ref=to,
                commit=self._commit(target),
                by=by,
            )
            return self._start(request, immediate=True)

    def pause(self, *, service: str, environment: str, by: str) -> store.RolloutRecord:
        return self._send(service, environment, messages.PauseAsked(by=by))

    def resume(self, *, service: str, environment: str, by: str) -> store.RolloutRecord:
        return self._send(service, environment, messages.ResumeAsked(by=by))

    def promote(self, *, service: str, environment: str, by: str, full: bool = False) -> store.RolloutRecord:
        return self._send(service, environment, messages.PromoteAsked(by=by, full=full))

    def abort(self, *, service: str, environment: str, by: str, reason: str = "") -> store.RolloutRecord:
        return self._send(service, environment, messages.AbortAsked(by=by, reason=reason))

    def _send(self, service: str, environment: str, event: messages.Event) -> store.RolloutRecord:
        """
        Raises:
            ConfigError: no rollout runs there.
            ConflictError: the rollout is in a phase in which this means nothing.
        """
        place = (service, environment)
        with self._loop.lock:
            record = self._loop.ledger.rollouts.get(place)
            if record is None:
                raise errors.ConfigError(
                    f"No rollout of {service!r} runs in {environment!r}.",
                    remedy="See `softlaunch status`; start one with `softlaunch deploy`.",
                    code=errors.Code.NO_ROLLOUT,
                )
            following = self._tell(record, event)
            if following.state is record.state:
                raise errors.ConflictError(
                    f"That means nothing now: rollout {record.id} is {_standing(record.state)}.",
                    remedy="See `softlaunch status` for what it waits for.",
                    code=errors.Code.NOT_NOW,
                )
            return following

    def _tell(self, record: store.RolloutRecord, event: messages.Event) -> store.RolloutRecord:
        if not isinstance(event, messages.AbortAsked):
            # A disk that is full refuses here, while nothing has been decided. Going back does not wait for a disk.
            self._loop.ledger.put_live(self._loop.ledger.lives[record.service, record.environment])
            self._loop.flush()
            record = self._loop.ledger.rollouts[record.service, record.environment]
        try:
            following = self._loop.advance(record, event)
            self._loop.flush()
        finally:
            self._loop.wake()
        return following

    def _start(self, request: DeployRequest, *, immediate: bool) -> Deployed:
        book = self._loop.ledger
        now = self._loop.now()
        place = (request.service, request.environment.name)
        live = known = book.lives.get(place)
        listener = None
        if request.environment.name not in book.listeners:
            listener = self._choose_port(request.environment.name, tuple(book.listeners.values()))
            book.put_listener(request.environment.name, listener)
        if live is None:
            live = store.LiveRecord(
                service=request.service, environment=request.environment.name, spec=request.environment, stable=None
            )
            book.put_live(live)
        number = book.rollout_id_last + 1
        plan = phases.plan_of(request.environment, compared=live.stable is not None, immediate=immediate)
        verb = "Rollback to" if immediate else "Launch of"
        step = machine.begin(plan, now=now, reason=f"{verb} {request.release.short} ({request.ref}) by {request.by}.")
        record = store.RolloutRecord(
            id=number,
            service=request.service,
            environment=request.environment.name,
            candidate=request.release,
            stable=live.stable,
            spec=request.environment,
            state=step.state,
            ref=request.ref,
            commit=request.commit,
            requested_by=request.by,
            salt=hashlib.sha256(f"{request.service}/{request.environment.name}/{number}".encode()).hexdigest()[:8],
            created_at=now,
        )
        book.put_rollout(record)
        book.announce(record, step.announcements, at=now)
        try:
            self._loop.flush()
        except errors.SoftlaunchError:
            # Refused must mean that it does not start when the disk has room again.
            self._loop.withdraw(record, first=known is None, new_listener=listener is not None)
            raise
        self._loop.wake()
        return Deployed(rollout_id=number, text=step.state.reason)

    def _live(self, place: ledgers.Place) -> store.LiveRecord:
        live = self._loop.ledger.lives.get(place)
        if live is None or (live.stable is None and place not in self._loop.ledger.rollouts):
            raise errors.ConfigError(
                f"Nothing of {place[0]!r} is live in {place[1]!r}.",
                remedy="See `softlaunch status` for what is; start with `softlaunch deploy`.",
                code=errors.Code.NOT_LIVE,
            )
        return live

    def _check_free(self, place: ledgers.Place) -> None:
        running = self._loop.ledger.rollouts.get(place)
        if running is not None:
            raise errors.ConflictError(
                f"Rollout {running.id} ({running.candidate.short}) runs in {place[1]!r}: {_standing(running.state)}.",
                remedy="Wait for it, end it with `softlaunch promote --full`, or take it back with `softlaunch abort`.",
                code=errors.Code.ROLLOUT_RUNS,
            )

    def _check_exists(self, digest: release.Digest) -> None:
        if self._registry.resolve(digest.value) is None:
            raise errors.ConfigError(
                f"The registry has no release {digest.short}.",
                remedy="Build it with `softlaunch build REF`.",
                code=errors.Code.NO_RELEASE,
            )

    def _passed(self, service: str, environment: str, digest: release.Digest) -> bool:
        live = self._loop.ledger.lives.get((service, environment))
        if live is not None and digest in (live.stable, live.previous):
            return True
        return any(
            found.candidate == digest and found.state.phase is phases.Phase.PROMOTED
            for found in self._store.rollouts(service=service, environment=environment, limit=1_000)
        )

    def _resolve(self, to: str, service: str) -> release.Digest:
        found = self._registry.resolve(to, service=service)
        if found is None:
            raise errors.ConfigError(
                f"No release of {service!r} is called {to!r}.",
                remedy="Give a digest, commit, tag or branch that was built; `softlaunch history` lists what was live.",
                code=errors.Code.NO_RELEASE,
            )
        return found

    def _commit(self, digest: release.Digest) -> str:
        lineage = self._registry.lineage(digest)
        return lineage[-1].commit if lineage else ""


def _standing(state: phases.State) -> str:
    words: list[str] = [state.phase.value.replace("_", " ")]
    if state.phase is phases.Phase.STEPPING:
        words.append(f"at {state.plan.weights[state.step] / 100:g} %")
    if state.paused:
        words.append("(paused)")
    if state.hold is not None:
        words.append("(held)")
    return " ".join(words)
