"""
Following repositories: each environment with a branch becomes what its branch says, and stays it.

    every so often, or when a webhook, `sync` or the end of a pipeline says so
        look      ask the server, bring the copy up to date           (a thread: it may take its time)
        settle    for each environment core.gitops decides:
                    due      a checkout is made (a thread), then `softlaunch ship` started, a process of its own
                    pinned   a revert is written and pushed           (a thread)
                    else     said, and nothing is done

A server that cannot be reached changes nothing here: what was seen last still counts, what runs goes on, and rollbacks
need no Git at all. This part only ever asks for launches; whether a release may be launched is for controller.commands,
which refuses what is pinned.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import threading
from collections.abc import Callable

import structlog

from softlaunch import errors
from softlaunch.controller import (
    follow_facts,
    follow_locks,
    follow_look,
    follow_reverts,
    follow_state,
    follow_work,
)
from softlaunch.controller import loop as loops
from softlaunch.core import gitops
from softlaunch.ports import locker as lockers
from softlaunch.ports import registry as registries
from softlaunch.ports import shipper
from softlaunch.ports import store as stores

LOG = structlog.get_logger()
KIND = "git"
"""Of history records."""
_TOLD = (gitops.Standing.HELD, gitops.Standing.FAILED, gitops.Standing.PINNED, gitops.Standing.ROLLED_BACK)
_COMMIT_LENGTH_MIN = 7


class Following:
    """
    Follows what is to be followed.

    Args:
        loop: What is live; takes history records.
        store: Keeps the follows.
        registry: Which release a commit became.
        shipper: Runs pipelines.
        locker: Keeps locks up to date.
        open_space: Opens a follow's repository; raises ConfigError for an address that cannot be one.
        read_service: Parses softlaunch.yaml.
        executor: For what may wait for a network.
    """

    def __init__(
        self,
        *,
        loop: loops.ControlLoop,
        store: stores.Store,
        registry: registries.Registry,
        shipper: shipper.Shipper,
        locker: lockers.Locker,
        open_space: Callable[[follow_state.Follow], follow_work.Workspace],
        read_service: follow_look.ReadService,
        executor: concurrent.futures.Executor,
    ) -> None:
        self._loop = loop
        self._shipper = shipper
        self._open = open_space
        self._read = read_service
        self._executor = executor
        self._locks = follow_locks.LockUpdates(locker, executor)
        self._observer = follow_facts.Observer(loop=loop, store=store, registry=registry)
        self._follows = follow_state.Follows(store)
        self._lock = threading.RLock()
        self._works: dict[str, follow_work.Work] = {}

    # ------------------------------------------------------------------------------------------ what may be asked

    def put(self, follow: follow_state.Follow) -> None:
        """
        Follows a repository from now on; one that is followed already is followed as it says now.

        Raises:
            ConfigError: the address cannot be one.
            UnavailableError: it could not be written down.
        """
        with self._lock:
            before = self._works.get(follow.service)
            state = follow_state.State()
            if before is not None and (before.follow.url, before.follow.folder) == (follow.url, follow.folder):
                state = before.state
            space = self._open(follow)
            self._follows.put(follow, state)
            if before is not None:
                before.space.close()
            self._works[follow.service] = follow_work.Work(follow=follow, space=space, state=state)

    def remove(self, service: str) -> None:
        """
        Follows no more; what runs goes on running.

        Raises:
            ConfigError: the service follows no repository.
            UnavailableError: it could not be written down.
        """
        with self._lock:
            self._follows.remove(service)
            work = self._works.pop(service, None)
            if work is not None:
                work.space.close()

    def sync(self, service: str | None = None, *, accept: str = "") -> list[str]:
        """
        Has the servers asked now, and what failed tried again; never what is pinned.

        Args:
            service: Which; None: all.
            accept: A commit that is followed although its branch was rewritten or it carries no signature.

        Returns:
            The services.

        Raises:
            ConfigError: the service follows nothing, or no environment waits for that commit.
        """
        with self._lock:
            follows = (self._follows.get(service),) if service is not None else self._follows.all()
            works = [self._work(follow) for follow in follows]
            if accept:
                self._accept(works, accept)
            for work in works:
                work.due_at = 0.0
                work.state.attempts = {
                    name: found for name, found in work.state.attempts.items() if found.exit_code in (None, 0)
                }
            return [work.follow.service for work in works]

    def poke(self) -> list[str]:
        """Has the servers asked now, without trying again what failed; returns the services."""
        with self._lock:
            works = [self._work(follow) for follow in self._follows.all()]
            for work in works:
                work.due_at = 0.0
            return [work.follow.service for work in works]

    def everything(
        self,
    ) -> list[tuple[follow_work.Work, list[tuple[follow_state.Target, gitops.Facts, gitops.Decision]]]]:
        """What each follow says now, environment by environment; for views."""
        with self._lock:
            now = self._loop.now()
            works = [self._work(follow) for follow in self._follows.all()]
            return [
                (work, [(target, *self._decide(work, target, now)) for target in work.state.targets.values()])
                for work in works
            ]

    # -------------------------------------------------------------------------------------------------- the turn

    def turn(self) -> None:
        """Takes what has ended, begins what is due; never waits for a network."""
        with self._lock:
            now = self._loop.now()
            ended = self._shipper.ended()
            for follow in self._follows.all():
                work = self._work(follow)
                settle = sum(self._shipped(work, found, now) for found in ended) > 0
                self._start_checked_out(work, now)
                self._take_reverts(work)
                if work.looking is not None and work.looking.done():
                    self._take_look(work, now)
                    settle = True
                if settle:
                    self._settle(work, now)
                if told := self._locks.turn(work, now):
                    for target in work.state.targets.values():
                        if target.branch == work.follow.update_lock:
                            self._note(work, target.environment, told, now)
                if work.looking is None and now >= work.due_at:
                    self._look(work, now)
                self._save(work)

    def close(self) -> None:
        """Ends what is done for any of them."""
        self._locks.close()
        with self._lock:
            for work in self._works.values():
                work.space.close()

    # ---------------------------------------------------------------------------------------------------- looking

    def _work(self, follow: follow_state.Follow) -> follow_work.Work:
        work = self._works.get(follow.service)
        if work is None:
            state = self._follows.state(follow.service)
            work = follow_work.Work(follow=follow, space=self._open(follow), state=state)
            self._works[follow.service] = work
        return work

    def _look(self, work: follow_work.Work, now: float) -> None:
        work.due_at = now + work.follow.every_seconds
        question = follow_look.Question(
            follow=work.follow,
            branches=dict(work.state.branches),
            allowed=frozenset(work.state.allowed),
            before=work.seen,
        )
        commits = {pin.commit for pin in self._observer.pins(work.follow.service)} - set(work.trees)
        place, trees = work.space.copy, work.trees

        def job() -> follow_look.Seen:
            found = follow_look.look(question, place, self._read)
            for target in found.targets:
                if target.commit and not target.trouble and found is not question.before:
                    place.keep(target.branch, target.commit)
            trees.update({commit: tree for commit in commits if commit and (tree := place.tree(commit))})
            return found

        work.looking = self._executor.submit(job)

    def _take_look(self, work: follow_work.Work, now: float) -> None:
        assert work.looking is not None
        looked, work.looking, state = work.looking, None, work.state
        state.polled_at = now
        try:
            seen = looked.result()
        except errors.SoftlaunchError as error:
            if state.unreachable_since is None:
                state.unreachable_since = now
                LOG.warning("git_unreachable", service=work.follow.service, reason=error.message)
            state.trouble = error.message
            return
        if state.unreachable_since is not None:
            LOG.info("git_reachable", service=work.follow.service, seconds=now - state.unreachable_since)
        state.unreachable_since, state.trouble, work.seen = None, seen.trouble, seen
        if seen.trouble:
            return
        state.targets = {target.environment: target for target in seen.targets}
        for target in seen.targets:
            before = state.branches.get(target.branch, follow_state.Branch())
            state.branches[target.branch] = follow_state.Branch(
                accepted=before.accepted if target.trouble else target.commit,
                tip=target.commit,
                seen_at=before.seen_at if before.tip == target.commit else now,
            )

    def _accept(self, works: list[follow_work.Work], accept: str) -> None:
        for work in works:
            for target in work.state.targets.values():
                if len(accept) >= _COMMIT_LENGTH_MIN and target.trouble and target.commit.startswith(accept):
                    work.state.allowed.append(target.commit)
                    work.seen = None
                    return
        raise errors.ConfigError(
            f"No branch is held at a commit {accept!r:.60}.",
            remedy="`softlaunch sync --status` shows which are, and why.",
            code=errors.Code.UNKNOWN_REF,
        )

    # --------------------------------------------------------------------------------------------------- settling

    def _settle(self, work: follow_work.Work, now: float) -> None:
        for target in work.state.targets.values():
            facts, decision = self._decide(work, target, now)
            self._tell(work, target, decision, now)
            if decision.ship:
                self._begin(work, target)
            elif decision.pin is not None and facts.running is not None:
                self._revert(work, target, decision.pin, facts.running, now)

    def _decide(
        self, work: follow_work.Work, target: follow_state.Target, now: float
    ) -> tuple[gitops.Facts, gitops.Decision]:
        service = work.follow.service
        arrived = [
            name for name, each in work.pipelines().items() if self._observer.entering(service, name, each.commit)
        ]
        busy = follow_work.busy(work, target, arrived)
        facts = self._observer.facts(service, target, work.state, trees=work.trees, busy=busy)
        return facts, gitops.decide(facts, now)

    def _tell(self, work: follow_work.Work, target: follow_state.Target, decision: gitops.Decision, now: float) -> None:
        mark = f"{decision.standing} {target.commit}"
        if work.state.told.get(target.environment) == mark:
            return
        work.state.told[target.environment] = mark
        if decision.standing in _TOLD:
            self._note(work, target.environment, f"Git, {decision.standing}: {decision.reason}", now)

    def _note(self, work: follow_work.Work, environment: str, text: str, now: float) -> None:
        with self._loop.lock:
            self._loop.ledger.note((work.follow.service, environment), at=now, rollout_id=None, kind=KIND, text=text)

    # --------------------------------------------------------------------------------------------------- pipelines

    def _begin(self, work: follow_work.Work, target: follow_state.Target) -> None:
        before = work.state.attempts.get(target.environment)
        again = before is not None and before.commit == target.commit
        count = before.count + 1 if before is not None and again else 1
        release = before.release if before is not None and again else ""
        attempt = gitops.Attempt(commit=target.commit, count=count, release=release)
        work.state.attempts[target.environment] = attempt
        place = work.space.copy
        work.checking_out[target.environment] = self._executor.submit(
            place.checkout, target.environment, branch=target.branch, commit=target.commit
        )

    def _start_checked_out(self, work: follow_work.Work, now: float) -> None:
        for environment, checkout in list(work.checking_out.items()):
            if not checkout.done():
                continue
            del work.checking_out[environment]
            attempt = work.state.attempts[environment]
            order = shipper.Order(
                service=work.follow.service, environment=environment, commit=attempt.commit, checkout=pathlib.Path()
            )
            try:
                self._shipper.start(dataclasses.replace(order, checkout=checkout.result()))
                LOG.info("git_ships", service=order.service, environment=environment, commit=order.commit)
            except errors.SoftlaunchError as error:
                failed = shipper.Shipped(order=order, exit_code=4, release="", text=error.message)
                self._shipped(work, failed, now)

    def _shipped(self, work: follow_work.Work, found: shipper.Shipped, now: float) -> bool:
        """Whether that pipeline was this follow's."""
        attempt = work.state.attempts.get(found.order.environment)
        if found.order.service != work.follow.service or attempt is None or attempt.commit != found.order.commit:
            return False
        work.state.attempts[found.order.environment] = dataclasses.replace(
            attempt,
            exit_code=found.exit_code,
            release=found.release or attempt.release,
            text=found.text,
            ended_at=now,
            left=self._observer.answering(work.follow.service, found.order.environment),
        )
        LOG.info(
            "git_shipped",
            service=found.order.service,
            environment=found.order.environment,
            commit=found.order.commit,
            exit_code=found.exit_code,
            text=found.text,
        )
        return True

    # ---------------------------------------------------------------------------------------------------- reverts

    def _revert(
        self,
        work: follow_work.Work,
        target: follow_state.Target,
        pin: gitops.Pinned,
        running: gitops.Running,
        now: float,
    ) -> None:
        if work.follow.on_rollback is gitops.OnRollback.PIN or work.state.unreachable_since is not None:
            return
        if running.arm == pin.arm if pin.arm else running.release == pin.release:
            return  # there is nothing that was gone back to
        pins = self._observer.pins(work.follow.service, target.environment)
        means = (found for found in pins if (found.release.value, found.commit) == (pin.release, pin.commit))
        at = next((found.at for found in means), now)
        task = follow_reverts.Task(
            branch=target.branch,
            tip=target.commit,
            pin=pin,
            at=at,
            good=tuple(self._observer.good_commits((work.follow.service, target.environment), running, pin)),
            mode=work.follow.on_rollback,
        )
        if task.key in work.reverting or not follow_reverts.wanted(work.state.reverts.get(task.key), now):
            return
        reverts = work.space.reverts
        work.reverting[task.key] = self._executor.submit(follow_reverts.write, task, reverts, now=now)

    def _take_reverts(self, work: follow_work.Work) -> None:
        for key, future in list(work.reverting.items()):
            if not future.done():
                continue
            del work.reverting[key]
            found = future.result()
            work.state.reverts[key] = found
            if found.state == "pushed":
                work.state.allowed.append(found.commit)
                work.due_at, work.seen = 0.0, None  # as of locks: it may have been seen before it was known
            if found.state != "pending":
                branch = key.partition(" ")[0]
                for target in work.state.targets.values():
                    if target.branch == branch:
                        self._note(work, target.environment, found.text, found.tried_at)

    def _save(self, work: follow_work.Work) -> None:
        document = {**work.state.document(), "polled_at": 0.0}
        if document != work.saved:
            self._follows.save(work.follow.service, work.state)
            work.saved = document
