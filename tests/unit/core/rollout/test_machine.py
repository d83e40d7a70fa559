"""The machine's transitions one by one; test_machine_walk.py checks the rules over all of them."""

from __future__ import annotations

import dataclasses

import pytest

from softlaunch.core import spec
from softlaunch.core.rollout import machine, messages, phases
from softlaunch.core.rollout.messages import AnnouncementKind, Verdict
from softlaunch.core.rollout.phases import HoldKind, Phase

CANARY = phases.LaunchPlan(
    steps=spec.shares(100, 2_500, 10_000), compared=True, verified_only=False, watch_seconds=60.0
)
FIRST = dataclasses.replace(CANARY, compared=False)
SMOKE_ONLY = dataclasses.replace(CANARY, verified_only=True)
BLUE_GREEN = dataclasses.replace(CANARY, steps=spec.shares(10_000))
ROLLBACK = dataclasses.replace(CANARY, immediate=True)
NOT_WATCHED = dataclasses.replace(CANARY, watch_seconds=0.0)

READY = messages.CandidateReady()
VERIFIED = messages.VerifyPassed(detail="20 of 20 smoke requests passed.")
TICK = messages.Ticked()
PAUSE = messages.PauseAsked(by="ann")
RESUME = messages.ResumeAsked(by="ann")
LOST = messages.EvidenceLost(reason="a gap of 10 lines.")
REFUSED = messages.GatewayRefused(reason="Envoy said no.")


def judged(verdict: Verdict, attempts: int = 50) -> messages.Judged:
    return messages.Judged(verdict=verdict, reason=f"errors: {verdict}.", step_attempts=attempts)


def after(*events: messages.Event, plan: phases.LaunchPlan = CANARY, now: float = 100.0) -> phases.State:
    state = machine.begin(plan, now=now, reason="Launch.").state
    for event in events:
        state = machine.advance(state, event, now=now).state
    return state


def kinds(step: machine.Step) -> list[AnnouncementKind]:
    return [found.kind for found in step.announcements]


STEPPING = after(READY, VERIFIED)
WATCHING = after(READY, VERIFIED, messages.PromoteAsked(by="ann", full=True))


def test_a_rollout_begins_by_preparing_and_says_who_started_it() -> None:
    step = machine.begin(CANARY, now=5.0, reason="Launch of 222222222222 by ann.")

    assert (Phase.PREPARING, 5.0) == (step.state.phase, step.state.entered_at)
    assert ["Launch of 222222222222 by ann."] == [found.text for found in step.announcements]


def test_a_candidate_that_is_ready_is_verified_before_it_gets_traffic() -> None:
    state = after(READY)

    assert Phase.VERIFYING is state.phase
    assert phases.desired(state).candidate_weight == 0


def test_a_verified_candidate_gets_the_first_share() -> None:
    step = machine.advance(after(READY), VERIFIED, now=107.0)

    assert (Phase.STEPPING, 0, 107.0) == (step.state.phase, step.state.step, step.state.entered_at)
    assert [AnnouncementKind.VERIFIED, AnnouncementKind.STEP] == kinds(step)
    assert "1 % of traffic" in step.announcements[1].text


@pytest.mark.parametrize("events", [(), (READY,)])
def test_a_candidate_that_does_not_start_is_rolled_back(events: tuple[messages.Event, ...]) -> None:
    step = machine.advance(after(*events), messages.CandidateFailed(reason="exit code 1"), now=101.0)

    assert (Phase.RETURNING, Phase.ROLLED_BACK) == (step.state.phase, step.state.ending)
    assert "exit code 1" in step.state.reason


def test_a_candidate_that_fails_verification_never_gets_traffic() -> None:
    state = after(READY, messages.VerifyFailed(reason="3 of 20 failed."))

    assert (Phase.RETURNING, Phase.ROLLED_BACK) == (state.phase, state.ending)
    assert "3 of 20 failed." in state.reason


