"""Complaints: which release they count for, and when going back is offered."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch import errors
from softlaunch.controller import complaints
from softlaunch.core import spool as spools
from softlaunch.testing import spool as testing_spool


@pytest.fixture
def predictions() -> dict[str, tuple[str, str, str]]:
    return {}


@pytest.fixture
def reports(world, predictions) -> complaints.Complaints:
    return complaints.Complaints(store=world.store, loop=world.loop, find_release=predictions.get)


def tell(reports, prediction: str = "r-1", count: int = 1, **changes) -> complaints.Told:
    words = {"prediction": prediction, "text": "30 hours late", "by": "ann", "source": "cli"} | changes
    return [reports.report(**words) for _ in range(count)][-1]


def refusal(deed) -> errors.Code:
    with pytest.raises(errors.ConfigError) as refused:
        deed()
    return refused.value.code


def test_a_complaint_counts_for_the_release_that_made_the_prediction(world, stable, reports, predictions) -> None:
    predictions["r-1:3"] = ("demo", "production", stable.value)

    told = tell(reports, "r-1:3")

    assert told.new
    assert (told.complaint.release, told.complaint.service, told.complaint.environment) == (
        stable.short,
        "demo",
        "production",
    )
    assert [told.complaint] == list(world.store.complaints())
    assert told.complaint.at == world.clock.now()


def test_without_a_record_the_only_place_there_is_is_meant_and_the_release_is_unknown(stable, reports) -> None:
    told = tell(reports)

    assert ("demo", "production", "") == (told.complaint.service, told.complaint.environment, told.complaint.release)


def test_without_a_record_and_with_several_places_one_must_be_named(world, stable, production, reports) -> None:
    world.launch(stable, dataclasses.replace(production, name="integration"))

    assert errors.Code.NO_PREDICTION is refusal(lambda: tell(reports))
    assert errors.Code.NO_PREDICTION is refusal(lambda: tell(reports, environment="nowhere"))
    assert "integration" == tell(reports, environment="integration").complaint.environment


def test_where_nothing_is_live_a_complaint_needs_a_record(reports) -> None:
    assert errors.Code.NO_PREDICTION is refusal(lambda: tell(reports))


def test_a_place_that_the_records_contradict_is_refused(world, stable, reports, predictions) -> None:
    predictions["r-1"] = ("demo", "production", stable.value)

    assert errors.Code.NO_PREDICTION is refusal(lambda: tell(reports, service="taxi"))
    assert "production" == tell(reports, environment="production").complaint.environment


def test_records_that_tell_the_release_alone_are_enough_where_it_was_launched_once(world, stable, production) -> None:
    elsewhere = world.release("elsewhere")
    world.launch(elsewhere, dataclasses.replace(production, name="integration"))
    recorded = testing_spool.MemorySpool()
    recorded.write("demo", "integration", _record("r-9", elsewhere.short))
    reports = complaints.Complaints(store=world.store, loop=world.loop, find_release=complaints.recorded(recorded))

    for prediction in ("r-9", "r-9:4"):
        found = tell(reports, prediction).complaint
        assert ("integration", elsewhere.short) == (found.environment, found.release)
    assert errors.Code.NO_PREDICTION is refusal(lambda: tell(reports, "r-8"))


def test_the_same_ticket_twice_is_one_complaint(world, stable, reports) -> None:
    first, again = tell(reports, ticket="T-1"), tell(reports, ticket="T-1")

    assert (True, False) == (first.new, again.new)
    assert 1 == len(world.store.complaints())


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction": ""},
        {"prediction": "a b"},
        {"prediction": "x" * 201},
        {"text": "  "},
        {"text": "x" * 4_001},
        {"by": ""},
        {"ticket": "x" * 201},
    ],
)
def test_what_is_no_complaint_is_refused(world, stable, reports, changes) -> None:
    assert errors.Code.BAD_COMPLAINT is refusal(lambda: tell(reports, **changes))
    assert () == tuple(world.store.complaints())


def test_complaints_are_counted_by_release_most_first(world, stable, production, reports, predictions) -> None:
    new = world.release("new")
    world.launch(new, production)
    predictions |= {"old": ("demo", "production", stable.value), "new": ("demo", "production", new.value)}
    tell(reports, "old")
    tell(reports, "new", count=2)

    (place,) = reports.summary()

    assert [(new.short, 2, "live"), (stable.short, 1, "previous")] == [
        (group.release, group.count, group.role) for group in place.groups
    ]
    assert place.offer is None


def test_older_complaints_are_not_counted(world, stable, reports) -> None:
    tell(reports)
    world.clock.advance(100.0)

    assert 1 == len(reports.summary(since=world.clock.now() - 101.0))
    assert () == tuple(reports.summary(since=world.clock.now() - 99.0))


def test_clearly_more_complaints_than_before_offer_to_go_back(world, stable, production, reports, predictions) -> None:
    new = world.release("new")
    world.clock.advance(10_000.0)
    world.launch(new, production)
    predictions["new"] = ("demo", "production", new.value)
    tell(reports, "new", count=complaints.CLEAR_COUNT_MIN - 1)
    assert reports.summary()[0].offer is None

    tell(reports, "new")

    offer = reports.summary()[0].offer
    assert offer is not None
    assert (new.short, stable.short) == (offer.release, offer.before)
    assert (
        f"softlaunch rollback --to {stable.short} --service demo --env production --reason '3 complaints'"
        == offer.command
    )


def test_as_many_complaints_for_as_long_a_time_offer_nothing(world, stable, production, reports, predictions) -> None:
    new = world.release("new")
    predictions |= {"old": ("demo", "production", stable.value), "new": ("demo", "production", new.value)}
    world.clock.advance(10_000.0)
    tell(reports, "old", count=10)
    world.launch(new, production)
    world.clock.advance(10_000.0)
    tell(reports, "new", count=12)

    assert reports.summary()[0].offer is None


def test_a_candidate_is_compared_by_the_requests_it_answered(world, stable, production, reports, predictions) -> None:
    predictions["old"] = ("demo", "production", stable.value)
    tell(reports, "old", count=30)  # before the rollout: they say nothing about it
    world.step()
    new = world.release("new")
    predictions["new"] = ("demo", "production", new.value)
    number = world.deploy(new, dataclasses.replace(production)).rollout_id
    world.reach(number, "stepping")
    world.step(10)
    tell(reports, "new", count=4)

    offer = reports.summary()[0].offer
    assert offer is not None
    assert (new.short, stable.short) == (offer.release, offer.before)
    assert "requests of this rollout" in offer.text

    tell(reports, "old", count=40)
    assert reports.summary()[0].offer is None


def _record(request_id: str, release: str) -> spools.Record:
    return spools.Record(
        request_id=request_id,
        at=1.0,
        release=release,
        instance="i",
        arm=spools.PRIMARY,
        mirrored=False,
        path="/predict",
        content_type="application/json",
        request=b"{}",
        status=200,
        answer=b"{}",
        invalid=False,
        shed=False,
        service_us=1,
        cpu_us=None,
        key="",
        row_count=1,
        output="",
        memory_kib=1,
        served_count=1,
        dropped=0,
    )
