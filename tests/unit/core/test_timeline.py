"""What was live at a moment, from records alone."""

from __future__ import annotations

from typing import Any

from softlaunch.core import timeline

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def record(at: float, kind: str, *, number: int = 1, release: str = NEW, **facts: Any) -> timeline.Record:
    found = {
        "release": release,
        "stable": OLD,
        "serves": {OLD: 100.0},
        "phase": "stepping",
        "requested_by": "ann",
        "ref": "main",
        "commit": "c" * 40,
        **facts,
    }
    return timeline.Record(
        at=at, service="flights", environment="production", rollout_id=number, kind=kind, text=f"{kind}.", facts=found
    )


FIRST = [
    record(1.0, "started", release=OLD, stable=None, serves={}, phase="preparing"),
    record(2.0, "finished", release=OLD, phase="finishing"),
    record(3.0, "ended", release=OLD, phase="promoted"),
]


def at(moment: float, *records: timeline.Record) -> timeline.Moment:
    (found,) = timeline.moments([*FIRST, *records], moment)
    return found


def test_before_the_first_record_there_is_no_place() -> None:
    assert [] == timeline.moments(FIRST, 0.5)


def test_a_record_takes_effect_at_its_own_time() -> None:
    assert at(1.999).live is None
    live = at(2.0).live
    assert live is not None
    assert (OLD, 2.0, None) == (live.release, live.since, live.until)


def test_what_enters_is_told_with_who_approved_it_and_how_it_ended() -> None:
    later = [
        record(10.0, "started", number=2, phase="preparing"),
        record(11.0, "approved", number=2, by="bob"),
        record(12.0, "step", number=2, serves={NEW: 25.0, OLD: 75.0}),
        record(13.0, "rolling_back", number=2, phase="returning"),
        record(14.0, "ended", number=2, phase="rolled_back"),
    ]

    found = at(12.5, *later)

    assert {NEW: 25.0, OLD: 75.0} == found.serves
    assert found.entering is not None
    assert (["bob"], "rolled_back", 14.0, "rolling_back.") == (
        found.entering.approved_by,
        found.entering.outcome,
        found.entering.ended_at,
        found.entering.why,
    )
    assert found.live is not None
    assert found.live.until is None, "the old release stayed"
    assert at(14.0, *later).entering is None


def test_what_was_live_tells_what_it_left_for_and_why() -> None:
    later = [
        record(10.0, "started", number=2, phase="preparing"),
        record(20.0, "finished", number=2, phase="finishing", stable=NEW, serves={NEW: 100.0}),
        record(25.0, "ended", number=2, phase="promoted", stable=NEW, serves={NEW: 100.0}),
    ]

    live = at(15.0, *later).live

    assert live is not None
    assert live.successor is not None
    assert (20.0, NEW, 2, "started. finished.") == (
        live.until,
        live.successor.release,
        live.successor.rollout,
        live.why,
    )
    then = at(30.0, *later).live
    assert then is not None
    assert (NEW, 20.0) == (then.release, then.since)


def test_a_record_without_facts_says_nothing() -> None:
    note = timeline.Record(
        at=5.0, service="flights", environment="production", rollout_id=None, kind="pinned", text="x", facts={}
    )

    assert at(5.0, note).serves == at(4.0).serves
