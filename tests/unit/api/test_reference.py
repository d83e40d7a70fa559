"""The API's page against the API."""

from __future__ import annotations

import pathlib
import re

import fastapi.routing

from softlaunch.controller import views
from softlaunch.core.rollout import messages

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


def test_the_page_has_exactly_the_routes_there_are(machine) -> None:
    routes = {
        (method, route.path)
        for route in machine.client.app.routes
        if isinstance(route, fastapi.routing.APIRoute)
        for method in route.methods
    }

    assert routes == set(re.findall(r"^### (GET|POST) (\S+)$", PAGE, re.MULTILINE))


def test_the_page_names_every_field_of_a_rollout(machine, live) -> None:
    view = machine.client.get("/v1/rollouts/1").json()
    section = PAGE.partition("### GET /v1/rollouts/{number}\n")[2].partition("###")[0]

    assert set(view) - set(re.findall(r"`(\w+)`", section)) == set()
    assert set(view["measured"]) - set(re.findall(r"`(\w+)`", section)) == set()


def test_the_page_s_examples_have_the_fields_of_real_answers(machine, live) -> None:
    status = views.status(machine.world.loop)

    for key in [*status, *status["services"][0], *status["services"][0]["replicas"][0]]:
        assert f'"{key}":' in PAGE


def test_the_page_lists_every_kind_of_history_record() -> None:
    (sentence,) = re.findall(r"`kind` is one of ([\w, ]+)\.", PAGE)

    assert {kind.value for kind in messages.AnnouncementKind} == set(sentence.split(", "))
