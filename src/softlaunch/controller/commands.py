"""
Commands: what an operator or a pipeline may ask of the control plane.

Each checks its preconditions, changes the ledger and flushes before it answers: what was acknowledged survives a
kill -9. The control loop then makes the world agree.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence

from softlaunch import errors
from softlaunch.controller import arms, evidence, launches, pinning
from softlaunch.controller import ledger as ledgers
from softlaunch.controller import loop as loops
from softlaunch.core import env_references, release, secret_references, spec
from softlaunch.core.rollout import approvals, messages, phases
from softlaunch.ports import registry, store

_RETRY_LOOKS_BACK = 100
"""Rollouts; a round of drills is ten."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeployRequest:
    service: str
    environment: spec.EnvironmentSpec
    release: release.Digest
    """Which arm it is follows from the environment's settings."""
    ref: str
    commit: str
    by: str
    replace: bool = True
    """Take the place of a rollout that runs; False: refuse while one does."""
    drill: bool = False
    """The release carries a fault on purpose and is launched as such: only controller.drilling says so."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    rollout_id: int | None
    """None: the release is already this environment's stable release and nothing was started."""
    text: str
    after: int | None = None
    """The rollout that ends first, when another one had to make way."""


class Commands:
    """
    The use cases of the control plane.

    Args:
        loop: Owns the ledger and its lock.
        store: To look at finished rollouts.
        registry: To check that a release exists and to resolve names.
        choose_port: Picks the listener port of a new environment, given the ports in use.
        variables: What `$NAME` in an environment's `env:` is looked up in.
        proofs: Asked before a launch whether the release's evidence is enough, and told of approvals.
    """

    def __init__(
        self,
        *,
        loop: loops.ControlLoop,
        store: store.Store,
        registry: registry.Registry,
        choose_port: Callable[[str, Sequence[int]], int],
        variables: Mapping[str, str],
        proofs: evidence.Evidence | None = None,
    ) -> None:
        self._loop = loop
        self._store = store
        self._registry = registry
        self._pins = pinning.Pins(loop=loop, store=store, registry=registry)
        self._choose_port = choose_port
        self._variables = variables
        self._proofs = proofs

    def deploy(self, request: DeployRequest) -> Deployed:
        """
        Starts a rollout of a release into an environment.

        The release that is live there already is launched as well when `env:` or `secrets:` differ from what it runs
        with: against itself with the old ones.

        A rollout that runs there makes way: it goes back to its stable release, or, when it was promoted already, its
        watch window ends. Then the new one begins.

        Raises:
            ConfigError: no such release, it is a drill's, it has not passed the environment named in `after`, it is
                pinned, its evidence is not what the environment asks for, or `env:` names a variable that is not set.
            ConflictError: a rollout runs in that environment and `replace` is False.
        """
        self._check_exists(request.release)
        env_references.resolve(request.environment.env, self._variables)
        self._check_secrets(request.environment)
        if not request.drill:
            self._check_real(request.release)
            self._check_signed(request.release, request.environment)
        place = (request.service, request.environment.name)
        with self._loop.lock:
            running = self._loop.ledger.rollouts.get(place)
            wanted = arms.rendered(request.environment)
            arm = arms.of(self._loop.ledger, self._store, place, request.release, wanted)
            if running is not None and running.candidate == arm and running.successor is None:
                return Deployed(rollout_id=running.id, text=f"Rollout {running.id} brings {arm.short} already.")
            if not request.replace:
                self._check_free(place)
            self._pins.check(place, arm)
            after = request.environment.after
            if after is not None and not request.drill and not self._passed(request.service, after, request.release):
                raise errors.ConfigError(
                    f"Release {request.release.short} has not passed {after!r}, and {request.environment.name!r} takes "
                    f"only releases that have.",
                    remedy=f"Run `softlaunch deploy {request.ref} --env {after}` first.",
                    code=errors.Code.NOT_PASSED,
                )
            if running is not None:
                return self._replace(running, arm, request)
            live = self._loop.ledger.lives.get(place)
            if live is not None and live.stable == arm:
                return self._refresh(live, request)
            return self._start(arm, request)

    def _refresh(self, live: store.LiveRecord, request: DeployRequest) -> Deployed:
        """The release is live already, with these settings; what else the environment says may have changed."""
        self._loop.ledger.put_live(dataclasses.replace(live, spec=request.environment))
        try:
            self._loop.flush()
        except errors.UnavailableError:
            self._loop.ledger.put_live(live)
            raise
        assert live.stable is not None, "it is what was asked for"
        return Deployed(rollout_id=None, text=f"{live.stable.short} is already live in {request.environment.name}.")

    def _replace(self, running: store.RolloutRecord, arm: release.Digest, request: DeployRequest) -> Deployed:
        book = self._loop.ledger
        promised = running.successor
        number = book.rollout_id_last + 1 if promised is None else promised.id
        following = self._tell(running, messages.ReplaceAsked(by=request.by, release=arm.short))
        book.put_rollout(dataclasses.replace(following, successor=_asked(arm, request, number)))
        book.rollout_id_last = max(book.rollout_id_last, number)
        try:
            self._loop.flush()
        except errors.SoftlaunchError:
            book.put_rollout(following)
            raise
        ending = "ends its watch window" if following.state.phase is phases.Phase.FINISHING else "makes way first"
        text = f"Rollout {running.id} ({running.candidate.short}) {ending}; then {arm.short} follows."
        return Deployed(rollout_id=number, text=text, after=running.id)

    def rollback(self, *, service: str, environment: str, to: str, by: str, reason: str = "") -> Deployed:
        """
        Goes back: ends the running rollout, or sends all traffic to an earlier release at once.

        The release that is left is pinned; only its settings are where it is the same release. What is gone back to
        runs with the settings it ran with.

        Args:
            service: The service.
            environment: Where.
            to: `previous`, or a digest, commit, tag or branch of a release that exists, or the name of an arm.
            by: Who asks.
            reason: Why, for the pin.

        Raises:
            ConfigError: nothing is live there, there is no previous release, `to` names none, a drill's, or one that is
                pinned.
            ConflictError: a rollout runs and `to` is not the release it would go back to.
        """
        place = (service, environment)
        with self._loop.lock:
            live = self._live(place)
            running = self._loop.ledger.rollouts.get(place)
            if running is not None:
                target = running.stable if to == "previous" else self._resolve_arm(to, live)
                if target != running.stable:
                    self._check_free(place)
                said = f"Rollback asked. {reason}".strip()
                following = self._tell(running, messages.AbortAsked(by=by, reason=said))
                if following.state is not running.state and not running.state.plan.drill:
                    launches.pin(self._loop.ledger, running, by=by, reason=said, now=self._loop.now())
                    self._loop.flush()
                return Deployed(rollout_id=running.id, text="The running rollout goes back to its stable release.")
            target = live.previous if to == "previous" else self._resolve_arm(to, live)
            if target is None:
                raise errors.ConfigError(
                    f"There is no previous release of {service} in {environment}.",
                    remedy="Name one: `softlaunch history` lists what was live.",
                    code=errors.Code.NO_PREVIOUS,
                )
            if target == live.stable:
                return Deployed(rollout_id=None, text=f"{target.short} is already live in {environment}.")
            self._check_exists(target)
            self._check_real(target)
            self._check_signed(target.release, live.spec)
            self._pins.check(place, target)
            assert live.stable is not None, "what is live has a stable release unless its first rollout runs"
            left = launches.to_pin(live.stable, instead_of=target)
            same = isinstance(left, release.Arm)
            commit = self._commit(place, live.stable, by_settings=same)
            request = DeployRequest(
                service=service,
                environment=arms.spec_of(self._store, live, target),
                release=target.release,
                ref=to,
                commit=self._commit(place, target, by_settings=same),
                by=by,
            )
            started = self._start(target, request, immediate=True)
            launches.pin_release(
                self._loop.ledger,
                place,
                left,
                commit=commit,
                by=by,
                reason=f"Rolled back by {by}. {reason}".strip(),
                now=self._loop.now(),
            )
            self._loop.flush()
            return started

    def retry(self, *, service: str, environment: str, by: str, lift_reason: str | None = None) -> Deployed:
        """
        Launches the release of the last rollout that was no drill again, by the plan it had.

        Args:
            service: The service.
            environment: Where.
            by: Who asks.
            lift_reason: Why a pin that stands in the way is lifted; None: it is not.

        Raises:
            ConfigError: there was no rollout, it did not end by going back, or its release is pinned.
            ConflictError: a rollout runs there.
        """
        with self._loop.lock:
            self._check_free((service, environment))
            recent = self._store.rollouts(service=service, environment=environment, limit=_RETRY_LOOKS_BACK)
            last = next((found for found in recent if not found.state.plan.drill), None)
            if last is None or last.state.phase is phases.Phase.PROMOTED:
                raise errors.ConfigError(
                    f"The last rollout of {service!r} in {environment!r} "
                    + ("was promoted: there is nothing to try again." if last else "does not exist."),
                    remedy="See `softlaunch history`; launch something with `softlaunch deploy REF`.",
                    code=errors.Code.NOT_NOW,
                )
            if lift_reason is not None and self._pins.find((service, environment), last.candidate) is not None:
                self.lift(
                    service=service, environment=environment, release=last.candidate.value, by=by, reason=lift_reason
                )
            return self.deploy(
                DeployRequest(
                    service=service,
                    environment=last.spec,
                    release=last.candidate.release,
                    ref=last.ref,
                    commit=last.commit,
                    by=by,
                )
            )

    def pins(self, service: str | None = None, environment: str | None = None) -> Sequence[store.Pin]:
        """Pins, newest first, lifted ones too."""
        return self._store.pins(service=service, environment=environment)

    def lift(self, *, service: str, environment: str, release: str, by: str, reason: str) -> store.Pin:
        """Allows a pinned release to be launched again; see pinning.Pins.lift."""
        return self._pins.lift(service=service, environment=environment, release=release, by=by, reason=reason)

    def approve(self, *, service: str, environment: str, by: str, reason: str = "") -> store.RolloutRecord:
        """
        Lets a rollout that waits for somebody go on.

        Raises:
            ConfigError: no rollout runs there, or `by` is not among those who may approve this step.
            ConflictError: it waits for no approval.
        """
        approved = self._send(service, environment, messages.ApproveAsked(by=by, reason=reason))
        if self._proofs is not None:
            now = datetime.datetime.fromtimestamp(self._loop.now(), tz=datetime.UTC)
            self._proofs.approved(
                evidence.Approval(
                    release=approved.candidate.release,
                    service=service,
                    environment=environment,
                    rollout=approved.id,
                    by=by,
                    reason=reason,
                    at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                )
            )
        return approved

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
            if isinstance(event, messages.ApproveAsked | messages.PromoteAsked):
                _check_approver(record.state, event)
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

    def _start(self, arm: release.Digest, request: DeployRequest, *, immediate: bool = False) -> Deployed:
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
        record = launches.begin(
            book,
            _asked(arm, request, book.rollout_id_last + 1),
            place=place,
            now=now,
            immediate=immediate,
            drill=request.drill,
            note=self._downtime(place, request) if live.stable is not None and not immediate else "",
        )
        try:
            self._loop.flush()
        except errors.SoftlaunchError:
            # Refused must mean that it does not start when the disk has room again.
            self._loop.withdraw(record, first=known is None, new_listener=listener is not None)
            raise
        self._loop.wake()
        return Deployed(rollout_id=record.id, text=record.state.reason)

    def _downtime(self, place: ledgers.Place, request: DeployRequest) -> str:
        """What a plan that recreates costs, said before it starts."""
        if request.environment.strategy.kind is not spec.StrategyKind.RECREATE:
            return ""
        measured = [
            found.measured["downtime_seconds"]
            for found in self._store.rollouts(service=place[0], environment=place[1], limit=20)
            if "downtime_seconds" in found.measured
        ]
        last = f"the last time {measured[0]:.1f} s" if measured else "a few seconds and the time the model loads"
        answers = "only the fallback answers" if has_fallback(request.environment) else "nobody is answered"
        return f"Downtime: until the new release is ready {answers} ({last})."

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
        if not self._registry.claim(digest.release):
            raise errors.ConfigError(
                f"The registry has no release {digest.short}.",
                remedy="Build it with `softlaunch build REF`.",
                code=errors.Code.NO_RELEASE,
            )

    def _check_secrets(self, environment: spec.EnvironmentSpec) -> None:
        """Those of variables; files and Vault are asked when a replica starts, and not before."""
        missing = secret_references.missing(environment.secrets, self._variables)
        if missing:
            raise errors.ConfigError(
                f"These environment variables are not set: {', '.join(missing)}.",
                remedy="Set them where softlaunch is started.",
                code=errors.Code.ENV_REFERENCE,
            )

    def _check_real(self, digest: release.Digest) -> None:
        if self._loop.is_drill(digest):
            raise errors.ConfigError(
                f"{digest.short} is a drill release: it carries a fault on purpose and is for no user.",
                remedy="Launch the release it was made of; plant faults with `softlaunch drill` alone.",
                code=errors.Code.DRILL_RELEASE,
            )

    def _check_signed(self, digest: release.Digest, environment: spec.EnvironmentSpec) -> None:
        if self._proofs is not None:
            self._proofs.require(digest, environment.evidence)

    def _passed(self, service: str, environment: str, digest: release.Digest) -> bool:
        place = (service, environment)
        live = self._loop.ledger.lives.get(place)
        verified = live is not None and live.spec.verify is not None
        known = () if live is None or verified else (live.stable, live.previous)
        if any(arm is not None and arm.release == digest for arm in known):
            return True
        running = self._loop.ledger.rollouts.get(place)
        ended = self._store.rollouts(service=service, environment=environment, release=digest, limit=1_000)
        return any(
            found.candidate.release == digest
            and found.state.phase in (phases.Phase.FINISHING, phases.Phase.PROMOTED)
            # An operator's rollback asks for no evidence: what it makes live has passed only if it did before.
            and not (verified and found.state.plan.immediate)
            for found in ([running, *ended] if running is not None else ended)
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

    def _resolve_arm(self, to: str, live: store.LiveRecord) -> release.Digest:
        name, number = release.split_number(to)
        if number is None or self._registry.resolve(to, service=live.service) is not None:
            digest = self._resolve(to, live.service)
            found = arms.as_it_was(self._store, live, digest, called=to)
            place = (live.service, live.environment)
            return found or arms.of(self._loop.ledger, self._store, place, digest, arms.rendered(live.spec))
        arm = release.arm(self._resolve(name, live.service), number)
        if arm != live.stable and arms.brought(self._store, (live.service, live.environment), arm) is None:
            raise errors.ConfigError(
                f"{arm.short} was never live in {live.environment!r}.",
                remedy="`softlaunch history` lists what was.",
                code=errors.Code.NO_RELEASE,
            )
        return arm

    def _commit(self, place: ledgers.Place, arm: release.Digest, *, by_settings: bool) -> str:
        """The commit the arm stands for: where settings alone differ, the one that was launched with them."""
        found = arms.brought(self._store, place, arm) if by_settings else None
        lineage = self._registry.lineage(arm.release)
        return found.commit if found is not None else lineage[-1].commit if lineage else ""


def _asked(arm: release.Digest, request: DeployRequest, number: int) -> store.Successor:
    return store.Successor(
        id=number,
        release=arm,
        spec=request.environment,
        ref=request.ref,
        commit=request.commit,
        requested_by=request.by,
    )


def has_fallback(environment: spec.EnvironmentSpec) -> bool:
    return bool(environment.fallbacks) or environment.fallback_body is not None


def _check_approver(state: phases.State, event: messages.ApproveAsked | messages.PromoteAsked) -> None:
    step = approvals.barred(state, event)
    if step is not None:
        raise errors.ConfigError(
            f"{event.by} may not approve this step.",
            remedy=f"It waits for {' or '.join(step.approvers)}; `softlaunch abort` needs no approval.",
            code=errors.Code.NOT_APPROVER,
        )


def _standing(state: phases.State) -> str:
    words: list[str] = [state.phase.value.replace("_", " ")]
    if state.phase is phases.Phase.STEPPING:
        share = phases.desired(state).candidate_weight / 100
        words.append(f"at {share:g} %, step {state.step + 1} of {len(state.plan.steps)}")
    if state.paused:
        words.append("(paused)")
    if state.hold is not None:
        words.append("(held)")
    return " ".join(words)
