"""The report is one page that needs nothing else, tells everything, and trusts no text."""

from __future__ import annotations

import html.parser
import re

import pytest

from softlaunch.controller import curves, report, views
from softlaunch.core import spec
from softlaunch.testing import simulator, virtual_traffic

VOID = {"meta", "line", "polyline"}


class Structure(html.parser.HTMLParser):
    """Checks that every element is closed, in order, and collects text and tags."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> Structure:
    found = Structure()
    found.feed(page)
    assert [] == found.open
    return found


@pytest.fixture
def told(world: simulator.Simulator, stable, production: spec.EnvironmentSpec) -> tuple[dict, list]:
    """A rollout that was taken back, with its curve and its history."""
    bad = world.release("bad", virtual_traffic.Behaviour(error_rate=0.1))
    number = world.deploy(bad, production, ref="<script>alert(1)</script>").rollout_id
    curve = curves.Curve()

    def over() -> bool:
        view = world.view(number)
        if view["evidence"] and view["phase"] == "stepping":
            curve.offer(world.clock.now(), view["evidence"], share=view["candidate_percent"] / 100, step=view["step"])
        return view["outcome"] is not None

    world.run(over)
    view = world.view(number)
    view["measured"]["curve"] = curve.document()
    return view, views.events(list(world.store.events(rollout_id=number)))


def page_of(told: tuple[dict, list]) -> str:
    return report.page(told[0], events=told[1], generated_at=1_700_000_000.0)


def test_the_page_loads_nothing_from_anywhere(told):
    page = page_of(told)
    found = read(page)

    assert not re.search(r"(https?:)?//|url\(|@import", page)
    assert [] == [tag for tag, given in found.tags if {"src", "href"} & given.keys() or tag in ("script", "link")]
    assert "default-src 'none'" in page


def test_no_text_of_a_rollout_becomes_markup(told):
    view, events = told
    nasty = '"><img src=x onerror=alert(1)>'
    view["reason"] = view["requested_by"] = view["service"] = nasty
    view["measured"]["examples"] = [{"request": nasty, "stable": nasty, "candidate": nasty}]
    view["measured"]["checks"] = [{"name": nasty, "enforcing": True, "verdict": nasty, "reason": nasty}]
    view["evidence"]["guardrails"][nasty] = {**view["evidence"]["guardrails"]["errors"], "reason": nasty}
    view["measured"]["curve"]["guardrails"][nasty] = view["measured"]["curve"]["guardrails"]["errors"]
    page = page_of((view, [{**events[0], "kind": nasty, "text": nasty}]))

    assert "<img" not in page
    assert "<script" not in page
    read(page)


def test_the_page_says_what_was_decided_why_when_and_by_whom(told):
    text = " ".join(read(page_of(told)).text)

    assert "Rolled back" in text
    assert told[0]["reason"] in text
    assert all(event["text"] in text for event in told[1])
    assert "Asked for by tester." in text
    assert f"softlaunch rejudge {told[0]['id']}" in text


def test_each_guardrail_has_its_curve_with_both_thresholds_and_words_for_who_cannot_see_it(told):
    found = read(page_of(told))
    charts = [given for tag, given in found.tags if tag == "svg"]
    lines = [given["class"] for tag, given in found.tags if tag == "polyline"]

    assert 4 == len(charts)
    assert all(chart["role"] == "img" and "odds that it is worse" in chart["aria-label"] for chart in charts)
    assert ["line good", "line worse"] * 4 == lines
    assert 4 == sum("takes it back at 1 : " in text for text in found.text)


def test_no_point_of_a_curve_lies_outside_its_chart(told):
    curve = told[0]["measured"]["curve"]["guardrails"]["errors"]
    curve["log_e"][-1], curve["log_e_promote"][-1] = 900.0, -900.0
    places = re.findall(r'points="([^"]*)"', page_of(told))

    for place in " ".join(places).split():
        x, y = (float(number) for number in place.split(","))
        assert 0 <= x <= 440
        assert 0 <= y <= 240


def test_differing_answers_are_shown_side_by_side(told):
    view, events = told
    view["measured"]["examples"] = [{"request": "0f3b", "stable": "n:0.42", "candidate": "n:0.91"}]
    text = read(page_of((view, events))).text

    assert ["n:0.42", "n:0.91"] == [found for found in text if found.startswith("n:")]


def test_a_rollout_that_has_only_begun_has_a_page(world, stable, production):
    number = world.deploy(world.release("new"), production).rollout_id
    page = report.page(world.view(number), events=[], generated_at=world.clock.now())

    assert "Running" in " ".join(read(page).text)
