"""
A rollout simulator: the real control loop and commands over neighbours in memory, in virtual time.

    world = Simulator(directory)
    old, new = world.release("old"), world.release("new", virtual_traffic.Behaviour(error_rate=0.2))
    world.launch(old, environment)
    view = world.launch(new, environment)
    view["outcome"], view["reason"]             # rolled_back, and why

An hour of traffic passes in a second, nothing sleeps, and the same seed gives the same hour. `restart` and `kill` play
what happens to control planes; the neighbours' own methods (store.fail, gateway.refuse_next, gateway.lose, fleet.crash)
play what happens to everything else.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.controller import commands, shelf, verification, views
from softlaunch.controller import loop as loops
from softlaunch.core import release as release_values
from softlaunch.core import spec
from softlaunch.ports import fleet as fleet_port
from softlaunch.ports import prober as prober_port
from softlaunch.testing import archive as archives
from softlaunch.testing import checks, registry, releases, virtual_traffic
from softlaunch.testing import clock as clocks
from softlaunch.testing import fleet as fleets
from softlaunch.testing import gateway as gateways
from softlaunch.testing import loads as load_tests
from softlaunch.testing import spool as spools
from softlaunch.testing import store as stores

SERVICE = releases.SERVICE
PORT_FIRST = 20_000


class KilledError(BaseException):
    """The control plane was killed here. Not an Exception: nothing in it may survive by catching it."""


class _Prober:
    """A ports.prober.Prober that knows what each release answers."""

    def __init__(self, behaviours: Mapping[str, virtual_traffic.Behaviour]) -> None:
        self._behaviours = behaviours

    def smoke(self, socket: str, rows: Sequence[dict[str, Any]]) -> prober_port.ProbeReport:
        short = pathlib.PurePath(socket).name.split(".", 1)[0]
        release, _ = release_values.split_number(short)
        behaviour = self._behaviours.get(short, self._behaviours.get(release, virtual_traffic.Behaviour()))
        failure = behaviour.smoke_failure
        if failure is None:
            return prober_port.ProbeReport(sent=len(rows), failed=0)
        return prober_port.ProbeReport(sent=len(rows), failed=len(rows), first_failure=failure)


class _Inline(concurrent.futures.Executor):
    """Does the work when it is handed in: virtual time has no threads."""

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_result(function(*args, **kwargs))
        return future


class _Fate:
    """Counts calls to neighbours, and kills at the one that was named."""

    def __init__(self) -> None:
        self.call_count = 0
        self.kill_at: int | None = None
        self.after = False

    def meet(self, neighbour: Any) -> Any:
        """The same neighbour, calls to which are counted."""
        return _Counted(neighbour, self)

    def strike(self, *, after: bool) -> None:
        if self.kill_at == self.call_count and after == self.after:
            self.kill_at = None
            raise KilledError


class _Counted:
    def __init__(self, neighbour: Any, fate: _Fate) -> None:
        self._neighbour = neighbour
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        deed = getattr(self._neighbour, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._fate.call_count += 1
            self._fate.strike(after=False)
            found = deed(*args, **kwargs)
            self._fate.strike(after=True)
            return found

        return counted


class Simulator:
    """
    One machine with a control plane, its neighbours and their users.

    Args:
        directory: For unpacked releases; empty.
        seed: Of the traffic.
        request_rate: Requests per second to every environment `rates` does not name.
        user_count: Users taking turns.
        tick_seconds: Virtual time between two turns of the control loop.
        start_seconds: How long a replica starts.
        stop_seconds: How long its process takes to end.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        *,
        seed: int = 0,
        request_rate: float = 400.0,
        user_count: int = 5_000,
        tick_seconds: float = 0.05,
        start_seconds: float = 0.2,
        stop_seconds: float = 0.0,
    ) -> None:
        self.clock = clocks.ManualClock()
        self.store = stores.InMemoryStore()
        self.gateway = gateways.InMemoryGateway()
        self.fleet = fleets.InMemoryFleet(clock=self.clock, start_seconds=start_seconds, stop_seconds=stop_seconds)
        self.registry = registry.MemoryRegistry()
        self.archive = archives.MemoryArchive()
        self.checks = checks.MemoryChecks()
        self.spool = spools.MemorySpool()
        self.loads = load_tests.MemoryLoads()
        self.senders = load_tests.MemorySenders(self.clock)
        self.load_reports: list[Mapping[str, Any]] = []
        """Those that were kept as evidence."""
        self.rates: dict[virtual_traffic.Place, float] = {}
        """Requests per second by place, where they are not `request_rate`."""
        self.restart_count = 0
        self.loop: loops.ControlLoop
        """The one that runs now; `restart` makes another."""
        self.commands: commands.Commands
        self._directory = directory
        self._request_rate = request_rate
        self._tick_seconds = tick_seconds
        self._behaviours: dict[str, virtual_traffic.Behaviour] = {}
        self._fate = _Fate()
        self._ready: frozenset[str] = frozenset()
        self._traffic = virtual_traffic.VirtualTraffic(
            seed=seed,
            user_count=user_count,
            behaviours=self._behaviours,
            alive=lambda socket: socket in self._ready,
            ejected=self.gateway.ejected,
        )
        self._begin()

    # ------------------------------------------------------------------------------------------- releases, launches

    def release(
        self,
        name: str,
        behaviour: virtual_traffic.Behaviour | None = None,
        *,
        commit: str = "",
        tags: tuple[str, ...] = (),
    ) -> release_values.Digest:
        """A release of the service `demo`, in the registry."""
        digest = self.registry.push(releases.write(self._directory / "made" / name, name=name))
        if commit or tags:
            self.registry.attach(
                digest,
                release_values.Lineage(
                    commit=commit,
                    branch=None,
                    tags=tags,
                    author="simulator",
                    committed_at="2026-01-01T00:00:00Z",
                    built_at="2026-01-01T00:00:00Z",
                    tests="none",
                ),
            )
        self.behave(digest, behaviour or virtual_traffic.Behaviour())
        return digest

    def behave(self, digest: release_values.Digest, behaviour: virtual_traffic.Behaviour) -> None:
        """What the release does from now on."""
        self._behaviours[digest.short] = behaviour

    def deploy(
        self,
        digest: release_values.Digest,
        environment: spec.EnvironmentSpec,
        *,
        service: str = SERVICE,
        ref: str = "main",
        replace: bool = True,
    ) -> commands.Deployed:
        """Asks for a launch; nothing happens before the next `step`."""
        return self.commands.deploy(
            commands.DeployRequest(
                service=service,
                environment=environment,
                release=digest,
                ref=ref,
                commit="0" * 40,
                by="tester",
                replace=replace,
            )
        )

    def launch(
        self, digest: release_values.Digest, environment: spec.EnvironmentSpec, *, service: str = SERVICE
    ) -> dict[str, Any]:
        """Deploys and waits until the rollout is over; returns its view."""
        number = self.deploy(digest, environment, service=service).rollout_id
        assert number is not None, f"{digest.short} is live already"
        return self.end(number)

    # ----------------------------------------------------------------------------------------------------- time

    def step(self, count: int = 1) -> None:
        """Lets users make their requests for one tick each, then turns the loop once."""
        for _ in range(count):
            begin = self.clock.now()
            end = begin + self._tick_seconds
            ready = fleet_port.ReplicaPhase.READY
            self._ready = frozenset(found.socket for found in self.fleet.observe() if found.phase is ready)
            believed = self.gateway.believed
            places = [(route.service, route.environment) for route in believed.routes] if believed else []
            rates = {place: self.rates.get(place, self._request_rate) for place in places}
            self.clock.advance(self._tick_seconds)
            self.gateway.log(self._traffic.during(believed, rates, begin=begin, end=end))
            try:
                self.loop.tick()
            except KilledError:
                self.restart()

    def run(self, until: Callable[[], bool], *, seconds_max: float = 600.0) -> None:
        """
        Steps until something is so.

        Raises:
            InvariantError: it still is not after `seconds_max` of virtual time.
        """
        deadline = self.clock.now() + seconds_max
        while not until():
            if self.clock.now() > deadline:
                raise errors.InvariantError(f"Still not so after {seconds_max:g} s: {views.status(self.loop)}")
            self.step()

    def end(self, number: int, *, seconds_max: float = 600.0) -> dict[str, Any]:
        """Steps until a rollout is over; returns its view."""
        self.run(lambda: self._over(number), seconds_max=seconds_max)
        return self.view(number)

    def reach(self, number: int, phase: str, *, step: int = 0, seconds_max: float = 600.0) -> dict[str, Any]:
        """Steps until a rollout is in a phase (and at a step at least); returns its view."""

        def there() -> bool:
            view = self.view(number)
            return view["phase"] == phase and (phase != "stepping" or view["step"] >= step)

        self.run(there, seconds_max=seconds_max)
        return self.view(number)

    # ------------------------------------------------------------------------------------------------ what is seen

    def view(self, number: int) -> dict[str, Any]:
        """The view of a rollout, running or finished."""
        record = self.store.rollout(number)
        running = next((found for found in self.loop.ledger.rollouts.values() if found.id == number), None)
        found = running or record
        assert found is not None, f"there is no rollout {number}"
        return views.rollout(self.loop, found)

    def weight(self, environment: str = "production", *, service: str = SERVICE) -> int:
        """The candidate's share in 1/10000 that the gateway believes."""
        return next((route.candidate_weight for route in self._routes(service, environment)), 0)

    def serving(self, environment: str = "production", *, service: str = SERVICE) -> release_values.Digest | None:
        """The stable release the gateway believes."""
        return next((route.stable.release for route in self._routes(service, environment)), None)

    def truth(self, environment: str = "production", *, service: str = SERVICE) -> virtual_traffic.Truth:
        """What really happened there."""
        return self._traffic.truth[service, environment]

    # ------------------------------------------------------------------------------------------------- calamities

    def restart(self) -> None:
        """The control plane is gone without a word and another one begins; everything else goes on."""
        self.restart_count += 1
        self._begin()

    def kill(self, *, calls: int, after: bool = False) -> None:
        """
        Kills the control plane at its `calls`-th call to store, gateway, fleet or archive from now on.

        `step` restarts it.

        Args:
            calls: 1 is the very next one.
            after: The call still takes effect.
        """
        self._fate.kill_at = self._fate.call_count + calls
        self._fate.after = after

    @property
    def call_count(self) -> int:
        """Calls to store, gateway, fleet and archive so far: as many places to be killed at."""
        return self._fate.call_count

    def _begin(self) -> None:
        store = self._fate.meet(self.store)
        self.loop = loops.ControlLoop(
            store=store,
            gateway=self._fate.meet(self.gateway),
            fleet=self._fate.meet(self.fleet),
            shelf=shelf.Shelf(self.registry, self._directory),
            verifying=verification.Neighbours(
                prober=_Prober(self._behaviours),
                spool=self.spool,
                senders=self.senders,
                loads=self.loads,
                clock=self.clock,
                report=lambda _record, measured: self.load_reports.append(measured),
            ),
            clock=self.clock,
            archive=self._fate.meet(self.archive),
            checks=self.checks,
            spool=self.spool,
            executor=_Inline(),
        )
        self.commands = commands.Commands(
            loop=self.loop,
            store=store,
            registry=self.registry,
            choose_port=lambda _name, used: PORT_FIRST + len(used),
            variables={},
        )

    def _over(self, number: int) -> bool:
        record = self.store.rollout(number)
        return record is not None and record.finished_at is not None

    def _routes(self, service: str, environment: str) -> list[Any]:
        believed = self.gateway.believed
        routes = believed.routes if believed is not None else ()
        return [route for route in routes if (route.service, route.environment) == (service, environment)]
