from __future__ import annotations

import base64
import io
import json
import urllib.parse

import pytest
import structlog

from softlaunch.controller import redaction

SECRET = 'p@ss/w"ord & co'


@pytest.fixture
def redactor():
    found = redaction.Redactor()
    found.learn(SECRET)
    found.learn("-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----\n")
    return found


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        json.dumps({"password": SECRET}),
        repr({"password": SECRET}),
        f"postgresql://u:{urllib.parse.quote(SECRET, safe='')}@db/x",
        base64.b64encode(SECRET.encode()).decode(),
        "at line 3: MIIEvQIBADANBgkq",
    ],
)
def test_a_value_is_taken_out_in_every_form_it_is_met_in(redactor, text) -> None:
    found = redactor.text(f"before {text} after")

    assert redaction.MARK in found
    assert found.startswith("before ")
    assert found.endswith(" after")
    for part in (SECRET, "ord & co", "MIIEvQIBADANBgkq", base64.b64encode(SECRET.encode()).decode()):
        assert part not in found


def test_a_value_that_is_hardly_one_leaves_texts_as_they_are(redactor) -> None:
    redactor.learn("")
    redactor.learn("on")

    assert redactor.text("nothing went on") == "nothing went on"


def test_a_log_shows_no_value_wherever_it_stands_in_an_event(redactor) -> None:
    printed = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(printed),
        processors=redaction.processors(redactor, structlog.get_config()["processors"]),
    )

    class Client:
        def __repr__(self):
            return f"Client({SECRET})"

    event = f"failed with {SECRET}"
    log.warning(event, told={"lines": [SECRET, {"deep": SECRET}]}, client=Client(), count=3)
    try:
        int(SECRET)
    except ValueError:
        log.exception("broke")
    log.warning("whole", sentence="as it was")

    found = printed.getvalue()
    assert "ord & co" not in found
    assert found.count(redaction.MARK) == 5
    assert "as it was" in found
    assert "count=3" in found.replace("\x1b[36m", "").replace("\x1b[0m", "").replace("\x1b[35m", "")


def test_the_redactor_is_put_into_a_chain_once(redactor) -> None:
    chain = redaction.processors(redactor, [str, repr])

    assert [str, redactor, repr] == chain
    assert chain == redaction.processors(redactor, chain)