def test_the_first_release_of_an_environment_is_live_once_it_is_verified() -> None:
    state = after(READY, VERIFIED, plan=FIRST)

    assert Phase.FINISHING is state.phase
    assert "nothing to compare" in state.reason


def test_an_environment_without_traffic_passes_by_verification_and_says_so() -> None:
    state = after(READY, VERIFIED, plan=SMOKE_ONLY)

    assert Phase.FINISHING is state.phase
    assert "no traffic of its own" in state.reason


def test_a_plan_of_one_step_is_promoted_by_verification_and_watched() -> None:
    state = after(READY, VERIFIED, plan=BLUE_GREEN)

    assert Phase.WATCHING is state.phase
    assert phases.desired(state).candidate_weight == 9_500


def test_an_operators_rollback_takes_all_traffic_as_soon_as_it_is_ready() -> None:
    state = after(READY, plan=ROLLBACK)

    assert Phase.FINISHING is state.phase
    assert phases.desired(state).candidate_is_stable


def test_too_few_attempts_do_not_end_a_step() -> None:
    assert STEPPING is machine.advance(STEPPING, judged(Verdict.PASS, 49), now=101.0).state


def test_enough_attempts_without_a_broken_guardrail_end_a_step_that_is_not_the_last_before_promotion() -> None:
    step = machine.advance(STEPPING, judged(Verdict.INCONCLUSIVE), now=130.0)

    assert (Phase.STEPPING, 1, 130.0) == (step.state.phase, step.state.step, step.state.entered_at)
    assert "25 % of traffic" in step.announcements[0].text


def test_inconclusive_evidence_never_promotes() -> None:
    state = dataclasses.replace(STEPPING, step=1)

    assert state is machine.advance(state, judged(Verdict.INCONCLUSIVE, 10**9), now=101.0).state


def test_a_pass_promotes_and_keeps_the_holdback_on_the_old_release() -> None:
    step = machine.advance(dataclasses.replace(STEPPING, step=1), judged(Verdict.PASS), now=101.0)

    assert Phase.WATCHING is step.state.phase
    assert phases.desired(step.state).candidate_weight == 9_500
    assert "keeps 5 %" in step.announcements[0].text


def test_without_a_watch_window_a_pass_finishes() -> None:
    stepping = dataclasses.replace(after(READY, VERIFIED, plan=NOT_WATCHED), step=1)

    assert Phase.FINISHING is machine.advance(stepping, judged(Verdict.PASS), now=101.0).state.phase


def test_a_step_above_what_remains_after_promotion_gives_no_more_than_that() -> None:
    plan = dataclasses.replace(CANARY, steps=spec.shares(9_900, 10_000))
    step = machine.advance(after(READY, plan=plan), VERIFIED, now=101.0)

    assert phases.desired(step.state).candidate_weight == 9_500
    assert "95 % of traffic" in step.announcements[-1].text


@pytest.mark.parametrize("state", [STEPPING, WATCHING], ids=["stepping", "watching"])
@pytest.mark.parametrize("stop", [None, PAUSE, LOST, REFUSED, messages.Ejected()])
def test_a_broken_guardrail_rolls_back_whatever_stops_the_rollout(state: phases.State, stop: messages.Event) -> None:
    stopped = machine.advance(state, stop, now=101.0).state

    following = machine.advance(stopped, judged(Verdict.FAIL, 3), now=102.0).state

    assert (Phase.RETURNING, Phase.ROLLED_BACK, None) == (following.phase, following.ending, following.hold)
    assert "errors: fail." in following.reason


def test_a_candidate_paused_while_it_starts_is_not_verified_when_it_is_ready() -> None:
    paused = after(PAUSE)

    assert paused is machine.advance(paused, READY, now=101.0).state
    assert Phase.VERIFYING is after(PAUSE, RESUME, READY).phase


