"""The webhook of git servers: who is believed, only once, and what a payload cannot do."""

from __future__ import annotations

import hashlib
import hmac
import json

import pytest

from softlaunch.api import git_hooks
from softlaunch.controller import hook_secret

PATH = "/v1/hooks/git"
FOLLOW = {"service": "demo", "url": "https://git.example.com/team/demo.git"}
PUSH = {
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": "1" * 40,
    "repository": {"full_name": "team/demo", "clone_url": "https://git.example.com/team/demo.git"},
    "commits": [{"id": "1" * 40, "message": "Predict better"}],
}
"""What GitHub, Gitea and GitLab have in common; Bitbucket says push.changes."""
BITBUCKET = {"push": {"changes": [{"new": {"name": "main", "target": {"hash": "1" * 40}}}]}}


@pytest.fixture
def secret(machine) -> str:
    return hook_secret.for_git(machine.secret.make(rotate=False).encode())


@pytest.fixture
def followed(machine) -> None:
    assert 201 == machine.client.post("/v1/follows", json=FOLLOW).status_code


def digest(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(secret: str, body: bytes, delivery: str = "d-1") -> dict[str, str]:
    return {
        "x-github-event": "push",
        "x-github-delivery": delivery,
        "x-hub-signature": "sha1=" + "0" * 40,  # GitHub still sends the weak one beside the good one
        "x-hub-signature-256": f"sha256={digest(secret, body)}",
    }


def gitea(secret: str, body: bytes, delivery: str = "d-1") -> dict[str, str]:
    return {"x-gitea-event": "push", "x-gitea-delivery": delivery, "x-gitea-signature": digest(secret, body)}


def bitbucket(secret: str, body: bytes, delivery: str = "d-1") -> dict[str, str]:
    signature = f"sha256={digest(secret, body)}"
    return {"x-event-key": "repo:push", "x-request-uuid": delivery, "x-hub-signature": signature}


def gitlab(secret: str, body: bytes, delivery: str = "d-1") -> dict[str, str]:
    return {"x-gitlab-event": "Push Hook", "x-gitlab-event-uuid": delivery, "x-gitlab-token": secret}


SENDERS = [github, gitea, bitbucket, gitlab]
SIGNED = [github, gitea, bitbucket]


def send(machine, headers: dict[str, str], body: bytes):
    return machine.client.post(PATH, content=body, headers={**headers, "authorization": ""})


def code(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@pytest.mark.parametrize("sender", SENDERS)
def test_a_push_has_the_servers_asked(machine, secret, followed, sender) -> None:
    body = json.dumps(BITBUCKET if sender is bitbucket else PUSH).encode()

    answer = send(machine, sender(secret, body), body)

    assert (200, {"asked": ["demo"]}) == (answer.status_code, answer.json())


@pytest.mark.parametrize("sender", SENDERS)
def test_another_secret_opens_nothing(machine, secret, followed, sender) -> None:
    body = json.dumps(PUSH).encode()

    assert (401, "hook-unsigned") == code(send(machine, sender("f" * 64, body), body))


@pytest.mark.parametrize("sender", SIGNED)
def test_a_signature_is_for_its_own_body(machine, secret, followed, sender) -> None:
    body = json.dumps(PUSH).encode()

    assert (401, "hook-unsigned") == code(send(machine, sender(secret, body), body + b" "))


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("delivery", ["d-1", "d-2"], ids=["as it was", "under another id"])
def test_a_delivery_is_accepted_once_also_after_a_restart(machine, secret, followed, sender, delivery) -> None:
    body = json.dumps(PUSH).encode()
    assert 200 == send(machine, sender(secret, body), body).status_code

    assert (409, "hook-replayed") == code(send(machine, sender(secret, body, delivery), body))
    machine.client = machine.again()
    assert (409, "hook-replayed") == code(send(machine, sender(secret, body, delivery), body))


def test_an_id_is_accepted_once_whatever_the_body(machine, secret, followed) -> None:
    for body, expected in ((b'{"after": "1"}', 200), (b'{"after": "2"}', 409)):
        assert expected == send(machine, github(secret, body), body).status_code


def test_a_refused_delivery_is_not_spent(machine, secret, followed) -> None:
    body = json.dumps(PUSH).encode()
    send(machine, github("f" * 64, body), body)

    assert 200 == send(machine, github(secret, body), body).status_code


def test_a_wrong_strong_signature_is_not_saved_by_a_good_one_beside_it(machine, secret, followed) -> None:
    body = json.dumps(PUSH).encode()
    headers = {**gitea(secret, body), **gitlab(secret, body), "x-hub-signature-256": f"sha256={'0' * 64}"}

    assert (401, "hook-unsigned") == code(send(machine, headers, body))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hub-signature-256": ""},
        {"x-hub-signature-256": "sha256="},
        {"x-hub-signature": "sha1=" + "0" * 40},
        {"x-gitlab-token": ""},
        {"x-gitea-signature": b"\xe9"},
    ],
)
def test_no_signature_is_a_wrong_one(machine, secret, followed, headers) -> None:
    assert (401, "hook-unsigned") == code(send(machine, headers, b"{}"))


