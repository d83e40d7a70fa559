"""What was decided is recomputed from the archive, to the last bit, whatever happened meanwhile."""

from __future__ import annotations

import dataclasses
import json
import random
import uuid

import pytest

from softlaunch import errors
from softlaunch.controller import archive as evidence
from softlaunch.controller import rejudge
from softlaunch.core import attempts
from softlaunch.core.rollout import judge, judge_policy
from softlaunch.testing import archive as memory
from softlaunch.testing import virtual_traffic

STABLE, CANDIDATE = "aaaaaaaaaaaa", "bbbbbbbbbbbb"


class Court:
    """A judge whose state is saved as the control loop does, and that may be killed between saving and storing."""

    def __init__(self, shelf: memory.MemoryArchive, *, budget_bytes: int = evidence.BUDGET_BYTES) -> None:
        self.shelf = shelf
        self.budget_bytes = budget_bytes
        self.judge = judge.Judge(policy=judge_policy.JudgePolicy(), stable=STABLE, candidate=CANDIDATE)
        self.recorder = evidence.Recorder.begin(shelf, 7, self.judge.state(), budget_bytes=budget_bytes)
        self.stored_keys: list[tuple[str, int]] = []
        self.stored_line = 0
        self.line = 0
        self.save()

    def begin_epochs(self, shares: dict[int, float]) -> None:
        self.judge.begin_epochs(shares)
        self.recorder.begin_epochs(shares)

    def feed(self, lines: list[attempts.Attempt]) -> None:
        for attempt in lines:
            self.judge.observe(attempt)
            self.recorder.observe(attempt)
        self.line += len(lines)

    def decide(self, reason: str) -> None:
        report = rejudge.report_document(self.judge.report())
        self.recorder.decide({"at": 1.0, "phase": "stepping", "step": 1, "reason": reason, "report": report})

    def archive(self) -> tuple[dict, list, int | None]:
        state = json.loads(json.dumps(self.judge.state()))
        keys = [(found.guardrail.value, found.key_hash) for found in self.judge.take_new_keys()]
        return state, keys, self.recorder.save(state, keys)

    def save(self) -> None:
        self.stored, keys, self.position = self.archive()
        self.stored_keys += keys
        self.stored_line = self.line
        self.report = json.loads(json.dumps(rejudge.report_document(self.judge.report())))

    def killed(self) -> None:
        """The control plane dies; what goes on is what was stored."""
        departed = [judge.judge_keys.DepartedKey(judge.spec.GuardrailName(name), key) for name, key in self.stored_keys]
        self.judge = judge.Judge.restore(self.stored, departed)
        self.recorder = evidence.Recorder.resume(
            self.shelf, 7, self.position, self.stored, self.stored_keys, budget_bytes=self.budget_bytes
        )
        self.line = self.stored_line

    def kept(self) -> rejudge.Kept:
        return rejudge.Kept(judge=self.stored, report=self.report, position=self.position)

    def recompute(self) -> rejudge.Finding:
        return rejudge.recompute(self.kept(), self.shelf.read(7))


def traffic(count: int, *, seed: int = 1, error_rate: float = 0.02, epoch: int = 3) -> list[attempts.Attempt]:
    chance = random.Random(seed)
    found, at = [], 1_700_000_000.0
    for _ in range(count):
        at += chance.expovariate(500.0)
        composite = chance.random() < 0.2
        bad = composite and chance.random() < error_rate
        found.append(
            attempts.Attempt(
                started_at=at,
                request_id=str(uuid.UUID(int=chance.getrandbits(128))),
                service="demo",
                environment="production",
                epoch=epoch,
                release=CANDIDATE if composite else STABLE,
                composite=composite,
                number=1,
                status=500 if bad else 200,
                flags="-",
                latency_us=int(chance.lognormvariate(8.5, 0.4)),
                key=f"user-{chance.randrange(300)}",
                invalid=False,
                shed=False,
                output=f"n:{chance.random():.4g}",
            )
        )
    return found


