"""A git server, a simulated machine and what follows the one on the other, in virtual time."""

from __future__ import annotations

import concurrent.futures
import pathlib
from collections.abc import Callable
from typing import Any

from softlaunch import errors
from softlaunch.config import service_file
from softlaunch.controller import commands, follow_state, follow_views, follow_work, following
from softlaunch.core import gitops, release, spec
from softlaunch.ports import locker, shipper
from softlaunch.testing import locker as lockers
from softlaunch.testing import repository, simulator, virtual_traffic
from softlaunch.testing import shipper as shippers

YAML = b"""
service: demo
model: {python: "model.py:Predictor", inputs: {x: FP64}}
environments:
  integration: {branch: develop, strategy: recreate}
  production:
    branch: main
    strategy: {canary: {key: x-user-id, steps: [50%, 100%], watch: 20s}}
"""
GOOD, BETTER, BAD = b"good", b"better", b"bad"
EVERY_SECONDS = 10.0
LOCK_EVERY_SECONDS = 60.0
TICK_SECONDS = 0.25
IDLE_RATE, BUSY_RATE = 2.0, 400.0
"""Requests per second: nobody has to judge what nobody launches."""


class Inline(concurrent.futures.Executor):
    """Does the work when it is handed in."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(function(*args, **kwargs))
        except errors.SoftlaunchError as error:
            future.set_exception(error)
        return future


class Lab:
    """
    Args:
        directory: Empty.
        on_rollback: What a rollback writes.
        require_signed: Hold at unsigned tips.
        update_lock: Branch whose lock is kept up to date.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        on_rollback: gitops.OnRollback = gitops.OnRollback.PIN,
        require_signed: bool = False,
        update_lock: str = "",
    ) -> None:
        self.world = simulator.Simulator(directory / "world", request_rate=IDLE_RATE, tick_seconds=TICK_SECONDS)
        self.server = repository.MemoryRepository(directory / "checkouts")
        self.shipper = shippers.MemoryShipper(self._pipeline)
        self.pinned: bytes | None = None
        """What the next look at a lock finds moved, and commits."""
        self.locker = lockers.MemoryLocker(self._update_lock)
        self._made: dict[bytes, release.Digest] = {}
        self.exit_code: int | None = None
        """What pipelines end with instead of doing anything."""
        self.following = self._following()
        self.follow = follow_state.Follow(
            service="demo",
            url="https://git.example.com/demo",
            every_seconds=EVERY_SECONDS,
            on_rollback=on_rollback,
            require_signed_commits=require_signed,
            update_lock=update_lock,
            lock_every_seconds=LOCK_EVERY_SECONDS,
        )

    def begin(self) -> None:
        self.following.put(self.follow)

    def restart(self) -> None:
        """The control plane is gone and another one begins."""
        self.world.restart()
        self.shipper = shippers.MemoryShipper(self._pipeline)
        self.following = self._following()

    def push(self, model: bytes, *, branch: str = "main", **more: Any) -> str:
        files = {"softlaunch.yaml": YAML, "model.py": model, **more.pop("files", {})}
        return self.server.commit(files, branch=branch, **more)

    def run(self, seconds: float) -> None:
        """That much time passes; what follows turns once a second."""
        for _ in range(round(seconds)):
            self.following.turn()
            for _ in range(round(1.0 / TICK_SECONDS)):
                busy = self.world.loop.ledger.rollouts
                self.world.rates = {
                    place: BUSY_RATE if place in busy and busy[place].state.phase != "watching" else IDLE_RATE
                    for place in self.world.loop.ledger.lives
                }
                self.world.step()

    def until(self, *standings: gitops.Standing, environment: str = "production", seconds: float = 300.0) -> Any:
        for _ in range(round(seconds)):
            self.run(1.0)
            found = self.view(environment)
            if found is not None and found["standing"] in standings:
                return found
        raise AssertionError(self.view(environment))

    def view(self, environment: str = "production") -> Any:
        (found,) = follow_views.follows(self.following)
        return next((each for each in found["environments"] if each["environment"] == environment), None)

    def whole(self) -> Any:
        (found,) = follow_views.follows(self.following)
        return found

    def release(self, model: bytes) -> release.Digest:
        """What a pipeline makes of that content."""
        if model not in self._made:
            behaviour = virtual_traffic.Behaviour(error_rate=0.5 if model == BAD else 0.0)
            self._made[model] = self.world.release(model.decode(), behaviour)
        return self._made[model]

    def by_hand(self) -> release.Digest:
        """Somebody launches something else into production, and it is promoted."""
        digest = self.world.release("by-hand")
        environment = self.world.loop.ledger.lives["demo", "production"].spec
        number = self.world.deploy(digest, environment).rollout_id
        assert number is not None
        self.world.rates = {("demo", "production"): BUSY_RATE}
        self.world.reach(number, "watching")
        return digest

    def live(self, environment: str = "production") -> release.Digest | None:
        """What answers nearly everybody."""
        running = self.view(environment)["running"]
        return release.Digest(running["release"]) if running else None

    def shipped(self, environment: str = "production") -> list[str]:
        return [order.commit for order in self.shipper.orders if order.environment == environment]

    def _following(self) -> following.Following:
        return following.Following(
            loop=self.world.loop,
            store=self.world.store,
            registry=self.world.registry,
            shipper=self.shipper,
            locker=self.locker,
            open_space=lambda _: follow_work.Workspace(copy=self.server, reverts=self.server),
            read_service=service_file.parse_bytes,
            executor=Inline(),
        )

    def _update_lock(self, branch: str) -> locker.Updated:
        model, self.pinned = self.pinned, None
        if model is None:
            return locker.Updated(commit="", text="up to date")
        commit = self.push(model, branch=branch)
        return locker.Updated(commit=commit, text=f"updated by {commit[:12]}")

    def _pipeline(self, order: shipper.Order) -> Callable[[], shipper.Shipped | None]:
        """Builds, asks for a launch, and waits for its end, as `softlaunch ship` does."""

        def said(code: int, digest: release.Digest | None, text: str) -> shipper.Shipped:
            return shipper.Shipped(order=order, exit_code=code, release=digest.value if digest else "", text=text)

        if self.exit_code is not None:
            code = self.exit_code
            return lambda: said(code, None, "so it was told")
        model = (order.checkout / "model.py").read_bytes()
        digest = self.release(model)
        self.world.registry.attach(
            digest,
            release.Lineage(
                commit=order.commit,
                branch=None,
                tags=(),
                author="lab",
                committed_at="2026-01-01T00:00:00Z",
                built_at="2026-01-01T00:00:00Z",
                tests="none",
            ),
        )
        environment = service_file.parse_bytes((order.checkout / "softlaunch.yaml").read_bytes()).environment(
            order.environment
        )
        assert environment is not None
        try:
            done = self._deploy(order, environment, digest)
        except errors.SoftlaunchError as error:
            text = error.message
            return lambda: said(3, digest, text)
        if done.rollout_id is None:
            return lambda: said(0, digest, done.text)
        number = done.rollout_id

        def result() -> shipper.Shipped | None:
            if self.world.store.rollout(number) is None:
                return None  # another one makes way first
            view = self.world.view(number)
            if view["outcome"] is None and view["phase"] != "watching":
                return None
            good = view["outcome"] in (None, "promoted")
            return said(0 if good else 1, digest, view["reason"])

        return result

    def _deploy(
        self, order: shipper.Order, environment: spec.EnvironmentSpec, digest: release.Digest
    ) -> commands.Deployed:
        return self.world.commands.deploy(
            commands.DeployRequest(
                service=order.service,
                environment=environment,
                release=digest,
                ref=order.commit,
                commit=order.commit,
                by="git",
            )
        )
