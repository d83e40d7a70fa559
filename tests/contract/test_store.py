"""What every ports.store.Store promises; each adapter passes all of it."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import threading
from collections.abc import Iterator

import pytest

from softlaunch import errors
from softlaunch.adapters.sql import store as sql
from softlaunch.core import release, spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.ports import gateway, store
from softlaunch.testing import store as in_memory

ONE = release.Digest("sha256:" + "1" * 64)
TWO = release.Digest("sha256:" + "2" * 64)
PRODUCTION = spec.EnvironmentSpec(
    name="production",
    branch="main",
    after="integration",
    strategy=spec.StrategySpec(
        kind=spec.StrategyKind.CANARY,
        steps=spec.shares(100, 2_500, 10_000),
        key_header="x-user-id",
        guardrails=(spec.GuardrailName.ERRORS, spec.GuardrailName.LATENCY),
        latency_slo_ms=12.5,
    ),
    fallback_body=b'{"late": "sp\xc3\xa4t"}',
    env={"CARRIER_API": "http://localhost/ä"},
)


@pytest.fixture(params=["memory", "sqlite"])
def kept(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[store.Store]:
    if request.param == "memory":
        yield in_memory.InMemoryStore()
    else:
        with sql.SqlStore(tmp_path / "state.db") as opened:
            yield opened


def live(service: str = "flights", environment: str = "production", **changes) -> store.LiveRecord:
    return dataclasses.replace(
        store.LiveRecord(service=service, environment=environment, spec=PRODUCTION, stable=ONE), **changes
    )


def rollout(number: int, **changes) -> store.RolloutRecord:
    plan = phases.plan_of(PRODUCTION, compared=True)
    record = store.RolloutRecord(
        id=number,
        service="flights",
        environment="production",
        candidate=TWO,
        stable=ONE,
        spec=PRODUCTION,
        state=machine.begin(plan, now=1_700_000_000.25, reason="Launch of 222222222222 (main) by ann.").state,
        ref="main",
        commit="c" * 40,
        requested_by="ann",
        salt="5a17",
        created_at=1_700_000_000.25,
    )
    return dataclasses.replace(record, **changes)


def finished(number: int, **changes) -> store.RolloutRecord:
    return rollout(number, finished_at=1_700_000_100.0, **changes)


def note(text: str, **changes) -> store.HistoryEvent:
    record = store.HistoryEvent(
        id=0, at=1.5, service="flights", environment="production", rollout_id=None, kind="step", text=text
    )
    return dataclasses.replace(record, **changes)


def pin(at: float = 10.0, **changes) -> store.Pin:
    record = store.Pin(
        service="flights",
        environment="production",
        release=TWO,
        commit="c" * 40,
        reason="Errors: 12 of 50 against 1 of 5,000.",
        by="softlaunch",
        at=at,
    )
    return dataclasses.replace(record, **changes)


def complaint(text: str, **changes) -> store.Complaint:
    record = store.Complaint(
        id=0,
        at=5.5,
        service="flights",
        environment="production",
        release=TWO.short,
        prediction="req-1:0",
        text=text,
        by="ann",
        source="cli",
    )
    return dataclasses.replace(record, **changes)


def test_a_new_store_is_empty(kept: store.Store) -> None:
    assert store.World() == kept.load()
    assert () == tuple(kept.pins())
    assert () == tuple(kept.complaints())
    assert kept.bookmark("spool") is None
    assert () == tuple(kept.rollouts())
    assert () == tuple(kept.events())
    assert () == tuple(kept.keys(1))


def test_an_empty_change_changes_nothing(kept: store.Store) -> None:
    kept.commit(store.Change())

    assert store.World() == kept.load()


def test_what_was_committed_is_loaded_field_for_field(kept: store.Store) -> None:
    place = live(stable=None, previous=TWO, warm_until=1_700_000_900.5, epoch=7, history={"errors": {"rate": 0.005}})
    following = store.Successor(id=4, release=ONE, spec=PRODUCTION, ref="hotfix", commit="d" * 40, requested_by="bob")
    launch = rollout(3, evidence={"errors": [1.5, -2.25]}, measured={"first_bad_at": None}, successor=following)
    cursor = gateway.LogCursor(file_id=77, offset=4_096)

    kept.commit(store.Change(lives=[place], rollouts=[launch], listeners={"production": 8080}, cursor=cursor))

    world = store.World(
        lives=(place,), rollouts=(launch,), listeners={"production": 8080}, cursor=cursor, rollout_id_last=4
    )
    assert world == kept.load()


def test_every_kind_of_rollout_state_comes_back_the_same(kept: store.Store) -> None:
    state = rollout(1).state
    held = phases.Hold(kind=phases.HoldKind.EVIDENCE_LOST, reason="a gap of 10 lines")
    for following in (
        dataclasses.replace(state, phase=phases.Phase.STEPPING, step=1, paused=True, hold=held),
        dataclasses.replace(state, phase=phases.Phase.RETURNING, ending=phases.Phase.ABORTED),
        machine.advance(state, messages.CandidateReady(), now=2.0).state,
    ):
        kept.commit(store.Change(rollouts=[rollout(1, state=following)]))

        assert following == kept.load().rollouts[0].state


def test_an_infinite_log_likelihood_in_the_evidence_comes_back(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[rollout(1, evidence={"log": [-math.inf, 0.1]})]))

    assert {"log": [-math.inf, 0.1]} == kept.load().rollouts[0].evidence


def test_evidence_comes_back_as_json_knows_it(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[rollout(1, evidence={"pair": (1, 2)})]))

    assert {"pair": [1, 2]} == kept.load().rollouts[0].evidence


def test_a_later_commit_replaces_records_and_keeps_the_rest(kept: store.Store) -> None:
    kept.commit(
        store.Change(
            lives=[live(), live(service="taxi")],
            rollouts=[rollout(1)],
            listeners={"production": 8080},
            cursor=gateway.LogCursor(file_id=1, offset=10),
        )
    )

    kept.commit(store.Change(lives=[live(stable=TWO, previous=ONE)], listeners={"integration": 8081}))

    world = kept.load()
    assert (live(stable=TWO, previous=ONE), live(service="taxi")) == world.lives
    assert (rollout(1),) == world.rollouts
    assert {"production": 8080, "integration": 8081} == world.listeners
    assert gateway.LogCursor(file_id=1, offset=10) == world.cursor


def test_a_finished_rollout_leaves_the_world_but_not_the_store(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[rollout(4)]))
    kept.commit(store.Change(rollouts=[finished(4)]))

    assert () == kept.load().rollouts
    assert 4 == kept.load().rollout_id_last
    assert (finished(4),) == tuple(kept.rollouts())


def test_the_number_promised_to_a_successor_counts_as_given(kept: store.Store) -> None:
    following = store.Successor(id=7, release=ONE, spec=PRODUCTION, ref="v2", commit="d" * 40, requested_by="bob")
    kept.commit(store.Change(rollouts=[finished(1), rollout(2, successor=following)]))

    assert 7 == kept.load().rollout_id_last


def test_one_change_may_end_a_rollout_and_begin_the_next(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[rollout(1)]))

    kept.commit(store.Change(rollouts=[rollout(2), finished(1)]))

    assert (rollout(2),) == kept.load().rollouts


def test_two_unfinished_rollouts_in_one_place_are_refused(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[rollout(1)]))

    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(rollouts=[rollout(2)], cursor=gateway.LogCursor(offset=9)))

    assert (rollout(1),) == kept.load().rollouts
    assert gateway.LogCursor() == kept.load().cursor


def test_rollouts_in_different_places_run_at_once(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[rollout(1), rollout(2, environment="integration"), rollout(3, service="taxi")]))

    assert [1, 2, 3] == [found.id for found in kept.load().rollouts]


def test_a_rollout_is_found_by_its_number(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[finished(1), finished(2, service="taxi")]))

    found = kept.rollout(2)

    assert found is not None
    assert (2, "taxi") == (found.id, found.service)
    assert kept.rollout(3) is None


def test_rollouts_are_listed_newest_first_filtered_and_limited(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[finished(number) for number in (1, 2, 3)] + [finished(4, service="taxi")]))
    kept.commit(store.Change(rollouts=[finished(5, environment="integration")]))

    assert [5, 4, 3, 2, 1] == [found.id for found in kept.rollouts()]
    assert [5, 4] == [found.id for found in kept.rollouts(limit=2)]
    assert [5, 3, 2, 1] == [found.id for found in kept.rollouts(service="flights")]
    assert [3, 2] == [found.id for found in kept.rollouts(service="flights", environment="production", limit=2)]
    assert [] == list(kept.rollouts(service="nobody"))


def test_rollouts_of_a_release_are_found_whatever_its_settings(kept: store.Store) -> None:
    plain, other = finished(1), finished(2, candidate=release.arm(TWO, 1), settings_changed={"added": ["A"]})
    kept.commit(store.Change(rollouts=[plain, other, finished(3, candidate=ONE), rollout(4, service="taxi")]))

    for asked in (TWO, release.arm(TWO, 1), release.arm(TWO, 7)):
        assert [other, plain] == list(kept.rollouts(service="flights", release=asked))
    assert [other] == list(kept.rollouts(service="flights", release=TWO, limit=1))
    assert [3] == [found.id for found in kept.rollouts(release=ONE)]


def test_arms_come_back_as_they_are_wherever_they_stand(kept: store.Store) -> None:
    first, second = release.arm(ONE, 1), release.arm(ONE, 12)
    successor = store.Successor(id=2, release=second, spec=PRODUCTION, ref="main", commit="d" * 40, requested_by="bob")
    place = live(stable=first, previous=ONE, previous_spec=dataclasses.replace(PRODUCTION, env={"LEVEL": "info"}))
    entering = rollout(1, candidate=second, stable=first, successor=successor)
    pins = [pin(30.0), pin(20.0, release=second), pin(10.0, release=release.exactly(TWO))]
    kept.commit(store.Change(lives=[place], rollouts=[entering], pins=pins))

    world = kept.load()
    assert ((place,), (entering,)) == (world.lives, world.rollouts)
    assert pins == list(kept.pins())


def test_one_rollout_is_found_by_its_number_finished_or_not(kept: store.Store) -> None:
    kept.commit(store.Change(rollouts=[finished(1), rollout(2)]))

    assert finished(1) == kept.rollout(1)
    assert rollout(2) == kept.rollout(2)
    assert kept.rollout(3) is None


def test_history_is_numbered_in_the_order_of_commits(kept: store.Store) -> None:
    kept.commit(store.Change(events=[note("a"), note("b")]))
    kept.commit(store.Change(events=[note("c")]))

    found = kept.events()
    assert ["a", "b", "c"] == [event.text for event in found]
    assert sorted({event.id for event in found}) == [event.id for event in found]
    assert min(event.id for event in found) > 0
    assert note("a", id=found[0].id) == found[0]


def test_history_goes_on_after_the_last_record_seen(kept: store.Store) -> None:
    kept.commit(store.Change(events=[note(str(number)) for number in range(5)]))
    seen = kept.events(limit=2)

    assert ["0", "1"] == [event.text for event in seen]
    assert ["2", "3", "4"] == [event.text for event in kept.events(after_id=seen[-1].id)]
    assert ["2"] == [event.text for event in kept.events(after_id=seen[-1].id, limit=1)]
    assert [] == list(kept.events(after_id=kept.events()[-1].id))


def test_history_is_filtered_by_place_and_rollout(kept: store.Store) -> None:
    kept.commit(
        store.Change(
            rollouts=[rollout(1), rollout(2, service="taxi")],
            events=[
                note("a", rollout_id=1),
                note("b", rollout_id=2, service="taxi"),
                note("c", environment="integration"),
            ],
        )
    )

    assert ["a", "c"] == [event.text for event in kept.events(service="flights")]
    assert ["a", "b"] == [event.text for event in kept.events(environment="production")]
    assert ["b"] == [event.text for event in kept.events(rollout_id=2)]
    assert [] == list(kept.events(service="taxi", rollout_id=1))


def test_a_history_record_that_brings_its_own_number_is_refused(kept: store.Store) -> None:
    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(events=[note("a", id=5)], listeners={"production": 8080}))

    assert {} == kept.load().listeners


def test_history_of_an_unknown_rollout_is_refused_with_all_of_its_change(kept: store.Store) -> None:
    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(lives=[live()], events=[note("a", rollout_id=9)]))

    assert store.World() == kept.load()
    assert [] == list(kept.events())


def test_keys_gather_by_rollout_in_the_order_they_were_seen(kept: store.Store) -> None:
    first = [("errors", 0), ("errors", 2**64 - 1), ("latency", 2**63)]
    kept.commit(store.Change(rollouts=[rollout(1), rollout(2, service="taxi")], keys={1: first}))
    kept.commit(store.Change(keys={2: [("errors", 5)], 1: [("errors", 2**63 - 1)]}))

    assert [*first, ("errors", 2**63 - 1)] == list(kept.keys(1))
    assert [("errors", 5)] == list(kept.keys(2))


@pytest.mark.parametrize("key", [-1, 2**64])
def test_a_key_that_is_no_unsigned_64_bit_number_is_refused(kept: store.Store, key: int) -> None:
    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(rollouts=[rollout(1)], keys={1: [("errors", key)]}))

    assert () == kept.load().rollouts


def test_keys_of_an_unknown_rollout_are_refused(kept: store.Store) -> None:
    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(keys={1: [("errors", 5)]}))


def test_a_port_once_given_never_changes(kept: store.Store) -> None:
    kept.commit(store.Change(listeners={"production": 8080}))
    kept.commit(store.Change(listeners={"production": 8080}))

    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(listeners={"production": 8081}))

    assert {"production": 8080} == kept.load().listeners


def test_an_inode_above_63_bits_survives(kept: store.Store) -> None:
    cursor = gateway.LogCursor(file_id=2**64 - 3, offset=2**40)
    kept.commit(store.Change(cursor=cursor))

    assert cursor == kept.load().cursor


def test_threads_read_whole_commits_while_another_writes(kept: store.Store) -> None:
    stop = threading.Event()
    torn: list[store.World] = []

    def read() -> None:
        while not stop.is_set():
            world = kept.load()
            if world.rollouts and world.rollouts[0].evidence["count"] != world.cursor.offset:
                torn.append(world)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for count in range(60):
            kept.commit(
                store.Change(
                    rollouts=[rollout(1, evidence={"count": count})],
                    cursor=gateway.LogCursor(offset=count),
                    events=[note(str(count), rollout_id=1)],
                )
            )
    finally:
        stop.set()
        for reader in readers:
            reader.join()

    assert [] == torn
    assert 60 == len(kept.events())


def test_half_a_character_in_a_message_does_not_stop_a_commit(kept: store.Store) -> None:
    state = dataclasses.replace(rollout(1).state, reason="printed \udcff")
    kept.commit(
        store.Change(rollouts=[rollout(1, state=state, measured={"said": "\udcff"})], events=[note("printed \udcff")])
    )

    assert kept.load().rollouts[0].state.reason.startswith("printed ")
    assert kept.events()[0].text.startswith("printed ")


def test_pins_are_listed_newest_first_and_by_place(kept: store.Store) -> None:
    elsewhere = pin(30.0, environment="integration")
    kept.commit(store.Change(pins=[pin(10.0), pin(20.0, release=ONE), elsewhere]))

    assert [elsewhere, pin(20.0, release=ONE), pin(10.0)] == list(kept.pins())
    assert [elsewhere] == list(kept.pins(environment="integration"))
    assert [] == list(kept.pins(service="taxi"))


def test_a_lifted_pin_replaces_the_one_it_was_and_a_later_pin_of_the_same_release_is_another(kept: store.Store) -> None:
    lifted = pin(10.0, lifted_at=15.25, lifted_by="bob", lifted_reason="the fault was the feed's")
    kept.commit(store.Change(pins=[pin(10.0)]))
    kept.commit(store.Change(pins=[lifted]))
    kept.commit(store.Change(pins=[pin(20.0)]))

    assert [pin(20.0), lifted] == list(kept.pins(service="flights", environment="production"))


def test_complaints_are_numbered_and_listed_newest_first(kept: store.Store) -> None:
    kept.commit(store.Change(complaints=[complaint("late", at=7.0), complaint("early", at=3.0)]))
    kept.commit(store.Change(complaints=[complaint("also late", at=7.0)]))

    found = kept.complaints()
    assert ["also late", "late", "early"] == [each.text for each in found]
    assert len({each.id for each in found} - {0}) == 3
    assert complaint("early", at=3.0, id=found[2].id) == found[2]


def test_complaints_are_filtered_by_place_and_time_and_limited(kept: store.Store) -> None:
    kept.commit(
        store.Change(
            complaints=[
                complaint("a", at=1.0),
                complaint("b", at=2.0, service="taxi"),
                complaint("c", at=3.0, environment="integration"),
                complaint("d", at=4.0),
            ]
        )
    )

    assert ["d", "a"] == [found.text for found in kept.complaints(service="flights", environment="production")]
    assert ["d", "c", "b"] == [found.text for found in kept.complaints(since=2.0)]
    assert ["d", "c"] == [found.text for found in kept.complaints(limit=2)]


def test_the_same_ticket_told_twice_is_one_complaint(kept: store.Store) -> None:
    kept.commit(store.Change(complaints=[complaint("first", external_id="T-1"), complaint("again", external_id="T-1")]))
    kept.commit(store.Change(complaints=[complaint("and again", external_id="T-1"), complaint("other")]))
    kept.commit(store.Change(complaints=[complaint("no ticket either")]))

    assert ["no ticket either", "other", "first"] == [found.text for found in kept.complaints()]


def test_a_complaint_that_brings_its_own_number_is_refused(kept: store.Store) -> None:
    with pytest.raises(errors.InvariantError):
        kept.commit(store.Change(complaints=[complaint("a", id=5)], bookmarks={"spool": "7"}))

    assert kept.bookmark("spool") is None


def test_a_bookmark_holds_what_was_last_written_under_its_name(kept: store.Store) -> None:
    kept.commit(store.Change(bookmarks={"spool": "segment 7", "hooks": "[]"}))
    kept.commit(store.Change(bookmarks={"spool": "segment 8"}))

    assert ("segment 8", "[]", None) == (kept.bookmark("spool"), kept.bookmark("hooks"), kept.bookmark("nothing"))
