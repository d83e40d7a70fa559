"""The chain of hashes: whatever is done to a record is found."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch.core import history_chain


def record(text: str) -> history_chain.Record:
    return history_chain.Record(
        id=0,
        at=1.5,
        service="flights",
        environment="production",
        rollout_id=3,
        kind="step",
        text=text,
        facts="{}",
        hash="",
    )


CHAIN = history_chain.chain(None, [record(f"{number}.") for number in range(10)])
HEADS = [history_chain.Head(id=found.id, hash=found.hash) for found in (CHAIN[3], CHAIN[-1])]


def first(records: list[history_chain.Record]) -> int:
    """Number of the first record that does not verify."""
    return history_chain.verify(records, HEADS).problems[0].record_id


def test_what_nobody_touched_verifies() -> None:
    found = history_chain.verify(CHAIN, HEADS)

    assert found.intact
    assert (10, 0, HEADS[-1]) == (found.record_count, found.unheaded_count, found.head)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", 1.6),
        ("service", "other"),
        ("environment", "integration"),
        ("rollout_id", None),
        ("kind", "ended"),
        ("text", "Nothing happened."),
        ("facts", '{"stable":null}'),
        ("hash", "0" * 64),
        ("at", 1),
        ("text", None),
    ],
)
def test_an_edited_field_is_found_at_its_record(field: str, value: object) -> None:
    edited = [dataclasses.replace(each, **{field: value}) if each.id == 6 else each for each in CHAIN]

    assert first(edited) == 6


def test_a_record_that_is_gone_is_found_at_the_next() -> None:
    assert first([each for each in CHAIN if each.id != 6]) == 7


def test_a_record_put_in_is_found() -> None:
    (forged,) = history_chain.chain(history_chain.Head(id=5, hash=CHAIN[4].hash), [record("forged")])

    assert first([*CHAIN[:5], forged, *CHAIN[5:]]) in (6, 7)


def test_two_records_that_changed_places_are_found() -> None:
    assert first([*CHAIN[:4], CHAIN[5], CHAIN[4], *CHAIN[6:]]) in (5, 6)


def test_an_end_that_was_cut_off_is_missed_by_its_head() -> None:
    assert not history_chain.verify(CHAIN[:-2], HEADS).intact
    assert history_chain.verify(CHAIN[:-2], HEADS[:1]).intact, "without a head nothing can show it"


def test_a_chain_written_anew_does_not_meet_its_heads() -> None:
    anew = history_chain.chain(None, [record(f"{number}!") for number in range(10)])

    assert history_chain.verify(anew, []).intact
    assert not history_chain.verify(anew, HEADS).intact
