"""Services and environments side by side, behind one Envoy."""

from __future__ import annotations

import dataclasses
import json

import lab
import process_lab
import pytest

from softlaunch.testing import releases

ROW = json.dumps(releases.LIVE_ROW).encode()


def release_at(port: int, path: str, host: str | None = None) -> str | None:
    status, answer = process_lab.ask(port, ROW, path=path, host=host)
    return json.loads(answer)["release"] if status == 200 else None


@pytest.mark.slow
def test_two_services_in_two_environments_roll_out_at_once_and_keep_their_addresses() -> None:
    with process_lab.laboratory() as found:
        production = dataclasses.replace(lab.strategy(), request_timeout_seconds=1.0)
        staging = dataclasses.replace(production, name="staging")
        places = {
            (service, environment.name): (found.make(f"{service}-{environment.name}", service=service), environment)
            for service in ("pricing", "ranking")
            for environment in (production, staging)
        }

        numbers = [
            found.start(digest, environment, service=service) for (service, _), (digest, environment) in places.items()
        ]
        views = [found.finished(number) for number in numbers]

        assert ["promoted"] * 4 == [view["outcome"] for view in views]
        assert views[0]["created_at"] < views[-1]["created_at"] < views[0]["finished_at"], "they ran at once"
        ports = found.client.get("/v1/status")["environments"]
        for (service, name), (digest, _) in places.items():
            port = ports[name]["port"]
            assert digest.short == release_at(port, f"/{service}/predict")
            assert digest.short == release_at(port, "/predict", host=f"{service}.localhost:{port}")
            assert release_at(port, "/predict") is None, "/ belongs to nobody where two services are"


def test_a_service_that_is_alone_answers_at_the_root_too(running: process_lab.ProcessLab) -> None:
    addresses = [("/predict", None), (f"/{lab.SERVICE}/predict", None), ("/predict", f"{lab.SERVICE}.localhost")]

    assert {True} == {release_at(running.port, path, host) is not None for path, host in addresses}