def test_sha1_is_no_signature(machine, secret, followed) -> None:
    body = json.dumps(PUSH).encode()
    weak = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()

    assert (401, "hook-unsigned") == code(send(machine, {"x-hub-signature": f"sha1={weak}"}, body))


def test_without_a_secret_webhooks_are_off(machine, followed) -> None:
    body = json.dumps(PUSH).encode()

    assert (401, "hook-off") == code(send(machine, github("", body), body))


def test_the_secret_of_rollbacks_is_not_the_git_server_s(machine, followed) -> None:
    other = machine.secret.make(rotate=False)
    body = json.dumps(PUSH).encode()

    assert (401, "hook-unsigned") == code(send(machine, gitlab(other, body), body))


def test_nothing_a_payload_says_is_believed(machine, secret, followed) -> None:
    """It names another repository, another commit, commands: the servers that are followed are asked, that is all."""
    before = machine.client.get("/v1/follows").json()
    evil = {"ref": "--upload-pack=touch", "after": "f" * 40, "repository": {"clone_url": "ext::sh -c id"}}
    for number, body in enumerate((json.dumps(evil).encode(), b"no json", b"\xff\x00")):
        answer = send(machine, github(secret, body, f"d-{number}"), body)
        assert {"asked": ["demo"]} == answer.json()

    after = machine.client.get("/v1/follows").json()
    assert [{**each, "asking": True} for each in before] == after


def test_a_body_without_end_is_refused(machine, secret, followed) -> None:
    assert 422 == send(machine, {}, b"x" * (git_hooks.BODY_BYTES_MAX + 1)).status_code


def test_old_deliveries_are_forgotten_oldest_first(machine, secret, followed, monkeypatch) -> None:
    monkeypatch.setattr(git_hooks, "SEEN_COUNT_MAX", 6)
    bodies = [json.dumps({"after": str(number)}).encode() for number in range(4)]
    for number, body in enumerate(bodies):
        assert 200 == send(machine, github(secret, body, f"d-{number}"), body).status_code

    assert 409 == send(machine, github(secret, bodies[3], "d-3"), bodies[3]).status_code
    assert 409 == send(machine, github(secret, bodies[1], "d-1"), bodies[1]).status_code
    assert 200 == send(machine, github(secret, bodies[0], "d-0"), bodies[0]).status_code


def test_following_wants_a_token(machine) -> None:
    assert 401 == machine.client.post("/v1/follows", json=FOLLOW, headers={"authorization": ""}).status_code
    assert 401 == machine.client.get("/v1/follows", headers={"authorization": ""}).status_code


@pytest.mark.parametrize(
    "wrong",
    [
        {"folder": "../other"},
        {"folder": "/etc"},
        {"folder": "a:b"},
        {"every_seconds": 0.1},
        {"on_rollback": "rewrite"},
        {"service": "../x"},
        {"colour": "red"},
    ],
)
def test_what_cannot_be_followed_is_refused(machine, wrong) -> None:
    assert 422 == machine.client.post("/v1/follows", json={**FOLLOW, **wrong}).status_code
    assert [] == machine.client.get("/v1/follows").json()


def test_what_is_followed_is_listed_and_removed(machine, followed) -> None:
    (found,) = machine.client.get("/v1/follows").json()
    assert ("demo", "revert", 10.0, []) == tuple(
        found[name] for name in ("service", "on_rollback", "every_seconds", "environments")
    )

    assert ["demo"] == machine.client.post("/v1/follows/sync", json={}).json()["services"]
    assert 200 == machine.client.post("/v1/follows/demo/remove", json={}).status_code

    assert [] == machine.client.get("/v1/follows").json()
    assert (422, "no-follow") == code(machine.client.post("/v1/follows/demo/remove", json={}))
    assert (422, "no-follow") == code(machine.client.post("/v1/follows/sync", json={"service": "demo"}))


def test_only_a_commit_that_is_held_can_be_accepted(machine, followed) -> None:
    answer = machine.client.post("/v1/follows/sync", json={"service": "demo", "accept": "1" * 40})

    assert (422, "unknown-ref") == code(answer)
