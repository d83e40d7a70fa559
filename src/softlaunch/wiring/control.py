"""The control plane: every part it is made of, put together."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping

from softlaunch.adapters.attached import fleet as attached_fleet
from softlaunch.adapters.checks import http_checks
from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.adapters.local import clock as local_clock
from softlaunch.adapters.local import fleet as local_fleet
from softlaunch.adapters.local import inbox as local_inbox
from softlaunch.adapters.local import load_process, log_process, replay_process, replay_sender
from softlaunch.adapters.local import lock as local_lock
from softlaunch.adapters.local import prober as local_prober
from softlaunch.adapters.notify import apprise_notify
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.adapters.spool import local as local_spool
from softlaunch.adapters.sql import store as sql_store
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.controller import (
    commands,
    complaints,
    drilling,
    following,
    hook_secret,
    load_reports,
    loop,
    notifier,
    people,
    replay_schedule,
    runner,
    shelf,
    verification,
)
from softlaunch.controller.labels import receiving
from softlaunch.ports import store
from softlaunch.wiring import evidence, places, recordings, repositories, stream_broker

NOTIFY_SECONDS = 1.0
REPLAY_TURN_SECONDS = 2.0
GIT_TURN_SECONDS = 0.25
LOG_TURN_SECONDS = 1.0
_NOTIFIER = "notifier"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Everything a control plane is made of, not yet running."""

    loop: loop.ControlLoop
    commands: commands.Commands
    drilling: drilling.Drilling
    following: following.Following
    receiver: receiving.Receiving
    whose: Callable[[str], str | None]
    """The name of the person with a token."""
    hook_key: Callable[[], bytes | None]
    """What webhooks are signed with; None while they are off."""
    find_release: complaints.FindRelease
    store: store.Store
    _runner: runner.Runner
    _beside: tuple[runner.Periodic, ...]
    _fleet: local_fleet.LocalFleet
    _gateway: envoy_gateway.EnvoyGateway

    def start(self) -> None:
        """Starts the control loop, and what runs beside it."""
        self._runner.start()
        for found in self._beside:
            found.start()

    def ready(self) -> bool:
        """The gateway has believed the saved state and what was live ran again, or has failed to."""
        return self._runner.turned and self.loop.settled

    def stop(self, *, everything: bool) -> None:
        """
        Stops the loop; with `everything` also the model servers and the gateway, in that order of draining.

        Raises:
            UnavailableError: the last state could not be written (a full disk); everything is stopped all the same.
        """
        try:
            for found in self._beside:
                found.stop()
            self._runner.stop()
            self.loop.stop_verifying()
        finally:
            if everything:
                self._fleet.stop_all()
                self._gateway.stop()


