"""
The rollout state machine: `advance(state, event, now) -> Step(state, announcements)`.

    PREPARING --ready--> VERIFYING --passed--> STEPPING 0 --judged--> STEPPING 1 ... --judged: pass--> WATCHING
        |                    |                    |                      |                               |
        | failed             | failed             | judged: fail         | judged: fail                  | judged: fail
        v                    v                    v                      v                               v
    RETURNING --drained--> ROLLED_BACK (or ABORTED, after an operator's abort from any phase but the last ones)

    WATCHING --window over--> FINISHING --drained--> PROMOTED
    STOPPING --stable stopped--> PREPARING   (a plan that recreates begins here)

Rules, each checked over the whole finite machine in the tests:

1. A broken guardrail or an abort takes the candidate's share to 0, from every phase in which it has one.
2. The last step (100 %) is entered only on a PASS, or because an operator took that decision, or where smoke requests
   are declared to be the whole evidence.
3. A hold or a pause stops progress; it never stops a rollback. (A plan may say that a broken guardrail freezes
   instead: then people decide, and an abort still goes back at once.)
4. Nothing reopens a finished rollout.
5. An event that means nothing in a phase changes nothing: events come late, twice and out of order.
6. From every state that is not final, an abort leads home, and so does a newer release.
7. A drill, whose candidate carries a fault on purpose, never has all traffic.
8. An approval the plan asks for is given by somebody who may, or it is not given: resuming, time, evidence and
   verification never stand for one. Only an operator's rollback asks for none.

Transitions are a table: (phase, event type) -> function. What is not in the table changes nothing (rule 5).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from softlaunch.core import spec
from softlaunch.core.rollout import approvals, messages, phases
from softlaunch.core.rollout.messages import Announcement, AnnouncementKind, Verdict
from softlaunch.core.rollout.phases import Phase, State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    state: State
    announcements: tuple[Announcement, ...] = ()


def begin(plan: phases.LaunchPlan, *, now: float, reason: str) -> Step:
    """The first state of a rollout."""
    phase = Phase.STOPPING if plan.recreate else Phase.PREPARING
    state = State(plan=plan, phase=phase, entered_at=now, reason=reason)
    return Step(state=state, announcements=(Announcement(kind=AnnouncementKind.STARTED, text=reason),))


def advance(state: State, event: messages.Event, *, now: float) -> Step:
    """
    What a rollout becomes when something happens to it.

    Args:
        state: Where it stands.
        event: What happened.
        now: Unix seconds; becomes `entered_at` when a phase or a step begins.

    Returns:
        The next state and what shall be told. The very same state object when nothing changed.
    """
    handler = _TABLE.get((state.phase, type(event)))
    if handler is None:
        return Step(state=state)
    return handler(state, event, now)


def is_final(state: State) -> bool:
    return state.phase in phases.FINAL


# ---------------------------------------------------------------------------------------------------- transitions


def _enter(state: State, phase: Phase, now: float, reason: str, *, step: int = 0, ending: Phase | None = None) -> State:
    return dataclasses.replace(
        state,
        phase=phase,
        step=step,
        entered_at=now,
        reason=reason,
        hold=None,
        paused=False,
        approved=False,
        ending=ending,
    )


def _tell(state: State, kind: AnnouncementKind, text: str) -> Step:
    return Step(state=state, announcements=(Announcement(kind=kind, text=text),))


def _return(state: State, now: float, reason: str, *, ending: Phase) -> Step:
    following = _enter(state, Phase.RETURNING, now, reason, ending=ending)
    return _tell(following, AnnouncementKind.ROLLING_BACK, reason)


def _step(state: State, now: float, step: int, reason: str) -> Step:
    following = _enter(state, Phase.STEPPING, now, reason, step=step)
    entered = state.plan.steps[step]
    number = f"Step {step + 1} of {len(state.plan.steps)}"
    if entered.kind is spec.StepKind.APPROVAL:
        beside = "" if approvals.suffices(following) else " All traffic needs the evidence as well."
        return _ask(following, f"{number}: {approvals.phrase(entered)}. {reason}{beside}")
    return _tell(following, AnnouncementKind.STEP, f"{number}: {_share(following, entered)}. {reason}")


def _share(state: State, entered: spec.StepSpec) -> str:
    routed = phases.desired(state)
    match entered.kind:
        case spec.StepKind.COHORT:
            weight = dict(routed.cohort_weights)[entered.cohort]
            return f"{weight / 100:g} % of cohort {entered.cohort}"
        case spec.StepKind.SHADOW:
            return f"a copy of {routed.shadow_weight / 100:g} % of the requests, whose answers no user sees"
    return f"{routed.candidate_weight / 100:g} % of traffic"


def _ask(state: State, text: str) -> Step:
    hold = approvals.hold(text)
    return _tell(dataclasses.replace(state, hold=hold), AnnouncementKind.APPROVAL_ASKED, hold.reason)


def _onward(state: State, now: float, reason: str) -> Step:
    """The step after this one, whatever it is."""
    following = state.step + 1
    return _promote(state, now, reason) if following >= state.plan.last else _step(state, now, following, reason)


def _promote(state: State, now: float, reason: str) -> Step:
    if state.plan.drill:
        return _return(state, now, f"Nothing caught the injected fault: {reason}", ending=Phase.ABORTED)
    if state.plan.watch_seconds <= 0:
        return _finish(state, now, reason)
    following = _enter(state, Phase.WATCHING, now, reason)
    holdback = state.plan.holdback / 100
    tail = f" The old release keeps {holdback:g} % through the watch window." if holdback else ""
    return _tell(following, AnnouncementKind.PROMOTED, f"Promoted. {reason}{tail}")


def _finish(state: State, now: float, reason: str) -> Step:
    if state.plan.drill:
        return _return(state, now, f"A drill is never promoted. {reason}", ending=Phase.ABORTED)
    return _tell(_enter(state, Phase.FINISHING, now, reason), AnnouncementKind.FINISHED, reason)


def _broken(state: State, now: float, reason: str) -> Step:
    """A guardrail broke."""
    if state.plan.on_failure is spec.FailurePolicy.ROLL_BACK:
        return _return(state, now, reason, ending=Phase.ROLLED_BACK)
    return _hold(
        state,
        phases.HoldKind.FROZEN,
        f"{reason.rstrip('.')}. The plan freezes instead of rolling back: `softlaunch abort` goes back, "
        "`promote` goes on.",
    )


def _stopped(state: State, _event: messages.StableStopped, now: float) -> Step:
    if state.paused or state.hold is not None:
        return Step(state=state)  # told again until the rollout goes on
    return Step(state=_enter(state, Phase.PREPARING, now, "The old release has ended."))


def _ready(state: State, _event: messages.CandidateReady, now: float) -> Step:
    if state.paused or state.hold is not None:
        return Step(state=state)  # readiness lasts: it is told again until the rollout goes on
    if state.plan.immediate:
        return _finish(state, now, "All traffic goes to this release at once, as asked.")
    return Step(state=_enter(state, Phase.VERIFYING, now, "The candidate's replicas are ready."))


def _failed(state: State, event: messages.CandidateFailed, now: float) -> Step:
    return _return(state, now, f"The candidate did not start. {event.reason}", ending=Phase.ROLLED_BACK)


def _verified(state: State, event: messages.VerifyPassed, now: float) -> Step:
    if state.paused or state.hold is not None:
        return Step(state=state)
    number = approvals.before_live(state)
    if number is not None:
        said = f"{event.detail} The release goes live without further steps, and"
        return _ask(state, f"{said} {approvals.phrase(state.plan.steps[number])}.")
    if state.plan.verified_only:
        step = _finish(
            state, now, f"This environment has no traffic of its own: passed by verification. {event.detail}"
        )
    elif not state.plan.compared:
        step = _finish(state, now, f"First release of this environment: nothing to compare with. {event.detail}")
    elif state.plan.recreate:
        step = _promote(state, now, f"The old release is gone: promoted by verification. {event.detail}")
    elif state.plan.last == 0:
        step = _promote(state, now, f"The plan has one step: promoted by verification. {event.detail}")
    else:
        step = _step(state, now, 0, event.detail)
    return _announced(step, AnnouncementKind.VERIFIED, event.detail)


def _unverified(state: State, event: messages.VerifyFailed, now: float) -> Step:
    return _return(state, now, f"Verification failed. {event.reason}", ending=Phase.ROLLED_BACK)


def _unmeasured(state: State, event: messages.VerifyInvalid, _now: float) -> Step:
    if state.paused:
        return Step(state=state)
    advice = "`softlaunch resume` verifies again, `abort` goes back."
    return _hold(state, phases.HoldKind.UNMEASURED, f"{event.reason} {advice}")


def _judged_stepping(state: State, event: messages.Judged, now: float) -> Step:
    if event.verdict is Verdict.FAIL:
        return _broken(state, now, event.reason)
    if state.paused or state.hold is not None or approvals.waits(state):
        return Step(state=state)
    if state.approved and approvals.suffices(state):
        return _onward(state, now, state.reason)  # approved while a pause or a hold was in the way
    current = state.plan.steps[state.step]
    if event.step_attempts < state.plan.attempts_min(state.step) or now - state.entered_at < current.duration_seconds:
        return Step(state=state)
    if not event.settled and current.kind is spec.StepKind.SHADOW:
        return Step(state=state)  # no pairs come after the shadow: what is open now would stay so to the end
    if state.step + 1 < state.plan.last:
        return _onward(state, now, f"{event.step_attempts} candidate attempts without a broken guardrail.")
    if event.verdict is Verdict.PASS:
        return _onward(state, now, event.reason)
    return Step(state=state)


def _judged_watching(state: State, event: messages.Judged, now: float) -> Step:
    if event.verdict is Verdict.FAIL:
        return _broken(state, now, f"After promotion: {event.reason}")
    return Step(state=state)


def _hold(state: State, kind: phases.HoldKind, reason: str) -> Step:
    if state.hold is not None and not _outranks(kind, state.hold.kind):
        return Step(state=state)  # two holds that end by themselves would take turns, and fill the history
    held = dataclasses.replace(state, hold=phases.Hold(kind=kind, reason=reason))
    return _tell(held, AnnouncementKind.HELD, f"Held: {reason}")


def _outranks(kind: phases.HoldKind, held: phases.HoldKind) -> bool:
    return phases.RANKS[kind] > phases.RANKS[held]


def _release(state: State, kind: phases.HoldKind) -> Step:
    if state.hold is None or state.hold.kind is not kind:
        return Step(state=state)
    released = dataclasses.replace(state, hold=None)
    return _tell(released, AnnouncementKind.RELEASED, f"No longer held: {state.hold.reason}")


def _lost(state: State, event: messages.EvidenceLost, _now: float) -> Step:
    routed = phases.desired(state)
    if not routed.candidate_reached and not routed.candidate_is_stable:
        return Step(state=state)  # there was no evidence yet
    advice = "`softlaunch resume` goes on with what is left, `abort` goes back."
    return _hold(state, phases.HoldKind.EVIDENCE_LOST, f"{event.reason.rstrip('.')}. {advice}")


def _ejected(state: State, _event: messages.Ejected, _now: float) -> Step:
    return _hold(state, phases.HoldKind.EJECTED, "the gateway's own fuse took the candidate out.")


def _readmitted(state: State, _event: messages.Readmitted, _now: float) -> Step:
    return _release(state, phases.HoldKind.EJECTED)


def _outage(state: State, event: messages.OutageSeen, _now: float) -> Step:
    return _hold(state, phases.HoldKind.OUTAGE, event.reason)


def _outage_over(state: State, _event: messages.OutageOver, now: float) -> Step:
    step = _release(state, phases.HoldKind.OUTAGE)
    if step.state is state:
        return step
    return dataclasses.replace(step, state=_with_time(step.state, now))  # the outage is not the candidate's fault


def _refused(state: State, event: messages.GatewayRefused, _now: float) -> Step:
    return _hold(state, phases.HoldKind.GATEWAY, event.reason)


def _accepted(state: State, _event: messages.GatewayAccepted, _now: float) -> Step:
    return _release(state, phases.HoldKind.GATEWAY)


def _ticked_stepping(state: State, _event: messages.Ticked, now: float) -> Step:
    plan = state.plan
    if _overdue_at(state) > now or state.paused or approvals.waits(state):
        return Step(state=state)
    going_back = plan.on_deadline is spec.DeadlinePolicy.ROLL_BACK
    if state.hold is not None and state.hold.kind in (_UNDATED if going_back else _UNDATED | phases.STICKY):
        return Step(state=state)
    undecided = f"no decision after {plan.deadline_seconds:g} s in this step: too little traffic or unclear evidence."
    match plan.on_deadline:
        case spec.DeadlinePolicy.ROLL_BACK:
            reason = f"{undecided.capitalize()} The plan goes back then; `softlaunch retry --lift REASON` tries again."
            return _return(state, now, reason, ending=Phase.ROLLED_BACK)
        case spec.DeadlinePolicy.ASK:
            return _ask(state, f"{undecided.capitalize()} The plan asks then; `softlaunch resume` waits once more,")
        case spec.DeadlinePolicy.HOLD:
            return _hold(
                state,
                phases.HoldKind.DEADLINE,
                f"{undecided} `softlaunch resume` waits once more, `promote` goes on, `abort` goes back.",
            )


_UNDATED = frozenset({phases.HoldKind.FROZEN, phases.HoldKind.OUTAGE})
"""Holds in which no deadline passes: people decide, or nothing can be learnt."""


def _overdue_at(state: State) -> float:
    return state.entered_at + state.plan.steps[state.step].duration_seconds + state.plan.deadline_seconds


def _with_time(state: State, now: float) -> State:
    """The state with its deadline anew if that has passed; what the step had to last is not asked again."""
    if state.phase is not Phase.STEPPING or _overdue_at(state) > now:
        return state
    return dataclasses.replace(state, entered_at=now - state.plan.steps[state.step].duration_seconds)


def _ticked_watching(state: State, _event: messages.Ticked, now: float) -> Step:
    if state.paused or state.hold is not None or now - state.entered_at < state.plan.watch_seconds:
        return Step(state=state)
    return _finish(state, now, f"Nothing broke in the watch window of {state.plan.watch_seconds:g} s.")


def _ticked_returning(state: State, _event: messages.Ticked, now: float) -> Step:
    if now - state.entered_at < state.plan.drain_seconds:
        return Step(state=state)
    ended = _enter(state, state.ending or Phase.ROLLED_BACK, now, state.reason)
    return _tell(ended, AnnouncementKind.ENDED, f"The candidate is gone. {state.reason}")


def _ticked_finishing(state: State, _event: messages.Ticked, now: float) -> Step:
    if now - state.entered_at < state.plan.drain_seconds:
        return Step(state=state)
    ended = _enter(state, Phase.PROMOTED, now, state.reason)
    return _tell(ended, AnnouncementKind.ENDED, "This release is the environment's stable release.")


def _paused(state: State, event: messages.PauseAsked, _now: float) -> Step:
    if state.paused:
        return Step(state=state)
    return _tell(dataclasses.replace(state, paused=True), AnnouncementKind.PAUSED, f"Paused by {event.by}.")


def _resumed(state: State, event: messages.ResumeAsked, now: float) -> Step:
    kept = _kept_on_resume(state)
    if not state.paused and kept == state.hold:
        return Step(state=state)  # nothing stands in the way, or what people must decide: resuming decides nothing
    resumed = _with_time(dataclasses.replace(state, paused=False, hold=kept), now)
    still = f" Still held: {kept.reason}" if kept is not None else ""
    return _tell(resumed, AnnouncementKind.RESUMED, f"Resumed by {event.by}.{still}")


def _kept_on_resume(state: State) -> phases.Hold | None:
    asked = approvals.waits(state) or state.phase is Phase.VERIFYING
    held = None if state.hold is None else state.hold.kind
    if held is phases.HoldKind.FROZEN or (asked and held is phases.HoldKind.APPROVAL):
        return state.hold
    if approvals.waits(state):  # lost evidence had hidden that
        return approvals.hold(f"Step {state.step + 1} {approvals.phrase(state.plan.steps[state.step])}.")
    return None


def _approved(state: State, event: messages.ApproveAsked, now: float) -> Step:
    held = None if state.hold is None else state.hold.kind
    if approvals.barred(state, event) is not None:
        return Step(state=state)
    said = approvals.given(event)
    if not approvals.waits(state):
        if held is not phases.HoldKind.APPROVAL or state.paused:
            return Step(state=state)
        step = _onward(state, now, f"{said} The evidence had not decided.")
        return _announced(step, AnnouncementKind.APPROVED, said)
    hold = None if held is phases.HoldKind.APPROVAL else state.hold
    approved = dataclasses.replace(state, approved=True, hold=hold, entered_at=now, reason=said)
    if hold is not None:
        return _tell(approved, AnnouncementKind.APPROVED, f"{said} Still held: {hold.reason}")
    if state.paused:
        return _tell(approved, AnnouncementKind.APPROVED, f"{said} Still paused: `softlaunch resume` goes on.")
    if not approvals.suffices(approved):
        return _tell(approved, AnnouncementKind.APPROVED, said)  # the evidence decides about what follows
    return _announced(_onward(approved, now, said), AnnouncementKind.APPROVED, said)


def _approved_verifying(state: State, event: messages.ApproveAsked, _now: float) -> Step:
    number = approvals.before_live(state)
    asked = state.hold is not None and state.hold.kind is phases.HoldKind.APPROVAL
    if number is None or not asked or approvals.barred(state, event) is not None:
        return Step(state=state)
    approved = dataclasses.replace(state, step=number + 1, hold=None, reason=approvals.given(event))
    following = approvals.before_live(approved)
    if following is not None:
        return _announced(
            _ask(approved, f"It {approvals.phrase(approved.plan.steps[following])}, too."),
            AnnouncementKind.APPROVED,
            approved.reason,
        )
    tail = " Still paused: `softlaunch resume` goes on." if state.paused else ""
    return _tell(approved, AnnouncementKind.APPROVED, f"{approved.reason}{tail}")


def _announced(step: Step, kind: AnnouncementKind, text: str) -> Step:
    """The step, with something told before it."""
    return dataclasses.replace(step, announcements=(Announcement(kind=kind, text=text), *step.announcements))


def _replaced(state: State, event: messages.ReplaceAsked, now: float) -> Step:
    return _return(state, now, f"Makes way for {event.release}, asked by {event.by}.", ending=Phase.ABORTED)


def _replaced_watching(state: State, event: messages.ReplaceAsked, now: float) -> Step:
    if state.hold is not None and state.hold.kind is phases.HoldKind.FROZEN:
        return _replaced(state, event, now)  # a broken guardrail: it must not become stable on the way
    return _finish(state, now, f"{event.by} ended the watch window: {event.release} follows.")


def _promoted_stepping(state: State, event: messages.PromoteAsked, now: float) -> Step:
    if approvals.barred(state, event) is not None:
        return Step(state=state)
    reason = f"{event.by} decided so, not the evidence."
    return _promote(state, now, reason) if event.full else _onward(state, now, reason)


def _promoted_watching(state: State, event: messages.PromoteAsked, now: float) -> Step:
    return _finish(state, now, f"{event.by} ended the watch window.")


def _aborted(state: State, event: messages.AbortAsked, now: float) -> Step:
    reason = f"Aborted by {event.by}." + (f" {event.reason}" if event.reason else "")
    return _return(state, now, reason, ending=Phase.ABORTED)


_OPEN = (Phase.STOPPING, Phase.PREPARING, Phase.VERIFYING, Phase.STEPPING, Phase.WATCHING)
_JUDGED = (Phase.STEPPING, Phase.WATCHING)
_Handler = Callable[[State, Any, float], Step]
_TABLE: dict[tuple[Phase, type], _Handler] = {
    (Phase.STOPPING, messages.StableStopped): _stopped,
    (Phase.PREPARING, messages.CandidateReady): _ready,
    (Phase.PREPARING, messages.CandidateFailed): _failed,
    (Phase.VERIFYING, messages.CandidateFailed): _failed,
    (Phase.VERIFYING, messages.VerifyPassed): _verified,
    (Phase.VERIFYING, messages.VerifyFailed): _unverified,
    (Phase.VERIFYING, messages.VerifyInvalid): _unmeasured,
    (Phase.STEPPING, messages.Judged): _judged_stepping,
    (Phase.WATCHING, messages.Judged): _judged_watching,
    (Phase.STEPPING, messages.Ticked): _ticked_stepping,
    (Phase.WATCHING, messages.Ticked): _ticked_watching,
    (Phase.RETURNING, messages.Ticked): _ticked_returning,
    (Phase.FINISHING, messages.Ticked): _ticked_finishing,
    (Phase.STEPPING, messages.PromoteAsked): _promoted_stepping,
    (Phase.WATCHING, messages.PromoteAsked): _promoted_watching,
    (Phase.STEPPING, messages.ApproveAsked): _approved,
    (Phase.VERIFYING, messages.ApproveAsked): _approved_verifying,
    **{(phase, messages.ReplaceAsked): _replaced for phase in _OPEN if phase is not Phase.WATCHING},
    (Phase.WATCHING, messages.ReplaceAsked): _replaced_watching,
    **{(phase, messages.AbortAsked): _aborted for phase in _OPEN},
    **{(phase, messages.PauseAsked): _paused for phase in _OPEN},
    **{(phase, messages.ResumeAsked): _resumed for phase in _OPEN},
    **{(phase, messages.GatewayRefused): _refused for phase in _OPEN},
    **{(phase, messages.GatewayAccepted): _accepted for phase in _OPEN},
    **{
        (phase, event): handler
        for phase in _JUDGED
        for event, handler in (
            (messages.EvidenceLost, _lost),
            (messages.Ejected, _ejected),
            (messages.Readmitted, _readmitted),
            (messages.OutageSeen, _outage),
            (messages.OutageOver, _outage_over),
        )
    },
}