def test_a_rollback_paused_while_it_starts_does_not_take_the_traffic() -> None:
    assert Phase.PREPARING is after(PAUSE, READY, plan=ROLLBACK).phase


def test_a_paused_verification_does_not_give_traffic() -> None:
    paused = after(READY, PAUSE)

    assert paused is machine.advance(paused, VERIFIED, now=101.0).state


def test_a_paused_rollout_does_not_go_on_when_time_or_evidence_would_let_it() -> None:
    stepping = machine.advance(STEPPING, PAUSE, now=101.0).state
    watching = machine.advance(WATCHING, PAUSE, now=101.0).state

    assert stepping is machine.advance(stepping, judged(Verdict.PASS), now=102.0).state
    assert watching is machine.advance(watching, TICK, now=1_000.0).state


def test_pausing_twice_is_told_once() -> None:
    paused = machine.advance(STEPPING, PAUSE, now=101.0)

    assert [AnnouncementKind.PAUSED] == kinds(paused)
    assert machine.Step(state=paused.state) == machine.advance(paused.state, PAUSE, now=102.0)


def test_resuming_what_is_neither_paused_nor_held_changes_nothing() -> None:
    assert STEPPING is machine.advance(STEPPING, RESUME, now=101.0).state


def test_lost_evidence_holds_until_an_operator_resumes() -> None:
    held = machine.advance(STEPPING, LOST, now=101.0).state

    assert HoldKind.EVIDENCE_LOST is held.hold.kind
    assert "a gap of 10 lines. `softlaunch resume` goes on" in held.hold.reason
    for event in (messages.Readmitted(), messages.GatewayAccepted(), judged(Verdict.PASS), messages.Ejected()):
        assert held is machine.advance(held, event, now=102.0).state
    assert machine.advance(held, RESUME, now=103.0).state.hold is None


def test_lost_evidence_outranks_a_hold_that_ends_by_itself() -> None:
    ejected = machine.advance(STEPPING, messages.Ejected(), now=101.0).state

    held = machine.advance(ejected, LOST, now=102.0).state

    assert HoldKind.EVIDENCE_LOST is held.hold.kind
    assert held is machine.advance(held, messages.Readmitted(), now=103.0).state


@pytest.mark.parametrize(
    ("begins", "ends", "kind"),
    [
        (messages.Ejected(), messages.Readmitted(), HoldKind.EJECTED),
        (REFUSED, messages.GatewayAccepted(), HoldKind.GATEWAY),
    ],
)
def test_a_hold_with_a_cause_ends_with_its_cause(begins: messages.Event, ends: messages.Event, kind: HoldKind) -> None:
    held = machine.advance(STEPPING, begins, now=101.0)
    released = machine.advance(held.state, ends, now=102.0)

    assert kind is held.state.hold.kind
    assert [AnnouncementKind.HELD] == kinds(held)
    assert STEPPING == released.state
    assert [AnnouncementKind.RELEASED] == kinds(released)


def test_the_end_of_one_cause_does_not_end_the_hold_of_another() -> None:
    held = machine.advance(STEPPING, REFUSED, now=101.0).state

    assert held is machine.advance(held, messages.Readmitted(), now=102.0).state


def test_two_holds_that_end_by_themselves_do_not_take_turns() -> None:
    held = machine.advance(STEPPING, messages.Ejected(), now=101.0).state

    assert held is machine.advance(held, REFUSED, now=102.0).state


def test_a_step_without_a_decision_is_held_at_its_deadline_not_before() -> None:
    assert STEPPING is machine.advance(STEPPING, TICK, now=100.0 + 3_599.9).state

    held = machine.advance(STEPPING, TICK, now=100.0 + 3_600.0)

    assert HoldKind.DEADLINE is held.state.hold.kind
    assert "softlaunch resume" in held.announcements[0].text


