"""
The control loop: look, decide, write down, make it so; fifty times a second while something is being launched.

Order matters. Evidence is read before deciding; a decision is written down, with its evidence, before it is carried
out; carrying out starts from the saved state alone. Killed between any two of these, the next control plane reads the
same lines again, decides the same and carries it out. Only the way back does not wait for the disk: when the state
cannot be written, a rollback is applied all the same.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Mapping

import structlog

from softlaunch import errors
from softlaunch.controller import analysis as analyses
from softlaunch.controller import checks as checking
from softlaunch.controller import desired, fallback_watch, history, launches, ledger, replicas, verification
from softlaunch.controller import shelf as shelves
from softlaunch.core import release
from softlaunch.core.rollout import judge_history, machine, messages, phases, traffic
from softlaunch.ports import archive as archives
from softlaunch.ports import checks as check_ports
from softlaunch.ports import clock as clocks
from softlaunch.ports import fleet as fleets
from softlaunch.ports import gateway as gateways
from softlaunch.ports import spool as spools
from softlaunch.ports import store as stores

LOG = structlog.get_logger()

FLUSH_SECONDS = 0.25
"""Evidence alone is written this often; a decision at once. What is not written is read again after a crash."""
HISTORY_TRIALS_MAX = 1_000_000
EJECTION_SECONDS = 0.5
REAPPLY_SECONDS = 1.0
"""What the gateway believes is checked against the saved state this often, changed or not."""
REVIVE_SECONDS = 0.1
"""Whether the gateway still runs is looked at this often: while it does not, nobody is answered."""
ARCHIVED_ROLLOUTS = 200
"""The evidence of so many rollouts is kept to be recomputed; a guess: 64 MiB each at the most."""
JUDGED_SECONDS = 1.0
"""The machine hears of the evidence this often even when nothing new came: steps that last a stated time end so."""
START_SECONDS_MAX = 300.0
"""A candidate that is not ready by then has failed; environments are built before, so this is model loading."""


class ControlLoop:
    """Owns the ledger; everything that reads or writes it holds `lock`."""

    def __init__(
        self,
        *,
        store: stores.Store,
        gateway: gateways.Gateway,
        fleet: fleets.Fleet,
        shelf: shelves.Shelf,
        verifying: verification.Neighbours,
        clock: clocks.Clock,
        archive: archives.Archive,
        checks: check_ports.Checks,
        spool: spools.Spool,
        executor: concurrent.futures.Executor | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.ledger = ledger.Ledger(store)
        self._gateway = gateway
        self._fleet = fleet
        self._shelf = shelf
        self._clock = clock
        self._archive = archive
        self._checks = checks
        self._spool = spool
        self._askers: dict[int, checking.Runner] = {}
        self._ended: set[tuple[str, int]] = set()
        """Replicas (name, pid) whose end was told already."""
        self.fallbacks = fallback_watch.FallbackWatch()
        self._keeper = replicas.Keeper(fleet)
        self._woken = threading.Event()
        self._executor = executor or concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="ask")
        # Threads of their own: a load test takes one for minutes, and a team's checks must not wait for it.
        self._verifier = verification.Verifier(
            shelf, verifying, executor or concurrent.futures.ThreadPoolExecutor(16, thread_name_prefix="verify")
        )
        self._histories = {
            place: judge_history.ArmHistory.from_json(live.history)
            for place, live in self.ledger.lives.items()
            if live.history
        }
        self.analyses: dict[int, analyses.Analysis] = {
            record.id: analyses.Analysis.restore(record, store.keys(record.id), archive)
            for record in self.ledger.rollouts.values()
            if record.evidence  # none was written while nothing had happened
        }
        self._judged_at: dict[int, float] = {}
        self._flushed_at = 0.0
        self._flushed_cursor = self.ledger.cursor
        self._ejection_at = 0.0
        self._applied_at = 0.0
        self._revived_at = 0.0
        self._losing = False
        self._applied: traffic.RoutingSnapshot | None = None
        self._troubles: set[str] = set()
        self._has_settled = False
        self.statuses: Mapping[str, fleets.ReplicaStatus] = {}

    def now(self) -> float:
        return self._clock.now()

    def is_drill(self, digest: release.Digest) -> bool:
        """Whether the release carries an injected fault; it is unpacked for that."""
        return self._shelf.take(digest)[1].drill is not None

    def wake(self) -> None:
        """The next tick comes at once."""
        self._woken.set()

    def wait(self, seconds: float) -> None:
        """Returns when woken, or after `seconds`."""
        self._woken.wait(seconds)
        self._woken.clear()

    @property
    def busy(self) -> bool:
        """A rollout runs: ticks should come often."""
        return bool(self.ledger.rollouts)

    @property
    def settled(self) -> bool:
        """
        Since the loop began the gateway has believed the saved state, and every stable replica been ready or failed.

        Once true it stays so: whoever wants to go back from what does not start must find somebody who listens.
        """
        with self.lock:
            self._has_settled = self._has_settled or self._is_settled()
            return self._has_settled

    def _is_settled(self) -> bool:
        if self._applied is None or self._troubles:
            return False
        wanted = desired.replicas(list(self.ledger.lives.values()), self.ledger.rollouts, now=self._clock.now())
        for live in self.ledger.lives.values():
            if live.stable is None:
                continue
            names = [each.name for each in desired.arm_specs(live, live.stable, live.spec)]
            if not wanted.keys() & names:  # its successor was recreated in its place, and is being watched
                successor = self.ledger.rollouts[live.service, live.environment]
                names = [each.name for each in desired.arm_specs(live, successor.candidate, successor.spec)]
            for name in names:
                status = self.statuses.get(name)
                if status is None or status.phase is fleets.ReplicaPhase.STARTING:
                    return False
        return True

    def tick(self) -> None:
        """One turn of the loop."""
        with self.lock:
            now = self._clock.now()
            self.statuses = {status.name: status for status in self._fleet.observe()}
            self._read()
            self._progress(now)
            written = self._write(now)
            self._apply(written=written)

    def advance(self, record: stores.RolloutRecord, event: messages.Event) -> stores.RolloutRecord:
        """The rollout after an event, in the ledger but not flushed; the very same record when nothing changed."""
        now = self._clock.now()
        step = machine.advance(record.state, event, now=now)
        if step.state is record.state:
            return record
        place = (record.service, record.environment)
        live = self.ledger.lives[place]
        following = ledger.advanced(record, step, now=now)
        analysis = self._analysis(record)
        routing = desired.routing(live, following)
        if routing != desired.routing(live, record):
            live = dataclasses.replace(live, epoch=desired.epoch_after(live.epoch, record.spec))
            analysis.begin_epochs(routing.shares(live.epoch, record.spec))
        if step.state.phase is phases.Phase.FINISHING:
            saved = analysis.candidate_history().to_json()
            # A copy: the analysis goes on counting for itself.
            self._histories[place] = judge_history.ArmHistory.from_json(saved)
            live = dataclasses.replace(
                live,
                stable=record.candidate,
                previous=record.stable,
                previous_spec=live.spec if record.stable is not None else None,
                spec=record.spec,
                history=saved,
            )
        if step.state.phase is phases.Phase.PROMOTED and not step.state.plan.immediate:
            live = dataclasses.replace(live, warm_until=now + record.spec.strategy.warm_seconds)
        if live is not self.ledger.lives[place]:
            self.ledger.put_live(live)
        if (step.state.phase, step.state.step) != (record.state.phase, record.state.step):
            analysis.begin_step(now)
        measured = getattr(event, "measured", None)
        if measured:
            analysis.verified(measured)
        if step.state.phase is not phases.Phase.VERIFYING or step.state.paused or step.state.hold is not None:
            self._verifier.stop(record.id)
        if isinstance(event, messages.Judged):
            analysis.decided(now, phase=step.state.phase.value, step=step.state.step, reason=step.state.reason)
        self._save(following, analysis)
        following = self.ledger.rollouts.get(place, following)
        self.ledger.announce(
            following,
            history.told(step, record),
            at=now,
            by=getattr(event, "by", ""),
            measured=measured,
        )
        if machine.is_final(step.state):
            self._close(following, now)
        return following

    def _save(self, record: stores.RolloutRecord, analysis: analyses.Analysis) -> None:
        evidence, measured, keys = analysis.save()
        self.ledger.put_rollout(dataclasses.replace(record, evidence=evidence, measured=measured))
        self.ledger.put_keys(record.id, keys)

    def _close(self, record: stores.RolloutRecord, now: float) -> None:
        """A rollout has ended: what failed is pinned, what waited begins."""
        self.analyses.pop(record.id, None)
        self._judged_at.pop(record.id, None)
        self._askers.pop(record.id, None)
        if record.state.phase is phases.Phase.ROLLED_BACK and not record.state.plan.drill:
            launches.pin(self.ledger, record, by="softlaunch", reason=record.state.reason, now=now)
        self._archive.delete(record.id - ARCHIVED_ROLLOUTS)
        if record.successor is not None:
            launches.begin_successor(self.ledger, record.successor, place=(record.service, record.environment), now=now)

    def flush(self) -> None:
        """
        Writes the ledger, with the evidence as it is now.

        Raises:
            UnavailableError: it could not be written; it stays pending.
        """
        for record in tuple(self.ledger.rollouts.values()):
            analysis = self._analysis(record)
            if analysis.changed:
                self._save(record, analysis)
        for live in tuple(self.ledger.lives.values()):
            # With the cursor, like all evidence: saved less often, a crash would lose what lies between the two.
            stable = self._history(live)
            if stable is not None and stable.trials != live.history.get("trials", 0):
                self.ledger.put_live(dataclasses.replace(live, history=stable.to_json()))
        self.ledger.flush()
        self._flushed_at = self._clock.now()
        self._flushed_cursor = self.ledger.cursor

    def withdraw(self, record: stores.RolloutRecord, *, first: bool, new_listener: bool) -> None:
        """Forgets a rollout that could not be written down when it was to begin; see Ledger.withdraw."""
        self.analyses.pop(record.id, None)
        self.ledger.withdraw(record, first=first, new_listener=new_listener)

    # ------------------------------------------------------------------------------------------------------- look

    def _read(self) -> None:
        batch = self._gateway.read_attempts(self.ledger.cursor)
        watched = {
            place: (
                self._history(live),
                self._analysis(self.ledger.rollouts[place]) if place in self.ledger.rollouts else None,
            )
            for place, live in self.ledger.lives.items()
        }
        for attempt in batch.attempts:
            stable, analysis = watched.get((attempt.service, attempt.environment), (None, None))
            if stable is not None:
                stable.observe(attempt)
            if analysis is not None:
                analysis.observe(attempt)
        for copy in batch.copies:
            _, analysis = watched.get((copy.service, copy.environment), (None, None))
            if analysis is not None:
                analysis.observe_copy(copy)
        self._tell_fallbacks(batch.fallbacks)
        self.ledger.put_cursor(batch.cursor)
        if batch.gap is not None:
            if not self._losing:  # a full disk loses some at every turn
                LOG.warning("attempts_lost", reason=batch.gap)
            for record in tuple(self.ledger.rollouts.values()):
                self.advance(record, messages.EvidenceLost(reason=batch.gap))
        self._losing = batch.gap is not None

    def _tell_fallbacks(self, counts: Mapping[ledger.Place, int]) -> None:
        now = self._clock.now()
        self.fallbacks.observe(counts, now)
        for place, count in counts.items():
            record = self.ledger.rollouts.get(place)
            if record is not None:
                self._analysis(record).count_fallbacks(count)
        for place, text in self.fallbacks.due(now):
            record = self.ledger.rollouts.get(place)
            number = record.id if record is not None else None
            self.ledger.note(place, at=now, rollout_id=number, kind=fallback_watch.KIND, text=text)

    def _history(self, live: stores.LiveRecord) -> judge_history.ArmHistory | None:
        """Stable's own record; it starts anew when it is so long that it speaks of the past."""
        if live.stable is None:
            return None
        place = (live.service, live.environment)
        found = self._histories.get(place)
        if found is None or found.release != live.stable.short or found.trials > HISTORY_TRIALS_MAX:
            found = self._histories[place] = judge_history.ArmHistory(release=live.stable.short)
        return found

    def _analysis(self, record: stores.RolloutRecord) -> analyses.Analysis:
        found = self.analyses.get(record.id)
        if found is None:
            found = analyses.Analysis.start(
                record, self._history(self.ledger.lives[record.service, record.environment]), self._archive
            )
            self.analyses[record.id] = found
        return found

    # ----------------------------------------------------------------------------------------------------- decide

    def _progress(self, now: float) -> None:
        for record in tuple(self.ledger.rollouts.values()):
            current = record
            for event in self._events(current, now):
                current = self.advance(current, event)
        if now - self._ejection_at >= EJECTION_SECONDS and self.ledger.rollouts:
            self._ejection_at = now
            self._look_at_fuse()

    def _events(self, record: stores.RolloutRecord, now: float) -> list[messages.Event]:
        found: list[messages.Event] = []
        match record.state.phase:
            case phases.Phase.STOPPING:
                if self._stable_stopped(record):
                    found.append(messages.StableStopped())
            case phases.Phase.PREPARING:
                event = self._readiness(record, now)
                if event is not None:
                    found.append(event)
            case phases.Phase.VERIFYING:
                event = self._verification(record)
                if event is not None:
                    found.append(event)
            case phases.Phase.STEPPING | phases.Phase.WATCHING:
                analysis = self._analysis(record)
                self._read_shadow(record, analysis, now)
                answered = self._asker(record, analysis).turn(now)
                self._look_for_kills(record, analysis)
                found.append(analysis.outage())
                if answered or analysis.fresh or now - self._judged_at.get(record.id, 0.0) >= JUDGED_SECONDS:
                    self._judged_at[record.id] = now
                    found.append(analysis.judged(now, step=record.state.step))
        found.append(messages.Ticked())
        return found

    def _read_shadow(self, record: stores.RolloutRecord, analysis: analyses.Analysis, now: float) -> None:
        if not phases.desired(record.state).shadow_weight or record.stable is None:
            return
        live = self.ledger.lives[record.service, record.environment]
        analysis.shadow(record, self._spool, epoch=desired.shadow_epoch(live.epoch, record.spec), now=now)

    def _asker(self, record: stores.RolloutRecord, analysis: analyses.Analysis) -> checking.Runner:
        found = self._askers.get(record.id)
        if found is None:
            names = {
                "service": record.service,
                "environment": record.environment,
                "candidate": record.candidate.short,
                "stable": record.stable.short if record.stable else "",
            }
            found = self._askers[record.id] = checking.Runner(self._checks, analysis.checks, names, self._executor)
        return found

    def _look_for_kills(self, record: stores.RolloutRecord, analysis: analyses.Analysis) -> None:
        """Tells the judge of processes that were killed; the kernel's killer leaves no other mark."""
        live = self.ledger.lives[record.service, record.environment]
        for digest, from_candidate in ((record.candidate, True), (record.stable, False)):
            if digest is None:
                continue
            prefix = desired.replica_name(live, digest, 0).removesuffix("0")
            for name, status in self.statuses.items():
                if status.phase is not fleets.ReplicaPhase.FAILED or not name.startswith(prefix):
                    continue
                if "SIGKILL" in status.detail and (name, status.pid) not in self._ended:
                    self._ended.add((name, status.pid))
                    analysis.observe_kill(from_candidate=from_candidate)

    def _stable_stopped(self, record: stores.RolloutRecord) -> bool:
        """Whether the last process of the old release has ended; one that was not asked to is still observed."""
        if record.stable is None:
            return True
        live = self.ledger.lives[record.service, record.environment]
        names = {found.name for found in desired.arm_specs(live, record.stable, live.spec)}
        return not names & (self._fleet.stopping() | self.statuses.keys())

    def _readiness(self, record: stores.RolloutRecord, now: float) -> messages.Event | None:
        live = self.ledger.lives[record.service, record.environment]
        names = [found.name for found in desired.arm_specs(live, record.candidate, record.spec)]
        statuses = [self.statuses[name] for name in names if name in self.statuses]
        broken = next((found for found in statuses if found.phase is fleets.ReplicaPhase.FAILED), None)
        if broken is not None:
            return messages.CandidateFailed(reason=broken.detail)
        if len(statuses) == len(names) and all(found.phase is fleets.ReplicaPhase.READY for found in statuses):
            return messages.CandidateReady()
        if now - record.state.entered_at > START_SECONDS_MAX:
            return messages.CandidateFailed(reason=f"It was not ready after {START_SECONDS_MAX:g} s.")
        return None

    def _verification(self, record: stores.RolloutRecord) -> messages.Event | None:
        live = self.ledger.lives[record.service, record.environment]
        names = [found.name for found in desired.arm_specs(live, record.candidate, record.spec)]
        sockets = [self.statuses[name].socket for name in names if name in self.statuses]
        if len(sockets) < len(names):
            return None
        lives = {
            environment: found
            for (service, environment), found in self.ledger.lives.items()
            if service == record.service
        }
        return self._verifier.event(record, sockets, lives)

    def verifying(self, record: stores.RolloutRecord) -> str:
        """How far the verification of a rollout is, for people; empty when none runs."""
        return self._verifier.progress(record.id)

    def stop_verifying(self) -> None:
        """Ends what verifications have started; each begins again when the loop goes on."""
        with self.lock:
            self._verifier.stop_all()

    def _look_at_fuse(self) -> None:
        try:
            ejected = self._gateway.ejected()
        except errors.UnavailableError as error:
            self._trouble("gateway", str(error))
            return
        for record in tuple(self.ledger.rollouts.values()):
            if not phases.desired(record.state).candidate_reached:
                continue
            prefix = f"{record.service}/{record.environment}/{record.candidate.short}/"
            sockets = {status.socket for name, status in self.statuses.items() if name.startswith(prefix)}
            out = bool(sockets) and sockets <= ejected
            self.advance(record, messages.Ejected() if out else messages.Readmitted())

    # ------------------------------------------------------------------------------------------------- write, apply

    def _write(self, now: float) -> bool:
        if not self.ledger.urgent and now - self._flushed_at < FLUSH_SECONDS:
            return True
        try:
            self.flush()
        except errors.SoftlaunchError as error:  # a full disk, or a bug of ours: neither may stop a rollback
            self._trouble("store", str(error))
            return False
        self._relief("store")
        return True

    def _apply(self, *, written: bool) -> None:
        wanted = desired.replicas(tuple(self.ledger.lives.values()), self.ledger.rollouts, now=self._clock.now())
        if written:
            self._keeper.keep(wanted, self.statuses, now=self._clock.now())
        snapshot = desired.snapshot(
            tuple(self.ledger.lives.values()),
            self.ledger.rollouts,
            self.statuses,
            {
                record.id: self._analysis(record).tuning()
                for record in self.ledger.rollouts.values()
                if phases.desired(record.state).candidate_reached
            },
            self.ledger.listeners,
        )
        if not written:
            if self._applied is None:
                return
            snapshot = desired.only_back(snapshot, self._applied)
        now = self._clock.now()
        due = snapshot != self._applied or now - self._applied_at >= REAPPLY_SECONDS
        try:
            if due or now - self._revived_at >= REVIVE_SECONDS:
                self._revived_at = now
                due = self._gateway.ensure_running() or due
            if due:
                # Before the first copy is made: of a pair that began earlier only one half would be read.
                for record in tuple(self.ledger.rollouts.values()):
                    self._read_shadow(record, self._analysis(record), now)
                self._gateway.apply(snapshot)
        except (errors.UnavailableError, errors.ConflictError) as error:
            self._trouble("gateway", str(error))
            for record in tuple(self.ledger.rollouts.values()):
                self.advance(record, messages.GatewayRefused(reason=str(error)))
            return
        if due:
            self._applied_at = now
            if snapshot != self._applied:
                self._applied = snapshot
                self._confirm_routes()
        self._relief("gateway")
        for record in tuple(self.ledger.rollouts.values()):
            self.advance(record, messages.GatewayAccepted())
        if written:
            self._gateway.release_log(self._flushed_cursor)

    def _confirm_routes(self) -> None:
        """The gateway believes new routes: what was waiting for that has happened now."""
        now = self._clock.now()
        for record in self.ledger.rollouts.values():
            analysis = self._analysis(record)
            match record.state.phase:
                case phases.Phase.STOPPING:
                    analysis.down(now)
                case phases.Phase.RETURNING:
                    analysis.returned(now)
                    analysis.up(now)
                case phases.Phase.WATCHING | phases.Phase.FINISHING:
                    analysis.up(now)

    def _trouble(self, what: str, detail: str) -> None:
        """Says a trouble once, where it is handled; `_relief` ends it."""
        if what not in self._troubles:
            self._troubles.add(what)
            LOG.error("trouble", what=what, detail=detail)

    def _relief(self, what: str) -> None:
        if what in self._troubles:
            self._troubles.discard(what)
            LOG.info("trouble_over", what=what)
