from __future__ import annotations

import itertools

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch.testing import http_answers

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n"
    b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nt: 1\r\n\r\n"
)
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [(PLAIN, 200, b"hello"), (CHUNKED, 503, b"abcde"), (EMPTY, 204, b""), (INTERIM, 200, b"hello")],
)
@hypothesis.given(cuts=strategies.sets(strategies.integers(1, 90)))
def test_an_answer_is_the_same_however_its_bytes_arrive(raw: bytes, status: int, body: bytes, cuts: set[int]) -> None:
    parser = http_answers.Parser()
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]

    found = [parser.feed(raw[start:end]) for start, end in itertools.pairwise(edges)]

    assert [None] * (len(found) - 1) == found[:-1]
    assert found[-1] is not None
    assert (status, body) == (found[-1].status, found[-1].body)


def test_one_parser_reads_one_answer_after_the_other() -> None:
    parser = http_answers.Parser()

    first, second = parser.feed(PLAIN), parser.feed(CHUNKED)

    assert first is not None
    assert second is not None
    assert (200, 503) == (first.status, second.status)
    assert parser.reusable


def test_header_names_are_lower_case() -> None:
    answer = http_answers.Parser().feed(PLAIN)

    assert answer is not None
    assert {"content-type": "text/plain", "content-length": "5"} == answer.headers


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    parser = http_answers.Parser()

    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nhel") is None
    assert parser.feed(b"lo") is None
    answer = parser.end()

    assert answer is not None
    assert answer.body == b"hello"
    assert not parser.reusable


def test_a_connection_that_ends_within_a_body_gives_no_answer() -> None:
    parser = http_answers.Parser()
    parser.feed(PLAIN[:-1])

    assert parser.end() is None


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n", True),
    ],
)
def test_the_server_says_whether_the_connection_stays(head: bytes, *, reusable: bool) -> None:
    parser = http_answers.Parser()
    parser.feed(head + b"content-length: 0\r\n\r\n")

    assert reusable is parser.reusable


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
        PLAIN + b"x",
        b"x" * (http_answers.HEAD_BYTE_COUNT_MAX + 1),
    ],
)
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises(http_answers.GarbledError):
        http_answers.Parser().feed(raw)
