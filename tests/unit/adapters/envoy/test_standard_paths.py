"""Of somebody's own code nothing may be repeated but what is named."""

from __future__ import annotations

import json

from softlaunch.adapters.envoy import config, routes
from softlaunch.core import release
from softlaunch.core.rollout import traffic


def repeatable(*, standard_paths: bool, predict_paths: tuple[str, ...] = ()) -> set[str]:
    digest = release.Digest("sha256:" + "0" * 64)
    arm = traffic.ArmRoute(release=digest, replicas=(traffic.Replica(release=digest, number=0, socket="/tmp/a.sock"),))
    route = traffic.RouteSpec(
        service="a",
        environment="production",
        epoch=1,
        stable=arm,
        standard_paths=standard_paths,
        predict_paths=predict_paths,
    )
    (host, _) = routes.document("production", [route])["virtual_hosts"]
    return {json.dumps(found["match"]) for found in host["routes"] if found["name"] == "predict"}


def test_a_models_paths_may_be_repeated() -> None:
    assert any('"/predict"' in match for match in repeatable(standard_paths=True))


def test_an_apps_paths_may_not_unless_they_are_named() -> None:
    assert set() == repeatable(standard_paths=False)
    (match,) = repeatable(standard_paths=False, predict_paths=("/predict",))
    assert '"/predict"' in match


def test_clients_cannot_ask_the_supervisors_question() -> None:
    assert "x-softlaunch-probe" in config.FORBIDDEN_HEADERS
