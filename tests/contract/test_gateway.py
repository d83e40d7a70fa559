"""What every gateway promises: the in-memory one of softlaunch.testing and the one made of Envoy."""

from __future__ import annotations

import dataclasses
import http.client
import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator

import pytest

from softlaunch import errors
from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.adapters.envoy import routes
from softlaunch.core import attempts, release, spec
from softlaunch.core.rollout import traffic
from softlaunch.ports import gateway
from softlaunch.testing import gateway as memory

STABLE = release.Digest("sha256:" + "a" * 64)


class RealClock:
    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    gateway: gateway.Gateway
    snapshot: traffic.RoutingSnapshot
    request: Callable[[], None]
    """Makes one request, which leaves at least one attempt in the log."""
    fall_back: Callable[[], None]
    """Makes one prediction request of `flights` that a fallback answers."""
    spoil: Callable[[traffic.RoutingSnapshot], traffic.RoutingSnapshot]
    """A snapshot like the one given that the gateway is going to refuse."""


@pytest.fixture(params=["memory", "envoy"])
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = pathlib.Path(tempfile.mkdtemp(prefix="slc-"))
    arm = traffic.ArmRoute(
        release=STABLE,
        replicas=(traffic.Replica(release=STABLE, number=0, socket=str(directory / f"{STABLE.short}.0.sock")),),
    )
    route = traffic.RouteSpec(
        service="flights", environment="production", epoch=1, stable=arm, fallback_body=b'{"late": 0.2}'
    )
    snapshot = traffic.RoutingSnapshot(
        listeners=(traffic.Listener(environment="production", port=port),), routes=(route,)
    )
    if request.param == "memory":
        yield _in_memory(snapshot)
    else:
        real = envoy_gateway.EnvoyGateway(
            directory=directory / "gateway",
            run_directory=directory,
            log=directory / "envoy.log",
            timekeeper=RealClock(),
            free_bytes_min=0,
        )
        real.start()
        try:
            yield _of_envoy(real, snapshot, port)
        finally:
            real.stop(drain_seconds=0.0)
    shutil.rmtree(directory)


def _in_memory(snapshot: traffic.RoutingSnapshot) -> Subject:
    subject = memory.InMemoryGateway()
    counter = iter(range(1000))

    def request() -> None:
        subject.log([attempt(f"id-{next(counter)}")])

    def spoil(given: traffic.RoutingSnapshot) -> traffic.RoutingSnapshot:
        subject.refuse_next("not today")
        return dataclasses.replace(given, routes=())

    def fall_back() -> None:
        subject.log([attempt(f"id-{next(counter)}")])
        subject.log_fallback("flights", "production")

    return Subject(gateway=subject, snapshot=snapshot, request=request, fall_back=fall_back, spoil=spoil)


def _of_envoy(real: envoy_gateway.EnvoyGateway, snapshot: traffic.RoutingSnapshot, port: int) -> Subject:
    def ask(method: str, path: str, *, status: int, grown: Callable[[bytes], bool]) -> None:
        before = len(_log(real))
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request(method, path)
        assert connection.getresponse().status == status
        connection.close()
        until = time.monotonic() + 5
        while not grown(_log(real)[before:]) and time.monotonic() < until:
            time.sleep(0.005)

    def request() -> None:
        # Nobody listens on the replica's socket: attempts that failed, and all of them are waited for.
        ask("GET", "/v2", status=503, grown=lambda text: text.count(b'"cluster"') > routes.RETRY_COUNT)

    def fall_back() -> None:
        ask("POST", "/predict", status=200, grown=lambda text: b'"fallback":"body"' in text)

    def spoil(given: traffic.RoutingSnapshot) -> traffic.RoutingSnapshot:
        return dataclasses.replace(
            given, routes=tuple(dataclasses.replace(route, request_timeout_seconds=-1.0) for route in given.routes)
        )

    return Subject(gateway=real, snapshot=snapshot, request=request, fall_back=fall_back, spoil=spoil)


def _log(real: envoy_gateway.EnvoyGateway) -> bytes:
    path = real._paths.attempts
    return path.read_bytes() if path.exists() else b""


def attempt(identity: str) -> attempts.Attempt:
    return attempts.Attempt(
        1.0, identity, "flights", "production", 1, STABLE.short, False, 1, 200, "-", 900, "", False, False
    )


def test_a_request_is_read_after_the_cursor_and_never_again(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)
    subject.request()
    first = subject.gateway.read_attempts(gateway.LogCursor())
    subject.request()
    second = subject.gateway.read_attempts(first.cursor)
    third = subject.gateway.read_attempts(second.cursor)

    assert {found.service for found in first.attempts} == {"flights"}
    assert first.gap is None
    assert second.gap is None
    assert second.attempts
    assert not {found.request_id for found in first.attempts} & {found.request_id for found in second.attempts}
    assert third.attempts == ()
    assert third.cursor == second.cursor


