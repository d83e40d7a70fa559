"""Named tokens and the webhooks' secret: what is kept, who is admitted, what a file must look like."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import threading

import pytest

from softlaunch import errors
from softlaunch.controller import hook_secret, people, private_file


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "people.json"


def refusal(deed) -> errors.Code:
    with pytest.raises(errors.SoftlaunchError) as refused:
        deed()
    return refused.value.code


def test_a_token_is_the_person_it_was_made_for(path) -> None:
    known = people.People(path)
    tokens = {name: known.add(name, now=5.0) for name in ("ann", "bob")}

    assert {"ann": "ann", "bob": "bob"} == {name: known.whose(token) for name, token in tokens.items()}
    assert known.whose("softlaunch_guess") is None
    assert known.whose("") is None
    assert ["ann", "bob"] == [person.name for person in known.everybody()]


def test_only_the_hash_of_a_token_is_kept_where_only_its_owner_reads(path) -> None:
    token = people.People(path).add("ann", now=5.0)

    assert token not in path.read_text()
    assert hashlib.sha256(token.encode()).hexdigest() == json.loads(path.read_text())["people"][0]["sha256"]
    assert 0o600 == path.stat().st_mode & 0o777
    assert len(token) > 40


def test_another_process_s_changes_count_from_the_next_request_on(path) -> None:
    serving, typed = people.People(path), people.People(path)
    assert serving.whose("x") is None
    token = typed.add("ann", now=5.0)
    assert serving.whose(token) == "ann"
    typed.remove("ann")

    assert serving.whose(token) is None


def test_a_name_has_one_token_and_must_be_a_name(path) -> None:
    known = people.People(path)
    known.add("ann", now=5.0)

    assert errors.Code.PERSON_EXISTS is refusal(lambda: known.add("ann", now=6.0))
    for name in ("", " ", "a b", "a\nb", "-a", "x" * 65, "softlaunch", "Webhook", "ä"):
        assert errors.Code.PERSON_NAME is refusal(lambda name=name: known.add(name, now=6.0))
    assert errors.Code.NO_PERSON is refusal(lambda: known.remove("bob"))
    assert ["ann"] == [person.name for person in known.everybody()]


def test_many_at_once_lose_nobody(path) -> None:
    threads = [
        threading.Thread(target=people.People(path).add, args=(f"p{number}",), kwargs={"now": 1.0})
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {f"p{number}" for number in range(12)} == {person.name for person in people.People(path).everybody()}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_get_at_admits_nobody(path, mode) -> None:
    token = people.People(path).add("ann", now=5.0)
    path.chmod(mode)

    assert errors.Code.PRIVATE_FILE is refusal(lambda: people.People(path).whose(token))
    assert errors.Code.PRIVATE_FILE is refusal(people.People(path).everybody)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"people": [{"name": "ann"}]}', b"\xff"])
def test_a_file_that_softlaunch_did_not_write_admits_nobody(path, content) -> None:
    private_file.write(path, content)

    assert errors.Code.PRIVATE_FILE is refusal(people.People(path).everybody)


def test_a_symbolic_link_is_not_followed(path, tmp_path) -> None:
    people.People(tmp_path / "elsewhere").add("ann", now=5.0)
    path.symlink_to(tmp_path / "elsewhere")

    assert errors.Code.PRIVATE_FILE is refusal(people.People(path).everybody)


def test_a_file_that_cannot_be_written_is_left_as_it_was(path, monkeypatch) -> None:
    known = people.People(path)
    known.add("ann", now=5.0)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert errors.Code.PRIVATE_FILE is refusal(lambda: known.add("bob", now=6.0))
    assert before == path.read_bytes()
    assert {"people.json", ".people.json.lock"} == {found.name for found in path.parent.iterdir()}


def test_the_secret_is_made_once_and_rotated_when_asked(tmp_path) -> None:
    kept = hook_secret.HookSecret(tmp_path / "webhook.secret")
    assert kept.read() is None
    first = kept.make(rotate=False)

    assert first.encode() == kept.read()
    assert errors.Code.HOOK_KEY_EXISTS is refusal(lambda: kept.make(rotate=False))
    assert first.encode() == kept.read()
    second = kept.make(rotate=True)
    assert second.encode() == kept.read() != first.encode()
    assert 0o600 == (tmp_path / "webhook.secret").stat().st_mode & 0o777


def test_an_empty_secret_is_no_secret(tmp_path) -> None:
    private_file.write(tmp_path / "webhook.secret", b"\n")

    assert hook_secret.HookSecret(tmp_path / "webhook.secret").read() is None
