"""Webhooks: who is believed, and only once."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import logging

import pytest

from softlaunch import errors

ROLLBACK, TICKET = "/v1/hooks/rollback", "/v1/hooks/ticket"
BACK = {"service": "demo", "environment": "production", "to": "previous", "reason": "Checkout fell by a third."}
SAID = {"id": "T-1", "prediction": "r-1", "text": "30 hours late", "by": "customer 7"}


@pytest.fixture
def secret(machine) -> str:
    made: str = machine.secret.make(rotate=False)
    return made


def signed(machine, secret: str, body: bytes, *, at: str | None = None) -> dict[str, str]:
    timestamp = str(int(machine.world.clock.now())) if at is None else at
    found = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"x-softlaunch-timestamp": timestamp, "x-softlaunch-signature": f"sha256={found}", "authorization": ""}


def send(machine, secret: str, path: str, document: dict, **changes):
    body = json.dumps(document).encode()
    return machine.client.post(path, content=body, headers=signed(machine, secret, body, **changes))


def code(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_signed_rollback_goes_back_and_pins_what_is_left(machine, live, secret) -> None:
    new = machine.world.release("new")
    machine.world.end(machine.deploy(new))

    done = send(machine, secret, ROLLBACK, BACK).json()

    assert machine.world.end(done["rollout_id"])["candidate"] == live.value
    (pin,) = machine.world.store.pins()
    assert (pin.release, pin.by) == (new, "webhook")
    assert "Checkout fell by a third." in pin.reason


def test_a_signed_ticket_is_a_complaint_and_once(machine, live, secret) -> None:
    machine.predictions["r-1"] = ("demo", "production", live.value)

    first = send(machine, secret, TICKET, SAID).json()
    machine.world.clock.advance(1.0)
    again = send(machine, secret, TICKET, SAID).json()

    assert ({"new": True, "release": live.short}, {"new": False, "release": live.short}) == (first, again)
    (kept,) = machine.world.store.complaints()
    assert ("customer 7", "ticket", "T-1") == (kept.by, kept.source, kept.external_id)


def test_a_ticket_may_say_where_an_unknown_prediction_was_made(machine, live, secret) -> None:
    machine.world.launch(live, dataclasses.replace(machine.environment, name="integration"))

    assert (422, "no-prediction") == code(send(machine, secret, TICKET, SAID))
    assert send(machine, secret, TICKET, {**SAID, "service": "demo", "environment": "integration"}).json()["new"]
    assert ["integration"] == [found.environment for found in machine.world.store.complaints()]


@pytest.mark.parametrize("path", [ROLLBACK, TICKET])
def test_without_a_secret_webhooks_are_off(machine, live, path) -> None:
    assert (401, "hook-off") == code(send(machine, "", path, BACK))


@pytest.mark.parametrize(
    "spoil",
    [
        {"x-softlaunch-signature": ""},
        {"x-softlaunch-signature": "sha256="},
        {"x-softlaunch-signature": "sha256=" + "0" * 64},
        {"x-softlaunch-signature": "sha1=" + "0" * 40},
        {"x-softlaunch-signature": "sha256=\u00e4".encode("latin-1")},
        {"x-softlaunch-timestamp": ""},
        {"x-softlaunch-timestamp": "1"},
    ],
)
def test_a_signature_that_does_not_fit_is_not_believed(machine, live, secret, spoil) -> None:
    body = json.dumps(BACK).encode()
    headers = {**signed(machine, secret, body), **spoil}

    answer = machine.client.post(ROLLBACK, content=body, headers=headers)

    assert (401, "hook-unsigned") == code(answer)
    assert machine.world.loop.ledger.rollouts == {}


def test_a_body_changed_by_one_byte_is_not_believed(machine, live, secret) -> None:
    body = json.dumps(BACK).encode()

    answer = machine.client.post(ROLLBACK, content=body + b" ", headers=signed(machine, secret, body))

    assert (401, "hook-unsigned") == code(answer)


def test_a_token_is_no_signature(machine, live, secret) -> None:
    assert (401, "hook-unsigned") == code(machine.client.post(ROLLBACK, json=BACK))


def test_another_secret_s_signature_is_worth_nothing_after_rotation(machine, live, secret) -> None:
    machine.secret.make(rotate=True)

    assert (401, "hook-unsigned") == code(send(machine, secret, TICKET, SAID))


@pytest.mark.parametrize("seconds", [-302, 302])
def test_a_timestamp_too_far_from_this_clock_is_late(machine, live, secret, seconds) -> None:
    at = str(int(machine.world.clock.now()) + seconds)

    assert (401, "hook-late") == code(send(machine, secret, TICKET, SAID, at=at))
    assert () == tuple(machine.world.store.complaints())


@pytest.mark.parametrize("seconds", [-295, 295])
def test_five_minutes_between_two_clocks_are_forgiven(machine, live, secret, seconds) -> None:
    assert send(machine, secret, TICKET, SAID, at=str(int(machine.world.clock.now()) + seconds)).json()["new"]


@pytest.mark.parametrize("at", ["-5", "1e9", "nan", "٣", "9" * 13])
def test_a_timestamp_is_a_number_of_seconds(machine, live, secret, at) -> None:
    body = json.dumps(SAID).encode()
    headers = signed(machine, secret, body, at=at)
    headers["x-softlaunch-timestamp"] = at.encode()

    answer = machine.client.post(TICKET, content=body, headers=headers)

    assert answer.status_code == 401


def test_a_signature_is_accepted_once_also_over_a_restart(machine, live, secret) -> None:
    body = json.dumps(SAID).encode()
    headers = signed(machine, secret, body)
    assert machine.client.post(TICKET, content=body, headers=headers).status_code == 200

    assert (409, "hook-replayed") == code(machine.client.post(TICKET, content=body, headers=headers))
    assert (409, "hook-replayed") == code(machine.again().post(TICKET, content=body, headers=headers))
    assert 1 == len(machine.world.store.complaints())


def test_signatures_are_forgotten_when_their_time_is_over_and_not_before(machine, live, secret) -> None:
    for number in range(5):
        send(machine, secret, TICKET, {**SAID, "id": f"T-{number}"})
        machine.world.clock.advance(100.0)

    kept = json.loads(machine.world.store.bookmark("hooks.seen"))
    now = machine.world.clock.now() - 100.0
    assert {int(now) - 300, int(now) - 200, int(now) - 100, int(now)} >= {int(made) for made in kept.values()}
    assert 3 <= len(kept) <= 4


def test_a_rollback_does_not_wait_for_a_disk_but_a_ticket_must(machine, running, secret) -> None:
    machine.world.store.fail()

    ticket = send(machine, secret, TICKET, SAID)
    send(machine, secret, ROLLBACK, BACK)
    replayed = send(machine, secret, ROLLBACK, BACK)
    machine.world.store.fail(None)

    assert (503, "state-unwritable") == code(ticket)
    assert (409, "hook-replayed") == code(replayed)
    assert machine.world.end(running())["outcome"] in ("aborted", "rolled_back")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ROLLBACK, b"{"),
        (ROLLBACK, b"[]"),
        (ROLLBACK, b'{"service": "demo"}'),
        (ROLLBACK, json.dumps({**BACK, "more": 1}).encode()),
        (TICKET, json.dumps({**SAID, "id": ""}).encode()),
        (TICKET, b"\xff"),
    ],
)
def test_a_signed_body_that_cannot_be_used_is_named(machine, live, secret, path, body) -> None:
    answer = machine.client.post(path, content=body, headers=signed(machine, secret, body))

    assert (422, "bad-request") == code(answer)


def test_a_body_without_end_is_not_read_to_its_end(machine, secret) -> None:
    def endless():
        for _ in range(1_000):
            yield b"x" * 10_000

    answer = machine.client.post(ROLLBACK, content=endless())

    assert (422, "bad-request") == code(answer)


def test_a_secret_that_others_could_read_is_not_used(machine, live, secret) -> None:
    machine.secret._path.chmod(0o644)

    assert (422, errors.Code.PRIVATE_FILE.value) == code(send(machine, secret, TICKET, SAID))


def test_neither_secret_nor_signature_nor_token_gets_into_a_log_or_an_answer(
    machine, live, secret, caplog, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    token = machine.people.add("ann", now=1.0)
    body = json.dumps(SAID).encode()
    headers = signed(machine, secret, body)
    answers = [machine.client.post(TICKET, content=body, headers=headers) for _ in range(2)]
    answers.append(machine.client.post(TICKET, content=body + b"!", headers=headers))
    answers.append(machine.client.get("/v1/status", headers={"authorization": f"Bearer {token}"}))
    answers.append(machine.client.get("/v1/status", headers={"authorization": f"Bearer {token}x"}))

    seen = caplog.text + "".join(capfd.readouterr()) + "".join(answer.text for answer in answers)
    for hidden in (secret, headers["x-softlaunch-signature"].removeprefix("sha256="), token):
        assert hidden not in seen
