"""What a redacted record still says, and what it no longer does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from softlaunch.core import spec, spool
from softlaunch.serving import redaction

HEADER = spool.Header(service="s", environment="e", release="a" * 12, instance="i", opened_at=0.0, seed=0)
DROP, HASH = spec.Redaction.DROP, spec.Redaction.HASH
RULES = {"birthday": DROP, "city": HASH, "order": HASH, "key": HASH}


def redactor(rules: dict[str, spec.Redaction] | None = None) -> redaction.Redactor:
    return redaction.Redactor(
        RULES if rules is None else rules, secret=b"s" * 32, keys=("order",), feature_names=("birthday", "city", "age")
    )


def redacted(request: Any, rules: dict[str, spec.Redaction] | None = None, **more: Any) -> spool.Record:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    record = spool.Record(
        request_id="r", at=1.0, release="a" * 12, instance="i", arm=spool.PRIMARY, mirrored=False, path="/predict",
        content_type="application/json", request=body, status=200, answer=b'{"prediction":1}', invalid=False,
        shed=False, service_us=1, cpu_us=1, key="ada", row_count=1, output="", memory_kib=1, served_count=1, dropped=0,
    )._replace(**more)  # fmt: skip
    group = spool.group_of(record)
    redactor(rules).redact(group.rows[0])
    (found,) = spool.records(HEADER, group)
    return found


@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: [row], lambda row: {"rows": [row]}])
def test_features_are_dropped_and_hashed_in_every_form_of_rows(wrap: Any) -> None:
    found = redacted(wrap({"birthday": "1990-01-01", "city": "Oslo", "age": 33}))

    expected = wrap({"birthday": None, "city": redactor().digest("Oslo"), "age": 33})
    assert expected == json.loads(found.request)
    assert found.redacted
    assert not found.cut
    assert b"Oslo" not in found.request


def test_equal_values_have_equal_digests_of_32_digits_and_only_with_the_same_secret() -> None:
    other = redaction.Redactor(RULES, secret=b"t" * 32)

    assert redactor().digest("ada") == redactor().digest("ada")
    assert 32 == len(redactor().digest("ada"))
    assert redactor().digest("ada") != other.digest("ada")


def test_the_sticky_key_and_business_keys_are_hashed_everywhere_and_the_request_can_still_be_repeated() -> None:
    found = redacted({"age": 33, "order": "o-7"}, keys={"order": ["o-7", None]})

    digest = redactor().digest("o-7")
    assert {"order": [digest, None]} == found.keys
    assert {"age": 33, "order": digest} == json.loads(found.request)
    assert redactor().digest("ada") == found.key
    assert not found.redacted


def test_tensors_are_redacted_by_their_names() -> None:
    tensors = [
        {"name": "city", "shape": [2], "datatype": "BYTES", "data": ["Oslo", "Rome"]},
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [1, 2]},
    ]
    found = redacted({"inputs": tensors})

    city, age = json.loads(found.request)["inputs"]
    assert [redactor().digest("Oslo"), redactor().digest("Rome")] == city["data"]
    assert [1, 2] == age["data"]
    assert found.redacted


def test_a_tensor_of_all_features_is_left_out_whole() -> None:
    found = redacted({"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP64", "data": [[1.0, 2.0, 3.0]]}]})

    assert [] == json.loads(found.request)["inputs"][0]["data"]
    assert found.redacted


@pytest.mark.parametrize("body", [b"\x00\x01binary", b'{"city": "Oslo"', b"{}\x00\x00\x80\x3f", b'{"city": NaN}'])
def test_what_is_no_json_is_not_recorded(body: bytes) -> None:
    found = redacted(body)

    assert (b"", True, True) == (found.request, found.cut, found.redacted)


def test_an_error_s_answer_may_quote_the_value_and_is_left_out() -> None:
    assert b"" == redacted({"city": 5}, status=422, answer=b'{"error":"5 is not allowed"}').answer


def test_looked_up_features_are_redacted_too() -> None:
    found = redacted({"age": 1}, features={"rows": [{"city": "Oslo", "age": 1}]})

    assert {"rows": [{"city": redactor().digest("Oslo"), "age": 1}]} == found.features
    assert found.redacted


def test_what_no_rule_names_stays_as_it_was() -> None:
    found = redacted({"age": 1, "city": "Oslo"}, {"birthday": DROP})

    assert {"age": 1, "city": "Oslo"} == json.loads(found.request)
    assert ("ada", False) == (found.key, found.redacted)