@contextlib.contextmanager
def control_plane(home: homes.Home, settings: setting.Settings) -> Iterator[ControlPlane]:
    """
    A control plane over this home, holding its lock.

    Raises:
        ConflictError: another control plane serves this home.
        ConfigError: the home or the stream cannot be used, or its state was written by a newer softlaunch.
        UnavailableError: the gateway does not start, or the disk is full.
    """
    if settings.stream is not None:
        stream_broker.broker_of(settings)  # said now, not by a process beside that ends again and again
    home.prepare()
    with local_lock.HomeLock(home.root), contextlib.ExitStack() as stack:
        registry = oci_registry.OciRegistry(home.registry)
        shelves = shelf.Shelf(registry, home.releases)
        saved = stack.enter_context(contextlib.closing(sql_store.SqlStore(home.state_file)))
        gateway = places.gateway(home, settings)
        gateway.start()
        local = stack.enter_context(contextlib.closing(places.fleet_of(home, settings, shelves)))
        fleets = stack.enter_context(
            contextlib.closing(attached_fleet.AttachedFleet(local, lambda digest: places.attachment(shelves, digest)))
        )
        spool = local_spool.LocalSpool(home.spool)
        turning = loop.ControlLoop(
            store=saved,
            gateway=gateway,
            fleet=fleets,
            shelf=shelves,
            verifying=_verifying(home, registry, spool),
            clock=local_clock.SystemClock(),
            spool=spool,
            archive=recordings.evidence(home),
            checks=stack.enter_context(contextlib.closing(http_checks.HttpChecks())),
        )
        operations = commands.Commands(
            loop=turning,
            store=saved,
            registry=registry,
            choose_port=lambda name, used: places.choose_port(settings, name, used),
            variables=os.environ,
            proofs=evidence.of(home),
        )
        replays = stack.enter_context(
            contextlib.closing(
                replay_process.ReplayProcess(home=home.root, log=home.logs / "replays" / "scheduled.log")
            )
        )
        nightly = replay_schedule.Nightly(loop=turning, store=saved, registry=registry, process=replays)
        shipper = stack.enter_context(
            contextlib.closing(
                log_process.LogProcess(home=home.root, spool=home.spool, log=home.logs / "prediction-log.log")
            )
        )
        moving = [runner.Periodic("prediction-log", shipper.turn, seconds=LOG_TURN_SECONDS)]
        if settings.stream is not None and settings.stream_consume:
            consumer = stack.enter_context(
                contextlib.closing(
                    log_process.LogProcess(
                        home=home.root, spool=home.spool, log=home.logs / "stream.log", verb="consume"
                    )
                )
            )
            moving.append(runner.Periodic("stream", consumer.turn, seconds=LOG_TURN_SECONDS))
        follower = stack.enter_context(repositories.follower(home, loop=turning, saved=saved, registry=registry))
        yield ControlPlane(
            loop=turning,
            commands=operations,
            whose=people.People(home.people_file).whose,
            hook_key=hook_secret.HookSecret(home.hook_file).read,
            find_release=complaints.recorded(spool),
            drilling=drilling.Drilling(loop=turning, operations=operations, registry=registry, shelf=shelves),
            following=follower,
            receiver=receiving.Receiving(
                inbox=local_inbox.LocalInbox(home.log),
                recorded=lambda service: (home.spool / service).is_dir() or (home.log / service).is_dir(),
                now=turning.now,
            ),
            store=saved,
            _runner=runner.Runner(turning, tick_seconds=settings.tick_seconds),
            _beside=(
                runner.Periodic("notifier", _notifier(turning, saved), seconds=NOTIFY_SECONDS),
                runner.Periodic("replays", nightly.turn, seconds=REPLAY_TURN_SECONDS),
                runner.Periodic("git", follower.turn, seconds=GIT_TURN_SECONDS),
                *moving,
            ),
            _fleet=local,
            _gateway=gateway,
        )


def _verifying(
    home: homes.Home, registry: oci_registry.OciRegistry, recorded: local_spool.LocalSpool
) -> verification.Neighbours:
    reports = load_reports.LoadReports(releases=registry, keys=evidence.LazyKeys(home), proofs=evidence.of(home))
    return verification.Neighbours(
        prober=local_prober.HttpProber(),
        spool=recorded,
        senders=replay_sender.opened,
        loads=load_process.LoadProcesses(home.logs / "load.log"),
        clock=local_clock.SystemClock(),
        report=reports.add,
    )


def _notifier(turning: loop.ControlLoop, saved: store.Store) -> Callable[[], None]:
    """One turn of telling people what has happened."""
    kept = saved.bookmark(_NOTIFIER)
    outbox = notifier.Outbox(json.loads(kept)) if kept is not None else notifier.Outbox.begin(saved)

    def targets(service: str, environment: str) -> Mapping[str, str]:
        with turning.lock:
            running = turning.ledger.rollouts.get((service, environment))
            live = turning.ledger.lives.get((service, environment))
        known = running or live
        return known.spec.notify if known is not None else {}

    telling = notifier.Notifier(
        port=apprise_notify.AppriseNotify(),
        history=saved,
        outbox=outbox,
        targets=targets,
        variables=os.environ,
        threads=concurrent.futures.ThreadPoolExecutor(4, thread_name_prefix="notify"),
    )

    def turn() -> None:
        if telling.turn(turning.now()):
            saved.commit(store.Change(bookmarks={_NOTIFIER: json.dumps(outbox.state())}))

    return turn


def stop_leftovers(home: homes.Home, settings: setting.Settings) -> bool:
    """
    Stops what a killed control plane left running; says whether there was anything.

    Raises:
        ConflictError: a control plane holds the home but does not answer.
    """
    if not home.root.is_dir():
        return False
    home.prepare()
    with local_lock.HomeLock(home.root):
        fleets = places.fleet_of(home, settings, shelf.Shelf(oci_registry.OciRegistry(home.registry), home.releases))
        with contextlib.closing(fleets):
            found = bool(fleets.observe())
            fleets.stop_all()
        gateway = places.gateway(home, settings)
        found = found or gateway.pid is not None
        gateway.stop()
        home.control_file.unlink(missing_ok=True)
    return found
