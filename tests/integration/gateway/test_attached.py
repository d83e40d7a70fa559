"""Releases that softlaunch does not run: behind an address, found by name, believed only with the right certificate."""

from __future__ import annotations

import collections
import pathlib
import ssl
import subprocess
from collections.abc import Iterator

import gateway_bench
import gateway_faults
import pytest

from softlaunch import errors
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import traffic

STABLE, CANDIDATE = gateway_bench.STABLE.short, gateway_bench.CANDIDATE.short


class Outside:
    """Servers behind names that only this test's resolver knows."""

    def __init__(self, bench: gateway_bench.Bench, certificates: pathlib.Path) -> None:
        self.bench = bench
        self.certificates = certificates
        self.servers: list[gateway_faults.Server] = []
        self.names = {"old.test": ["127.0.0.1"], "new.test": ["127.0.0.1"]}
        self.asked: collections.Counter[str] = collections.Counter()

    def resolve(self, host: str, port: int) -> list[str]:
        self.asked[host] += 1
        if host not in self.names:
            raise OSError(f"nobody knows {host}:{port}")
        return self.names[host]

    def server(self, scheme: str, host: str, *, certificate: str = "") -> gateway_faults.Server:
        context = None
        if scheme == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            name = certificate or host
            context.load_cert_chain(self.certificates / f"{name}.pem", self.certificates / f"{name}.key")
        address = f"{scheme}://{host}:{gateway_bench.free_port()}"
        self.servers.append(gateway_faults.Server(self.bench.loop, address, tls=context))
        return self.servers[-1]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A certificate authority, and a key and a certificate of it for each name."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    new = ("req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2")
    openssl(*new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name in ("old.test", "new.test"):
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", f"subjectAltName=DNS:{name}")
        openssl(*new, "-subj", f"/CN={name}", *signed, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return directory


@pytest.fixture
def outside(bench: gateway_bench.Bench, certificates: pathlib.Path) -> Iterator[Outside]:
    found = Outside(bench, certificates)
    before = bench.gateway
    bench.gateway = bench.another_gateway(resolve=found.resolve, ca_bundle=certificates / "ca.pem")
    yield found
    for server in found.servers:
        server.kill()
    bench.gateway = before
    (bench.directory / "gateway" / "resolved.json").unlink(missing_ok=True)


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_two_running_servers_are_launched_between_by_name(outside: Outside, scheme: str) -> None:
    bench = outside.bench
    old, new = outside.server(scheme, "old.test"), outside.server(scheme, "new.test")
    bench.apply(
        stable=gateway_bench.arm(gateway_bench.STABLE, old), candidate=gateway_bench.arm(gateway_bench.CANDIDATE, new)
    )
    well = bench.send(200)
    logged = bench.attempts(at_least=200)
    new.fault = "422"
    renamed = bench.send(200)
    new.fault = "503"
    broken = bench.send(200)
    bench.attempts(at_least=400)

    assert {200} == {answer.status for answer in [*well, *renamed, *broken]}
    assert {"old", "new"} == set(gateway_bench.served_by(well))
    assert {"old"} == set(gateway_bench.served_by([*renamed, *broken]))
    for release, server in ((STABLE, old), (CANDIDATE, new)):
        address = server.socket.partition("://")[2]
        assert {address} == {head["host"] for head in server.heads}
        mine = [attempt for attempt in logged if attempt.release == release]
        assert {f"127.0.0.1:{address.partition(':')[2]}"} == {attempt.replica for attempt in mine}
        assert {attempts.Outcome.OK} == {attempts.outcome(attempt) for attempt in mine}
    assert {STABLE, CANDIDATE} == {attempt.release for attempt in logged}


def test_a_server_with_somebody_elses_certificate_is_not_believed(outside: Outside) -> None:
    bench = outside.bench
    old, impostor = outside.server("tls", "old.test"), outside.server("tls", "new.test", certificate="old.test")
    bench.apply(
        weight=10_000,
        stable=gateway_bench.arm(gateway_bench.STABLE, old),
        candidate=gateway_bench.arm(gateway_bench.CANDIDATE, impostor),
    )
    answers = bench.send(50)
    tried = [attempt for attempt in bench.attempts(at_least=100) if attempt.release == CANDIDATE]

    assert {"old"} == set(gateway_bench.served_by(answers))
    assert 0 == impostor.attempts
    assert {attempts.Outcome.ERROR} == {attempts.outcome(attempt) for attempt in tried}
    assert len(tried) == 50


def test_a_server_of_a_release_and_one_of_ours_can_be_the_two_arms(outside: Outside) -> None:
    bench = outside.bench
    new = outside.server("tcp", "new.test")
    bench.apply(candidate=gateway_bench.arm(gateway_bench.CANDIDATE, new), weight=5000)
    answers = bench.send(100)

    assert {STABLE, "new"} == set(gateway_bench.served_by(answers))


def test_a_blown_fuse_names_the_server_as_the_snapshot_does(outside: Outside) -> None:
    bench = outside.bench
    new = outside.server("tcp", "new.test")
    arm = gateway_bench.arm(gateway_bench.CANDIDATE, new)
    bench.apply(candidate=arm, weight=10_000, fuse_enabled=True, fuse_failures=2)
    new.fault = "503"
    bench.send(50)

    assert frozenset({new.socket}) == bench.gateway.ejected()
    assert frozenset({new.socket}) == bench.another_gateway().ejected()


def test_a_shadow_and_a_fallback_may_be_servers_outside(outside: Outside) -> None:
    bench = outside.bench
    copy, last = outside.server("tls", "new.test"), outside.server("tls", "old.test")
    shadow = traffic.ShadowRoute(candidate=gateway_bench.arm(gateway_bench.CANDIDATE, copy), weight=10_000, epoch=900)
    fallback = traffic.FallbackArm(kind=spec.FallbackKind.URL, addresses=(last.socket,))
    bench.apply(rollout=False, shadow=shadow, fallbacks=(fallback,))
    bench.send(50)
    for server in bench.stable:
        server.kill()
    answers = bench.send(50)
    bench.attempts(at_least=100)

    assert {"url"} == {answer.headers.get("x-softlaunch-fallback") for answer in answers}
    assert {("flights", "production"): 50} == bench.fallbacks
    assert {last.socket.partition("://")[2]} == {head["host"] for head in last.heads}
    assert {copy.socket.partition("://")[2]} == {head["host"] for head in copy.heads}
    assert 100 == copy.attempts == len(bench.copies)
    assert {CANDIDATE} == {attempt.release for attempt in bench.copies}


def test_the_last_good_answer_of_the_resolver_is_kept_also_over_a_restart(outside: Outside) -> None:
    bench = outside.bench
    arm = gateway_bench.arm(gateway_bench.STABLE, outside.server("tcp", "old.test"))
    bench.apply(rollout=False, stable=arm)
    snapshot = bench.snapshot(bench.route(rollout=False, stable=arm))
    bench.gateway.apply(snapshot)
    assert 1 == outside.asked["old.test"]
    outside.names.clear()
    bench.gateway = bench.another_gateway(resolve=outside.resolve)
    bench.gateway.apply(snapshot)

    assert {200} == {answer.status for answer in bench.send(20)}
    assert 2 == outside.asked["old.test"]


def test_a_name_nobody_knows_is_refused_and_changes_nothing(outside: Outside) -> None:
    bench = outside.bench
    bench.apply(rollout=False)
    unknown = traffic.Replica(release=gateway_bench.STABLE, number=0, socket="tcp://nowhere.test:80")
    with pytest.raises(errors.UnavailableError, match=r"nowhere\.test does not resolve \(nobody knows"):
        bench.apply(rollout=False, stable=traffic.ArmRoute(release=gateway_bench.STABLE, replicas=(unknown,)))

    assert [] == gateway_bench.failed(bench.send(20))


def test_two_releases_behind_one_address_are_refused(outside: Outside) -> None:
    bench = outside.bench
    bench.apply(rollout=False)
    old = outside.server("tcp", "old.test")
    with pytest.raises(errors.ConfigError, match="nobody could tell which of them answered"):
        bench.apply(
            stable=gateway_bench.arm(gateway_bench.STABLE, old),
            candidate=gateway_bench.arm(gateway_bench.CANDIDATE, old),
        )

    assert [] == gateway_bench.failed(bench.send(20))
