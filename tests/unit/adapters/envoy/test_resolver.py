"""Addresses of servers outside, and what is remembered of their names."""

from __future__ import annotations

import pathlib
import threading

import pytest

from softlaunch import errors
from softlaunch.adapters.envoy import addresses
from softlaunch.testing import clock

SERVER = addresses.Endpoint(host="old.test", port=8080, tls=False)


class Names:
    """A resolver whose answers a test sets."""

    def __init__(self) -> None:
        self.answer: list[str] | None = ["192.0.2.1"]
        self.count = 0

    def __call__(self, host: str, port: int) -> list[str]:
        self.count += 1
        if self.answer is None:
            raise OSError(f"nobody knows {host}:{port}")
        return self.answer


def resolver(directory: pathlib.Path, names: Names, timekeeper: clock.ManualClock) -> addresses.Resolver:
    return addresses.Resolver(directory / "resolved.json", timekeeper=timekeeper, resolve=names)


@pytest.mark.parametrize(
    ("text", "authority", "tls"),
    [
        ("tcp://old.test:80", "old.test", False),
        ("tcp://old.test:443", "old.test:443", False),
        ("tls://old.test:443", "old.test", True),
        ("tls://old.test:8443", "old.test:8443", True),
        ("tcp://[::1]:8080", "[::1]:8080", False),
        ("tcp://127.0.0.1:80", "127.0.0.1", False),
    ],
)
def test_an_address_says_what_belongs_into_the_host_header(text: str, authority: str, *, tls: bool) -> None:
    found = addresses.parse(text)

    assert found is not None
    assert (authority, tls) == (found.authority, found.tls)


def test_a_path_is_the_socket_of_a_process_of_ours() -> None:
    assert addresses.parse("/tmp/sl-1000-0a1b2c3d/aaaaaaaaaaaa.0.e1.sock") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "old.test:80",
        "http://old.test:80",
        "tcp://old.test",
        "tcp://:80",
        "tcp://a:99999",
        "tcp://a:80/x",
        "tcp://u@a:80",
    ],
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="no address of a server"):
        addresses.parse(text)


def test_an_answer_is_used_for_a_while_and_then_asked_for_in_the_background(tmp_path: pathlib.Path) -> None:
    names, timekeeper = Names(), clock.ManualClock()
    subject = resolver(tmp_path, names, timekeeper)
    first = subject.addresses(SERVER)
    names.answer = ["192.0.2.2"]
    timekeeper.sleep(addresses.REFRESH_SECONDS - 1.0)
    again = subject.addresses(SERVER)
    asked = names.count
    timekeeper.sleep(1.0)
    before = set(threading.enumerate())
    subject.addresses(SERVER)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)

    assert (["192.0.2.1"], ["192.0.2.1"], 1) == (first, again, asked)
    assert ["192.0.2.2"] == subject.addresses(SERVER)


def test_the_last_good_answer_outlives_the_resolver_and_us(tmp_path: pathlib.Path) -> None:
    names, timekeeper = Names(), clock.ManualClock()
    resolver(tmp_path, names, timekeeper).addresses(SERVER)
    names.answer = None

    assert ["192.0.2.1"] == resolver(tmp_path, names, timekeeper).addresses(SERVER)


def test_an_unknown_name_is_not_waited_for_at_every_turn(tmp_path: pathlib.Path) -> None:
    names, timekeeper = Names(), clock.ManualClock()
    names.answer = None
    subject = resolver(tmp_path, names, timekeeper)
    for _ in range(3):
        with pytest.raises(errors.UnavailableError, match="nobody knows"):
            subject.addresses(SERVER)
    names.answer = ["192.0.2.3"]
    timekeeper.sleep(5.0)

    assert (1, ["192.0.2.3"]) == (names.count, subject.addresses(SERVER))


def test_an_ip_address_is_asked_of_nobody(tmp_path: pathlib.Path) -> None:
    names = Names()
    subject = resolver(tmp_path, names, clock.ManualClock())

    assert ["::1"] == subject.addresses(addresses.Endpoint(host="::1", port=80, tls=False))
    assert 0 == names.count


def test_a_damaged_memory_is_no_reason_not_to_start(tmp_path: pathlib.Path) -> None:
    (tmp_path / "resolved.json").write_text('{"old.test:8080": 7')

    assert ["192.0.2.1"] == resolver(tmp_path, Names(), clock.ManualClock()).addresses(SERVER)
