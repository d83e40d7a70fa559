"""What is done about an environment whose branch says one thing while perhaps another thing runs."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from softlaunch.core import gitops

OLD, NEW, OTHER = (f"sha256:{letter * 64}" for letter in "abc")
TIP = gitops.Tip(commit="1" * 40, tree="t1")
RUNNING_OLD = gitops.Running(release=OLD, commit="0" * 40, by="git")
NOW = 1_000.0
FACTS = gitops.Facts(branch="main", tip=TIP, known_as="", running=RUNNING_OLD)
PIN = gitops.Pinned(release=NEW, commit="2" * 40, tree="t2", reason="it errs", by="ann")


def decide(**changes: object) -> gitops.Decision:
    return gitops.decide(dataclasses.replace(FACTS, **changes), NOW)  # type: ignore[arg-type]


def ended(exit_code: int | None, **changes: object) -> gitops.Attempt:
    known = {"commit": TIP.commit, "exit_code": exit_code, "text": "said", "ended_at": NOW, "left": OLD}
    return gitops.Attempt(**(known | changes))  # type: ignore[arg-type]


def test_a_new_commit_is_shipped() -> None:
    found = decide()

    assert (gitops.Standing.DUE, True) == (found.standing, found.ship)
    assert "main says 111111111111" in found.reason
    assert "aaaaaaaaaaaa" in found.reason


def test_the_first_commit_is_shipped_where_nothing_runs() -> None:
    assert decide(running=None).ship


def test_what_its_branch_says_is_left_alone() -> None:
    running = gitops.Running(release=NEW, commit=TIP.commit, by="git")

    found = decide(running=running, known_as=NEW)

    assert (gitops.Standing.SYNCED, False, False) == (found.standing, found.ship, found.drifted)


def test_what_somebody_deployed_by_hand_is_healed() -> None:
    by_hand = gitops.Running(release=OTHER, commit="9" * 40, by="bob")

    found = decide(running=by_hand, known_as=NEW, attempt=ended(0, release=NEW, left=NEW))

    assert found.ship
    assert "launched by bob" in found.reason


def test_the_same_release_of_another_commit_goes_through_a_pipeline_once() -> None:
    """Plan and fallback are no part of a release."""
    before = decide(known_as=OLD)
    after = decide(known_as=OLD, attempt=ended(0, release=OLD))

    assert (True, gitops.Standing.SYNCED) == (before.ship, after.standing)


@pytest.mark.parametrize(
    "tip",
    [
        gitops.Tip(commit=PIN.commit, tree="t9"),
        gitops.Tip(commit="8" * 40, tree=PIN.tree),
    ],
    ids=["the same commit", "a merge commit with the same content"],
)
def test_what_was_taken_back_is_not_launched_again(tip) -> None:
    found = decide(tip=tip, pins=(PIN,))

    assert (gitops.Standing.PINNED, False, PIN) == (found.standing, found.ship, found.pin)
    assert "ann" in found.reason
    assert "it errs" in found.reason


def test_other_content_that_becomes_the_pinned_release_is_not_launched_again() -> None:
    assert gitops.Standing.PINNED is decide(known_as=NEW, pins=(PIN,)).standing


def test_other_pins_keep_nothing_back() -> None:
    assert decide(known_as=OTHER, pins=(PIN, dataclasses.replace(PIN, tree=""))).ship


def test_a_commit_that_nobody_knows_the_content_of_is_not_taken_for_a_pinned_one() -> None:
    tip = gitops.Tip(commit="7" * 40, tree="")

    assert decide(tip=tip, pins=(dataclasses.replace(PIN, tree=""),)).ship


def test_a_branch_that_is_not_to_be_trusted_is_held() -> None:
    found = decide(tip=dataclasses.replace(TIP, trouble="main was rewritten."))

    assert (gitops.Standing.HELD, False, "main was rewritten.") == (found.standing, found.ship, found.reason)


def test_a_pipeline_that_runs_is_waited_for() -> None:
    assert gitops.Standing.SHIPPING is decide(attempt=ended(None)).standing


def test_a_new_commit_waits_for_the_rollout_of_another() -> None:
    entering = gitops.Entering(id=7, release=OTHER, commit="9" * 40, by="bob")

    found = decide(entering=entering)

    assert (gitops.Standing.WAITING, False) == (found.standing, found.ship)
    assert "rollout 7" in found.reason


def test_a_rollout_of_the_branch_s_own_commit_is_under_way() -> None:
    entering = gitops.Entering(id=7, release=NEW, commit=TIP.commit, by="git")

    assert gitops.Standing.SHIPPING is decide(entering=entering).standing


@pytest.mark.parametrize("exit_code", [gitops.EXIT_NO, gitops.EXIT_CALLER])
def test_a_commit_that_failed_is_not_tried_again_by_itself(exit_code) -> None:
    found = gitops.decide(dataclasses.replace(FACTS, attempt=ended(exit_code)), NOW + 1e9)

    assert (gitops.Standing.FAILED, False) == (found.standing, found.ship)
    assert "said" in found.reason


@pytest.mark.parametrize("exit_code", [3, 4])
def test_a_race_or_a_missing_neighbour_is_met_again_with_growing_patience(exit_code) -> None:
    waits = []
    for count in range(1, 12):
        attempt = ended(exit_code, count=count)
        facts = dataclasses.replace(FACTS, attempt=attempt)
        at = gitops.retry_at(attempt)
        assert not gitops.decide(facts, at - 0.001).ship
        assert gitops.decide(facts, at).ship
        waits.append(at - NOW)

    assert waits == sorted(waits)
    assert (gitops.RETRY_SECONDS_MIN, gitops.RETRY_SECONDS_MAX) == (waits[0], waits[-1])


def test_a_pipeline_that_says_it_is_done_and_changes_nothing_is_not_started_at_every_turn() -> None:
    attempt = ended(0, release=NEW, left=OLD)

    assert gitops.Standing.WAITING is decide(attempt=attempt).standing
    assert gitops.decide(dataclasses.replace(FACTS, attempt=attempt), gitops.retry_at(attempt)).ship


def test_going_back_wins_over_the_branch_until_its_next_commit() -> None:
    returned = dataclasses.replace(RUNNING_OLD, by="ann", returned=True)

    found = decide(running=returned, taken_back="ann went back to aaaa.")

    assert (gitops.Standing.ROLLED_BACK, False) == (found.standing, found.ship)
    assert "ann went back to aaaa. main is followed again from its next commit on." == found.reason
    assert decide(running=returned).ship


def test_going_back_to_what_the_branch_says_is_synced() -> None:
    returned = dataclasses.replace(RUNNING_OLD, release=NEW, returned=True)

    assert gitops.Standing.SYNCED is decide(running=returned, known_as=NEW, taken_back="ann went back.").standing


def test_a_pipeline_is_not_started_while_another_is_on_its_way_through() -> None:
    found = decide(busy="It waits for the pipeline to integration.")

    assert (gitops.Standing.WAITING, "It waits for the pipeline to integration.") == (found.standing, found.reason)


def test_whatever_is_pinned_is_never_shipped() -> None:
    """Every combination of everything else that can be known."""
    attempts = [None, *(ended(code, release=release) for code in (0, 1, 2, 3, 4) for release in ("", NEW, OTHER))]
    runnings = [None, RUNNING_OLD, dataclasses.replace(RUNNING_OLD, returned=True)]
    entering = [None, gitops.Entering(id=1, release=OTHER, commit="9" * 40, by="bob")]
    tips = [
        (gitops.Tip(commit=PIN.commit, tree=""), ""),
        (gitops.Tip(commit="8" * 40, tree=PIN.tree), ""),
        (TIP, PIN.release),
    ]
    count = 0
    for attempt, running, enters, (tip, known), back, busy in itertools.product(
        attempts, runnings, entering, tips, ("", "ann went back."), ("", "busy")
    ):
        facts = gitops.Facts(
            branch="main",
            tip=tip,
            known_as=known,
            running=running,
            entering=enters,
            pins=(PIN,),
            attempt=attempt,
            taken_back=back,
            busy=busy,
        )
        assert not gitops.decide(facts, NOW + 1e9).ship, facts
        count += 1
    assert count == 16 * 3 * 2 * 3 * 2 * 2