def test_resuming_after_the_deadline_waits_once_more() -> None:
    held = machine.advance(STEPPING, TICK, now=4_000.0).state

    resumed = machine.advance(held, RESUME, now=5_000.0).state

    assert (None, 5_000.0) == (resumed.hold, resumed.entered_at)
    assert resumed is machine.advance(resumed, TICK, now=8_599.0).state


def test_resuming_after_a_pause_does_not_make_the_step_longer() -> None:
    paused = machine.advance(STEPPING, PAUSE, now=101.0).state

    assert STEPPING.entered_at == machine.advance(paused, RESUME, now=500.0).state.entered_at


def test_an_operator_promotes_one_step_or_to_the_end() -> None:
    one = machine.advance(STEPPING, messages.PromoteAsked(by="ann"), now=101.0).state
    end = machine.advance(STEPPING, messages.PromoteAsked(by="ann", full=True), now=101.0).state
    last = machine.advance(one, messages.PromoteAsked(by="ann"), now=102.0).state

    assert (Phase.STEPPING, 1) == (one.phase, one.step)
    assert Phase.WATCHING is end.phase is last.phase
    assert all("ann decided so" in state.reason for state in (one, end, last))


def test_an_operator_ends_the_watch_window() -> None:
    assert Phase.FINISHING is machine.advance(WATCHING, messages.PromoteAsked(by="ann"), now=101.0).state.phase


def test_the_watch_window_ends_at_its_end_not_before() -> None:
    assert WATCHING is machine.advance(WATCHING, TICK, now=159.9).state
    assert Phase.FINISHING is machine.advance(WATCHING, TICK, now=160.0).state.phase


def test_a_held_watch_window_does_not_end() -> None:
    held = machine.advance(WATCHING, LOST, now=101.0).state

    assert held is machine.advance(held, TICK, now=10_000.0).state


def test_a_finished_launch_waits_for_the_old_releases_last_requests() -> None:
    finishing = machine.advance(WATCHING, TICK, now=160.0).state

    assert finishing is machine.advance(finishing, TICK, now=164.9).state
    assert phases.desired(finishing).old_stable_runs
    assert Phase.PROMOTED is machine.advance(finishing, TICK, now=165.0).state.phase


def test_an_abort_says_who_and_why_and_ends_as_aborted_once_drained() -> None:
    returning = machine.advance(STEPPING, messages.AbortAsked(by="ann", reason="Wrong day."), now=101.0).state

    assert returning is machine.advance(returning, TICK, now=105.9).state
    ended = machine.advance(returning, TICK, now=106.0)
    assert Phase.ABORTED is ended.state.phase
    assert "Aborted by ann. Wrong day." in ended.announcements[0].text


def test_a_late_event_does_not_reopen_a_finished_rollout() -> None:
    rolled_back = dataclasses.replace(STEPPING, phase=Phase.ROLLED_BACK)

    assert machine.Step(state=rolled_back) == machine.advance(rolled_back, judged(Verdict.PASS), now=9e9)
    assert machine.is_final(rolled_back)
    assert not machine.is_final(STEPPING)


def test_a_shadow_lasts_until_what_only_pairs_can_settle_is_settled() -> None:
    shadow = spec.StepSpec(kind=spec.StepKind.SHADOW, weight=1_000)
    plan = dataclasses.replace(CANARY, steps=(shadow, *spec.shares(100, 10_000)))
    state = phases.State(plan=plan, phase=Phase.STEPPING, entered_at=0.0)
    open_still = messages.Judged(verdict=Verdict.INCONCLUSIVE, reason="", step_attempts=60, settled=False)

    assert machine.advance(state, open_still, now=1.0).state is state
    assert 1 == machine.advance(state, dataclasses.replace(open_still, settled=True), now=1.0).state.step
    beyond = dataclasses.replace(state, step=1)
    assert Phase.WATCHING is (
        machine.advance(beyond, dataclasses.replace(open_still, verdict=Verdict.PASS), now=1.0).state.phase
    )
