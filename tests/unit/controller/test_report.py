"""The report is one page that needs nothing else, tells everything, and trusts no text."""

from __future__ import annotations

import html.parser
import re

import pytest

from softlaunch.controller import report, views
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


SHADOW = {
    "pair_count": 2_000,
    "joined_count": 1_998,
    "lost_count": 0,
    "compared_count": 1_990,
    "agreed_count": 1_960,
    "outcomes": {"ok": [2_000, 1_990], "error": [0, 8], "client_error": [0, 0]},
    "latency_us": {"p50": [4_000.0, 4_100.0], "p99": [9_000.0, None]},
    "cpu_us_mean": [300.0, 310.0],
    "outputs": [{"name": "0.1 to 0.2", "counts": [900, 940]}],
    "examples": ["0f3b n:0.42 against n:0.91"],
}


@pytest.fixture
def told(world: simulator.Simulator, stable, production: spec.EnvironmentSpec) -> dict:
    """A rollout that was taken back, with its curve and its history: what `page` is given."""
    bad = world.release("bad", virtual_traffic.Behaviour(error_rate=0.2))
    number = world.deploy(bad, production, ref="<script>alert(1)</script>").rollout_id
    view = world.end(number)
    record = world.store.rollout(number)
    assert record is not None
    return {
        "rollout": view,
        "events": views.events(list(world.store.events(rollout_id=number))),
        "curve": views.curve(world.loop, record),
    }


def page_of(told: dict) -> str:
    return report.page(told["rollout"], events=told["events"], curve=told["curve"], generated_at=1_700_000_000.0)


def test_the_page_loads_nothing_from_anywhere(told):
    page = page_of(told)
    found = read(page)

    assert not re.search(r"(https?:)?//|url\(|@import", page)
    assert [] == [tag for tag, given in found.tags if {"src", "href"} & given.keys() or tag in ("script", "link")]
    assert "default-src 'none'" in page


def test_no_text_of_a_rollout_becomes_markup(told):
    nasty = '"><img src=x onerror=alert(1)>'
    view, curve = told["rollout"], told["curve"]
    view["reason"] = view["requested_by"] = view["service"] = nasty
    view["measured"]["shadow"] = {**SHADOW, "examples": [nasty], "outputs": [{"name": nasty, "counts": [1, 2]}]}
    view["evidence"]["checks"] = [{"name": nasty, "enforcing": True, "verdict": nasty, "reason": nasty}]
    view["evidence"]["guardrails"][nasty] = {**view["evidence"]["guardrails"]["errors"], "reason": nasty}
    curve["guardrails"][nasty] = curve["guardrails"]["errors"]
    told["events"] = [{**told["events"][0], "kind": nasty, "text": nasty}]
    page = page_of(told)

    assert "<img" not in page
    assert "<script" not in page
    read(page)


def test_the_page_says_what_was_decided_why_when_and_by_whom(told):
    text = " ".join(read(page_of(told)).text)

    assert "Rolled back" in text
    assert told["rollout"]["reason"] in text
    assert all(event["text"] in text for event in told["events"])
    assert "Asked for by tester." in text
    assert f"softlaunch rejudge {told['rollout']['id']}" in text


def test_each_guardrail_has_its_curve_with_both_thresholds_and_words_for_who_cannot_see_it(told):
    found = read(page_of(told))
    charts = [given for tag, given in found.tags if tag == "svg"]
    lines = [given["class"] for tag, given in found.tags if tag == "polyline"]
    judged = [entry for entry in told["curve"]["guardrails"].values() if any(entry["candidate_trials"])]

    assert 4 <= len(judged) == len(charts)
    assert all(chart["role"] == "img" and "odds that it is worse" in chart["aria-label"] for chart in charts)
    assert ["line good", "line worse"] * len(charts) == lines
    enforcing = sum(entry["enforcing"] for entry in judged)
    assert enforcing == sum("takes it back at 1 : " in text for text in found.text)
    assert len(judged) - enforcing == sum("would take it back at 1 : " in text for text in found.text)


def test_no_point_of_a_curve_lies_outside_its_chart(told):
    curve = told["curve"]["guardrails"]["errors"]
    curve["log_e"][-1], curve["log_e_promote"][-1] = 900.0, -900.0
    places = re.findall(r'points="([^"]*)"', page_of(told))

    for place in " ".join(places).split():
        x, y = (float(number) for number in place.split(","))
        assert 0 <= x <= 440
        assert 0 <= y <= 240


def test_a_shadow_is_compared_side_by_side_with_the_first_differing_answers(told):
    told["rollout"]["measured"]["shadow"] = SHADOW
    text = read(page_of(told)).text

    assert any("Of 1,990 pairs of good answers, 30 differ (1.51 %)." in found for found in text)
    assert ["0f3b n:0.42 against n:0.91"] == [found for found in text if found.startswith("0f3b")]
    assert {"latency p99", "9 ms", "answer 0.1 to 0.2", "940"} <= set(text)


def test_a_rollout_that_has_only_begun_has_a_page(world, stable, production):
    number = world.deploy(world.release("new"), production).rollout_id
    page = report.page(world.view(number), events=[], generated_at=world.clock.now())

    assert "Running" in " ".join(read(page).text)