def test_reading_does_not_remove_anything(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)
    subject.request()

    assert subject.gateway.read_attempts(gateway.LogCursor()) == subject.gateway.read_attempts(gateway.LogCursor())


def test_an_empty_log_has_no_attempts_and_no_gap(subject: Subject) -> None:
    assert gateway.LogBatch(attempts=(), cursor=gateway.LogCursor()) == subject.gateway.read_attempts(
        gateway.LogCursor()
    )


def test_no_more_attempts_are_read_than_asked_for_and_none_is_skipped(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)
    for _ in range(3):
        subject.request()
    everything = subject.gateway.read_attempts(gateway.LogCursor()).attempts
    cursor = gateway.LogCursor()
    piecemeal: list[attempts.Attempt] = []
    while (batch := subject.gateway.read_attempts(cursor, line_count_max=1)).attempts:
        assert len(batch.attempts) == 1
        piecemeal.extend(batch.attempts)
        cursor = batch.cursor

    assert tuple(piecemeal) == everything


def test_every_fallback_is_counted_once_wherever_reading_stops(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)
    for count in (1, 2):
        subject.request()
        for _ in range(count):
            subject.fall_back()
    whole = subject.gateway.read_attempts(gateway.LogCursor())
    cursor, piecemeal = gateway.LogCursor(), 0
    for _ in range(40):
        batch = subject.gateway.read_attempts(cursor, line_count_max=1)
        piecemeal += batch.fallbacks.get(("flights", "production"), 0)
        cursor = batch.cursor

    assert {("flights", "production"): 3} == whole.fallbacks
    assert (3, whole.cursor, None) == (piecemeal, cursor, whole.gap)


def test_a_snapshot_with_everything_a_launch_can_have_is_believed(subject: Subject) -> None:
    (route,) = subject.snapshot.routes
    other = release.Digest("sha256:" + "b" * 64)
    replica = traffic.Replica(release=other, number=0, socket="tls://127.0.0.1:1")
    candidate = traffic.ArmRoute(release=other, replicas=(replica,))
    cohort = spec.CohortSpec(name="staff", header="x-tenant", values=("staff",))
    full = dataclasses.replace(
        route,
        candidate=candidate,
        candidate_weight=1,
        cohorts=(traffic.CohortRoute(cohort=cohort, weight=8000, epoch=2),),
        shadow=traffic.ShadowRoute(candidate=candidate, weight=100, epoch=3),
        fallbacks=(traffic.FallbackArm(kind=spec.FallbackKind.URL, addresses=("tcp://127.0.0.1:2",)),),
        predict_paths=("/score", "/api/*"),
        key_header="x-user-id",
        salt="rollout",
    )
    subject.gateway.apply(dataclasses.replace(subject.snapshot, routes=(full,)))
    subject.request()

    assert subject.gateway.read_attempts(gateway.LogCursor()).attempts
    assert frozenset() == subject.gateway.ejected()


def test_two_releases_behind_one_address_are_refused(subject: Subject) -> None:
    (route,) = subject.snapshot.routes
    arms = [
        traffic.ArmRoute(
            release=release.Digest("sha256:" + letter * 64),
            replicas=(
                traffic.Replica(release=release.Digest("sha256:" + letter * 64), number=0, socket="tcp://127.0.0.1:1"),
            ),
        )
        for letter in "ab"
    ]
    both = dataclasses.replace(route, stable=arms[0], candidate=arms[1], candidate_weight=1)
    with pytest.raises(errors.ConfigError, match="tcp://127"):
        subject.gateway.apply(dataclasses.replace(subject.snapshot, routes=(both,)))


def test_what_was_released_is_not_needed_to_read_on(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)
    subject.request()
    batch = subject.gateway.read_attempts(gateway.LogCursor())
    subject.gateway.release_log(batch.cursor)
    subject.request()

    after = subject.gateway.read_attempts(batch.cursor)

    assert after.attempts
    assert after.gap is None


def test_a_refused_snapshot_leaves_the_one_before_in_force(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)

    with pytest.raises(errors.UnavailableError):
        subject.gateway.apply(subject.spoil(subject.snapshot))

    subject.request()
    assert subject.gateway.read_attempts(gateway.LogCursor()).attempts


def test_a_snapshot_may_be_applied_again_and_after_a_refusal(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)
    subject.gateway.apply(subject.snapshot)
    with pytest.raises(errors.UnavailableError):
        subject.gateway.apply(subject.spoil(subject.snapshot))
    subject.gateway.apply(subject.snapshot)

    subject.request()
    assert subject.gateway.read_attempts(gateway.LogCursor()).gap is None


def test_nobody_is_ejected_at_the_start(subject: Subject) -> None:
    subject.gateway.apply(subject.snapshot)

    assert frozenset() == subject.gateway.ejected()