@pytest.fixture
def court() -> Court:
    found = Court(memory.MemoryArchive())
    found.begin_epochs({3: 0.2})
    return found


def test_every_decision_is_recomputed_to_the_last_bit(court):
    lines = traffic(4_000)
    for begin in range(0, len(lines), 700):
        court.feed(lines[begin : begin + 700])
        court.decide(f"after {begin}")
        court.save()

    found = court.recompute()

    assert ("", True, True) == (found.difference, found.agrees, found.whole)
    assert (4_000, 6) == (found.attempt_count, found.decision_count)
    assert court.report["verdict"] == found.verdict


def test_a_block_gives_back_attempts_of_every_kind_bit_for_bit():
    lines = [
        *traffic(3),
        traffic(1)[0]._replace(status=0, latency_us=None, flags="UT", key="", request_id="not a uuid", release=""),
        traffic(1)[0]._replace(started_at=0.1 + 0.2, key="\u00e4\U0001f600", cpu_us=1 << 40),
    ]

    assert [("attempt", attempt) for attempt in lines] == list(evidence.decode(evidence.encode(lines)))
    assert [type(value) for line in lines for value in line] == [
        type(value) for _, line in evidence.decode(evidence.encode(lines)) for value in line
    ]


@pytest.mark.parametrize("archived_more", [False, True])
def test_a_kill_between_archiving_and_storing_counts_nothing_twice(court, archived_more):
    lines = traffic(3_000)
    court.feed(lines[:1_000])
    court.save()
    court.feed(lines[1_000:1_500])
    court.decide("never stored")
    if archived_more:
        court.archive()
    court.killed()
    court.feed(lines[court.line :])
    court.save()

    found = court.recompute()

    assert ("", 3_000, 0) == (found.difference, found.attempt_count, found.decision_count)


def test_over_its_budget_the_oldest_evidence_goes_and_the_newest_is_recomputed():
    shelf = memory.MemoryArchive()
    court = Court(shelf, budget_bytes=160_000)
    court.begin_epochs({3: 0.2})
    lines = traffic(9_000)
    for begin in range(0, len(lines), 300):
        court.feed(lines[begin : begin + 300])
        court.decide("step")
        court.save()

    found = court.recompute()

    assert ("", True, False) == (found.difference, found.agrees, found.whole)
    assert 1_000 < found.attempt_count < 9_000
    assert lines[-1].started_at == found.last_at
    assert sum(shelf.chains(7)) <= 160_000


def test_the_budget_holds_across_kills():
    shelf = memory.MemoryArchive()
    court = Court(shelf, budget_bytes=160_000)
    court.begin_epochs({3: 0.2})
    lines = traffic(9_000)
    while court.line < len(lines):
        court.feed(lines[court.line : court.line + 300])
        court.archive()
        court.killed()
        court.feed(lines[court.line : court.line + 300])
        court.save()

    assert "" == court.recompute().difference
    assert sum(shelf.chains(7)) <= 160_000


def test_a_full_disk_stops_no_judge_and_the_archive_begins_anew_afterwards(court):
    lines = traffic(3_000)
    court.feed(lines[:1_000])
    court.save()
    court.shelf.failing = True
    court.feed(lines[1_000:2_000])
    court.save()
    assert court.position is None
    court.shelf.failing = False
    court.save()
    court.feed(lines[2_000:])
    court.save()

    found = court.recompute()

    assert ("", True, False) == (found.difference, found.agrees, found.whole)
    assert 1_000 == found.attempt_count


def test_an_archive_that_lost_its_end_in_a_power_failure_begins_anew(court):
    lines = traffic(2_000)
    court.feed(lines[:500])
    court.save()
    short = court.position
    court.feed(lines[500:1_000])
    court.save()
    court.shelf.truncate(7, short)
    court.killed()
    court.feed(lines[1_000:])
    court.save()

    found = court.recompute()

    assert ("", False, 1_000) == (found.difference, found.whole, found.attempt_count)


