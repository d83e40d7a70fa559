from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import predictions, release
from softlaunch.serving import batching, rows_codec

SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="a b", datatype=release.Datatype.FP64),
        release.Column(name="f", datatype=release.Datatype.FP32, nullable=True),
        release.Column(name="n", datatype=release.Datatype.INT64),
        release.Column(name="flag", datatype=release.Datatype.BOOL),
        release.Column(name="s", datatype=release.Datatype.BYTES, nullable=True),
    ),
    outputs=predictions.classifier_outputs([0, 1]),
)
CODEC = rows_codec.RowsCodec(SIGNATURE, "0123456789ab")
GOOD = {"a b": 1, "f": 2.5, "n": 3, "flag": True, "s": "x"}
TAKEN = (1.0, 2.5, 3, True, "x")


@pytest.mark.parametrize(
    ("document", "rows", "bare"),
    [
        (GOOD, [TAKEN], True),
        ([GOOD, GOOD], [TAKEN, TAKEN], False),
        ({"rows": [GOOD]}, [TAKEN], False),
    ],
)
def test_a_row_a_list_and_an_envelope_are_read(document: Any, rows: list[Any], *, bare: bool) -> None:
    for body in (json.dumps(document).encode(), json.dumps(document, indent=1).encode(), msgspec.json.encode(document)):
        assert rows_codec.RowsRequest(rows, bare) == CODEC.decode(body)


def test_a_bare_row_is_answered_bare_and_rows_as_a_list() -> None:
    answered = batching.Answered({"label": [9, 0, 1, 9], "probability": [9, 0.25, 0.75, 9]}, 1, 3)
    one = batching.Answered(answered.columns, 1, 2)

    assert {"prediction": {"label": 0, "probability": 0.25}, "release": "0123456789ab"} == json.loads(
        CODEC.encode(rows_codec.RowsRequest([TAKEN], bare=True), one)
    )
    assert {
        "predictions": [{"label": 0, "probability": 0.25}, {"label": 1, "probability": 0.75}],
        "release": "0123456789ab",
    } == json.loads(CODEC.encode(rows_codec.RowsRequest([TAKEN, TAKEN], bare=False), answered))


def test_a_feature_called_rows_is_not_taken_for_the_envelope() -> None:
    signature = release.Signature(
        inputs=(release.Column(name="rows", datatype=release.Datatype.FP64),), outputs=SIGNATURE.outputs
    )
    codec = rows_codec.RowsCodec(signature, "v")

    assert [(1.0,)] == codec.decode(b'{"rows":1}').rows
    assert [(1.0,)] == codec.decode(b'{"rows":[{"rows":1}]}').rows


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"rows":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a b":' + b"9" * 5_000 + b"}",
        b'"text"',
        b"12",
        b"null",
        b'{"rows":[],"more":1}',
        b"\xff\xfe",
        '{"a b":1}'.encode("utf-16"),
        b"{} {}",
    ],
)
def test_what_is_not_rows_is_malformed(body: bytes) -> None:
    with pytest.raises(predictions.MalformedError):
        CODEC.decode(body)


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ('"a b": NaN', "a b"),
        ('"a b": -Infinity', "a b"),
        ('"a b": 1e999', "a b"),
        ('"f": 1e39', "f"),
        ('"n": 99999999999999999999999', "n"),
        ('"n": 9223372036854775808', "n"),
        ('"n": true', "n"),
        ('"flag": 1', "flag"),
        ('"s": "\\ud800"', "s"),
        ('"z": 1', "z"),
    ],
)
def test_a_wrong_value_is_named_with_its_row_and_column(change: str, column: str) -> None:
    good = json.dumps(GOOD)
    body = f"[{good}, {good[:-1]}, {change}}}]".encode()

    with pytest.raises(predictions.RowError) as caught:
        CODEC.decode(body)

    assert (1, column) == (caught.value.row, caught.value.column)


@pytest.mark.parametrize("body", [b"[]", b'{"rows":[]}', b'{"rows": [] }'])
def test_no_rows_are_refused(body: bytes) -> None:
    with pytest.raises(predictions.RowError, match="no rows"):
        CODEC.decode(body)


NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63), 2**64, 3.0, 1e39, -0.0, 10**30])
VALUES = st.none() | st.booleans() | NUMBERS | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
ROWS = st.fixed_dictionaries(
    {"a b": NUMBERS | VALUES, "n": NUMBERS | VALUES, "flag": st.booleans() | VALUES},
    optional={"f": NUMBERS | VALUES, "s": st.text(max_size=4) | VALUES, "z": VALUES},
)


def read_slowly(body: bytes) -> rows_codec.RowsRequest | type[Exception]:
    try:
        return CODEC._decode_slowly(body)
    except errors.ConfigError as error:
        return type(error)


def read(body: bytes) -> rows_codec.RowsRequest | type[Exception]:
    try:
        return CODEC.decode(body)
    except errors.ConfigError as error:
        return type(error)


@given(ROWS | st.lists(ROWS, max_size=3) | st.fixed_dictionaries({"rows": st.lists(ROWS, max_size=3)}))
@example({"rows": [GOOD]})
def test_the_fast_reader_never_accepts_what_the_slow_one_would_not(document: Any) -> None:
    body = json.dumps(document).encode()

    assert repr(read_slowly(body)) == repr(read(body))


@given(st.binary() | st.text().map(str.encode) | st.binary().map(lambda tail: b'{"rows":[' + tail))
def test_whatever_bytes_come_they_are_read_or_refused(body: bytes) -> None:
    assert read_slowly(body) == read(body)


@pytest.mark.parametrize(
    ("column", "value", "outline"),
    [
        (release.Column(name="label", datatype=release.Datatype.INT64), 3, "c:3"),
        (release.Column(name="count", datatype=release.Datatype.INT64), 31_234, "n:3.123e+04"),
        (release.Column(name="p", datatype=release.Datatype.FP64), 0.123456, "n:0.1235"),
        (release.Column(name="p", datatype=release.Datatype.FP64, nullable=True), None, ""),
        (release.Column(name="late", datatype=release.Datatype.BOOL), True, "c:true"),
        (release.Column(name="s", datatype=release.Datatype.BYTES), "on time\r\nx: é", "c:on_time__x___"),
        (release.Column(name="s", datatype=release.Datatype.BYTES), "x" * 100, "c:" + "x" * 64),
    ],
)
def test_an_answer_is_outlined_by_its_first_output(column: release.Column, value: Any, outline: str) -> None:
    codec = rows_codec.RowsCodec(release.Signature(inputs=SIGNATURE.inputs, outputs=(column,)), "0123456789ab")

    answered = batching.Answered({column.name: ["unused", value]}, 1, 2)

    assert outline == codec.outline(answered)


@pytest.mark.parametrize("spelled", [b"%s", b" %s"])
def test_business_keys_are_taken_out_of_rows_by_either_reader(spelled: bytes) -> None:
    signature = release.Signature(
        inputs=(release.Column(name="a", datatype=release.Datatype.FP64),), outputs=SIGNATURE.outputs
    )
    codec = rows_codec.RowsCodec(signature, "v", keys=("order", "who", "a"))

    bare = codec.decode(spelled % b'{"order":"o-7","a":1}')
    several = codec.decode(spelled % b'{"rows":[{"a":1,"order":7},{"a":2}],"who":"ada","order":9}')
    listed = codec.decode(spelled % b'[{"a":1},{"a":2}]')

    assert ([(1.0,)], {"order": ["o-7"]}) == (bare.rows, bare.keys)
    assert ([(1.0,), (2.0,)], {"order": [7, 9], "who": ["ada", "ada"]}) == (several.rows, several.keys)
    assert ([(1.0,), (2.0,)], None) == (listed.rows, listed.keys)


def test_what_is_no_declared_key_or_no_plain_value_is_refused() -> None:
    signature = release.Signature(
        inputs=(release.Column(name="a", datatype=release.Datatype.FP64),), outputs=SIGNATURE.outputs
    )
    codec = rows_codec.RowsCodec(signature, "v", keys=("order",))

    with pytest.raises(predictions.RowError, match="'who'"):
        codec.decode(b'{"a":1,"who":1}')
    with pytest.raises(predictions.RowError, match="'order'"):
        codec.decode(b'{"a":1,"order":[1]}')
    with pytest.raises(predictions.MalformedError, match="who"):
        codec.decode(b'{"rows":[{"a":1}],"who":1}')
