"""
What Envoy is told, compared with files a person has read: tests/golden/envoy.

After a wanted change: `SOFTLAUNCH_WRITE_GOLDEN=1 pytest tests/unit/adapters/envoy`, then read the difference.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.adapters.envoy import addresses, config, grpc_bridge, names, routes
from softlaunch.core import release, spec
from softlaunch.core.rollout import traffic

GOLDEN = pathlib.Path(__file__).parents[3] / "golden" / "envoy"
PATHS = config.Paths(
    directory=pathlib.Path("/home/ada/.softlaunch/gateway"),
    admin_socket=pathlib.Path("/tmp/sl-1000-0a1b2c3d/envoy.sock"),
)


def arm(letter: str, count: int) -> traffic.ArmRoute:
    digest = release.Digest("sha256:" + letter * 64)
    sockets = [f"/tmp/sl-1000-0a1b2c3d/{digest.short}.{number}.e1.sock" for number in range(count)]
    return traffic.ArmRoute(
        release=digest,
        replicas=tuple(
            traffic.Replica(release=digest, number=number, socket=socket) for number, socket in enumerate(sockets)
        ),
    )


ROLLOUT = traffic.RouteSpec(
    service="flights",
    environment="production",
    epoch=7,
    stable=arm("a", 2),
    candidate=arm("b", 2),
    candidate_weight=500,
    salt="rollout-12",
    key_header="x-user-id",
    fallback_body=b'{"late": 0.2}',
    try_timeout_seconds=0.25,
)
QUIET = traffic.RouteSpec(service="prices", environment="production", epoch=3, stable=arm("c", 2))
SNAPSHOT = traffic.RoutingSnapshot(
    listeners=(
        traffic.Listener(environment="production", port=8080),
        traffic.Listener(environment="integration", port=8081),
    ),
    routes=(QUIET, ROLLOUT),
)
LAUNCH = dataclasses.replace(
    ROLLOUT,
    service="delays",
    fallback_body=None,
    cohorts=(
        traffic.CohortRoute(
            cohort=spec.CohortSpec(name="staff", header="x-tenant", values=("staff", "a|b")), weight=8000, epoch=8
        ),
    ),
    candidate_weight=0,
    shadow=traffic.ShadowRoute(candidate=arm("b", 2), weight=1000, epoch=9),
    fallbacks=(
        traffic.FallbackArm(kind=spec.FallbackKind.TABLE, addresses=("/tmp/sl-1000-0a1b2c3d/fallback-1.sock",)),
        traffic.FallbackArm(kind=spec.FallbackKind.URL, addresses=("tls://prices.example.com:443",)),
    ),
    predict_paths=("/api/*",),
)
RATES = release.Digest("sha256:" + "d" * 64)
ATTACHED = traffic.RouteSpec(
    service="rates",
    environment="integration",
    epoch=1,
    stable=traffic.ArmRoute(
        release=RATES, replicas=(traffic.Replica(release=RATES, number=0, socket="tcp://rates.example.com:8080"),)
    ),
)
OUTSIDE = addresses.Outside(
    addresses={"tls://prices.example.com:443": ["192.0.2.7"], "tcp://rates.example.com:8080": ["192.0.2.8"]},
    ca_bundle="/etc/ssl/certs/ca-certificates.crt",
)
PLAN = dataclasses.replace(SNAPSHOT, routes=(LAUNCH, ATTACHED))
"""Cohort, shadow, fallbacks, paths of the team, servers outside: everything a launch can have."""


def documents() -> dict[str, Any]:
    found = config.route_documents(SNAPSHOT)
    (planned,) = (host for host in config.route_documents(PLAN)["production"]["virtual_hosts"] if host["name"] != "*")
    return {
        "plan-clusters": config.discovery(config.cluster_documents(PLAN, OUTSIDE)),
        "plan-routes": planned,
        "bootstrap": config.bootstrap(PATHS),
        "listeners": config.discovery(config.listener_documents(SNAPSHOT, PATHS)),
        "clusters": config.discovery(config.cluster_documents(SNAPSHOT)),
        **{f"routes-{environment}": config.discovery([document]) for environment, document in found.items()},
    }


@pytest.mark.parametrize(
    "name",
    [
        "bootstrap",
        "listeners",
        "clusters",
        "routes-production",
        "routes-integration",
        "plan-clusters",
        "plan-routes",
    ],
)
def test_a_snapshot_becomes_the_documents_a_person_has_read(name: str) -> None:
    text = json.dumps(documents()[name], indent=2, sort_keys=True) + "\n"
    file = GOLDEN / f"{name}.json"
    if os.environ.get("SOFTLAUNCH_WRITE_GOLDEN"):
        file.write_text(text)

    assert file.read_text() == text


def test_the_order_of_routes_and_listeners_changes_nothing() -> None:
    turned = traffic.RoutingSnapshot(
        listeners=tuple(reversed(SNAPSHOT.listeners)), routes=tuple(reversed(SNAPSHOT.routes))
    )

    assert config.cluster_documents(SNAPSHOT) == config.cluster_documents(turned)
    assert config.listener_documents(SNAPSHOT, PATHS) == config.listener_documents(turned, PATHS)
    assert config.route_documents(SNAPSHOT) == config.route_documents(turned)


def actions(route: traffic.RouteSpec) -> list[dict[str, Any]]:
    document = routes.document("production", [route])
    return [
        entry["route"] | {"name": entry["name"]}
        for host in document["virtual_hosts"]
        for entry in host["routes"]
        if "route" in entry
    ]


def test_only_prediction_paths_are_repeated_hedged_or_replaced() -> None:
    document = routes.document("production", [ROLLOUT])
    entries = [entry for host in document["virtual_hosts"] for entry in host["routes"] if "route" in entry]
    once = [entry for entry in entries if entry["name"] == "once"]

    assert once
    replaced = "envoy.filters.http.custom_response"
    assert not any(
        "hedge_policy" in entry["route"] or replaced in entry.get("typed_per_filter_config", {}) for entry in once
    )
    assert {"connect-failure"} == {entry["route"]["retry_policy"]["retry_on"] for entry in once}
    assert all(
        "hedge_policy" in entry["route"] and "typed_per_filter_config" in entry
        for entry in entries
        if entry["name"] == "predict"
    )


def test_without_a_candidate_everything_goes_to_stable_without_hedges() -> None:
    assert {names.stable(QUIET)} == {action["cluster"] for action in actions(QUIET)}
    assert not any("hedge_policy" in action or "hash_policy" in action for action in actions(QUIET))


@pytest.mark.parametrize(("weight", "expected"), [(1, [1, 9999]), (10_000, [10_000, 0])])
def test_weights_are_ten_thousandths_with_the_candidate_first(weight: int, expected: list[int]) -> None:
    route = dataclasses.replace(ROLLOUT, candidate_weight=weight)
    weights = [[cluster["weight"] for cluster in action["weighted_clusters"]["clusters"]] for action in actions(route)]

    assert all(found == expected for found in weights)


def test_a_candidate_without_weight_gets_nothing_but_is_known() -> None:
    route = dataclasses.replace(ROLLOUT, candidate_weight=0)
    snapshot = dataclasses.replace(SNAPSHOT, routes=(route,))

    assert {names.stable(route)} == {action["cluster"] for action in actions(route)}
    assert len(config.cluster_documents(snapshot)) == 3


def test_cluster_names_are_read_back() -> None:
    found = [names.parse(document["name"]) for document in config.cluster_documents(SNAPSHOT)]

    assert [("flights", "stable"), ("flights", "candidate"), ("flights", "composite"), ("prices", "stable")] == [
        (name.service, name.role) for name in found if name is not None
    ]
    assert names.parse("flights/production/elsewhere/a") is None
    assert names.parse("") is None


def test_a_new_rollout_has_its_own_salt_and_its_own_candidate_cluster() -> None:
    again = dataclasses.replace(ROLLOUT, salt="rollout-13")

    assert names.salt(ROLLOUT) != names.salt(again)
    assert names.salt(ROLLOUT) != names.salt(dataclasses.replace(ROLLOUT, environment="integration"))
    assert names.candidate(ROLLOUT, arm("b", 1)) != names.candidate(again, arm("b", 1))
    assert names.stable(ROLLOUT) == names.stable(again)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "ä", "-x", "a" * 64])
def test_a_name_that_could_leave_its_place_is_refused(name: str) -> None:
    with pytest.raises(errors.InvariantError):
        names.segment(name)


def test_grpc_calls_are_never_answered_by_a_fixed_body_a_table_or_a_function() -> None:
    document = routes.document("production", [dataclasses.replace(LAUNCH, fallback_body=b"{}")])
    calls = [
        entry
        for host in document["virtual_hosts"]
        for entry in host["routes"]
        if "route" in entry and grpc_bridge.BRIDGE in entry.get("typed_per_filter_config", {})
    ]
    made = {cluster["name"]: cluster for cluster in config.cluster_documents(PLAN, OUTSIDE)}
    named = {
        part["name"] for entry in calls for part in entry["route"].get("weighted_clusters", {}).get("clusters", [])
    }
    named |= {entry["route"]["cluster"] for entry in calls if "cluster" in entry["route"]}
    members = {
        member["name"]
        for name in named
        for member in made[name].get("cluster_type", {}).get("typed_config", {}).get("clusters", [])
    }

    assert calls
    assert not any("envoy.filters.http.custom_response" in entry["typed_per_filter_config"] for entry in calls)
    assert {"url"} == {name.split("/fallback/")[1].partition("-")[0] for name in members if "/fallback/" in name}


@pytest.mark.parametrize(("named", "repeated"), [((), False), ((grpc_bridge.PREDICT_PATH,), True)])
def test_of_an_app_calls_are_repeated_only_if_they_are_named(named: tuple[str, ...], *, repeated: bool) -> None:
    route = dataclasses.replace(QUIET, standard_paths=False, predict_paths=named)
    (host, _) = routes.document("production", [route])["virtual_hosts"]
    found = [entry for entry in host["routes"] if grpc_bridge.BRIDGE in entry.get("typed_per_filter_config", {})]

    assert repeated == any(entry["name"] == "predict" for entry in found)