def test_one_forged_number_is_found(court):
    court.feed(traffic(1_000))
    court.save()
    report = json.loads(json.dumps(court.report))
    report["guardrails"]["errors"]["candidate_events"] += 1
    found = rejudge.recompute(dataclasses.replace(court.kept(), report=report), court.shelf.read(7))

    assert not found.agrees
    assert found.difference.startswith("report.guardrails.errors.candidate_events: stored ")


def test_the_last_bit_of_a_float_is_a_difference(court):
    court.feed(traffic(1_000))
    court.save()
    state = json.loads(json.dumps(court.stored))
    state["evidence"] = json.loads(json.dumps(state["evidence"]))
    rates = state["alone_rates"]
    rates[0] = rates[0] * (1 + 2**-52)
    found = rejudge.recompute(dataclasses.replace(court.kept(), judge=state), court.shelf.read(7))

    assert found.difference.startswith("state.alone_rates[0]: stored ")


def test_a_decision_that_rests_on_other_numbers_is_found(court):
    court.feed(traffic(1_000))
    report = rejudge.report_document(court.judge.report())
    court.recorder.decide({"at": 1.0, "phase": "x", "step": 0, "reason": "hm", "report": {**report, "verdict": "pass"}})
    court.save()

    assert court.recompute().difference.startswith("report of decision 1 (hm).verdict: stored")


def test_pairs_and_kills_are_judged_again(court):
    for agrees in [True, False, True] * 20:
        court.judge.observe_pair(agrees=agrees)
        court.recorder.tell(rejudge.PAIR, agrees)
    court.judge.observe_kill(from_candidate=True)
    court.recorder.tell(rejudge.KILL, True)
    court.save()

    assert "" == court.recompute().difference
    assert 60 == court.report["guardrails"]["disagreement"]["candidate_trials"]


@pytest.mark.parametrize("behaviour", [virtual_traffic.Behaviour(), virtual_traffic.Behaviour(error_rate=0.1)])
def test_a_whole_rollout_with_restarts_and_kills_is_recomputed_from_its_archive(world, stable, production, behaviour):
    number = world.deploy(world.release("new", behaviour), production).rollout_id
    turns = 0
    while not world.view(number)["outcome"]:
        world.step()
        turns += 1
        if turns % 40 == 10:
            world.restart()
        if turns % 40 == 30:
            world.kill(calls=turns % 7 + 1, after=bool(turns % 2))
    record = world.store.rollout(number)
    found = rejudge.recompute(rejudge.Kept(**rejudge.Kept.of(record).document()), world.archive.read(number))

    assert ("", True, True) == (found.difference, found.agrees, found.whole)
    assert found.decision_count >= 1
    assert found.attempt_count > found.decision_count
    assert record.measured["report"]["reason"] == found.reason


def test_a_rollout_without_an_archive_says_so():
    with pytest.raises(errors.UnavailableError) as caught:
        rejudge.recompute(rejudge.Kept(judge={}, report={}, position=None), [])
    assert errors.Code.EVIDENCE_MISSING is caught.value.code


def test_an_entry_of_a_newer_softlaunch_is_refused_and_not_skipped(court):
    court.recorder.tell("moonbeam", [1])
    court.save()

    with pytest.raises(errors.UnavailableError, match="moonbeam"):
        court.recompute()


def test_blocks_of_another_field_list_are_read_by_name():
    lines = traffic(2)
    older = [tuple(line)[:14] for line in lines]
    columns = [2, *[list(column) for column in zip(*older, strict=True)]]
    block = evidence.zlib.compress(
        evidence.msgspec.msgpack.encode([attempts.Attempt._fields[:14], [("attempt", columns)]])
    )

    assert [line._replace(output="") for line in lines] == [attempt for _, attempt in evidence.decode(block)]
