"""The quick reader of infer requests against the one that decides: never another answer, and most often one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softlaunch import errors
from softlaunch.core import oip, predictions, release
from softlaunch.serving import oip_inference, oip_quick

SIGNATURE = release.Signature(
    inputs=(
        release.Column(name="price", datatype=release.Datatype.FP64),
        release.Column(name="weight", datatype=release.Datatype.FP32, nullable=True),
        release.Column(name="count", datatype=release.Datatype.INT64),
        release.Column(name="new", datatype=release.Datatype.BOOL),
        release.Column(name="city", datatype=release.Datatype.BYTES),
    ),
    outputs=predictions.classifier_outputs([0, 1]),
)
READER = oip_quick.QuickReader(SIGNATURE, keys=("order",))
ROWS_MAX = 3
GOOD: dict[str, Any] = {
    "price": ("FP64", 1.5),
    "weight": ("FP32", 2),
    "count": ("INT64", 3),
    "new": ("BOOL", True),
    "city": ("BYTES", "Ürgüp"),
}


def document(row_count: int = 2, *, column: bool = False, **changes: Any) -> dict[str, Any]:
    shape = [row_count, 1] if column else [row_count]
    inputs = [
        {"name": name, "shape": shape, "datatype": datatype, "data": [value] * row_count}
        for name, (datatype, value) in GOOD.items()
    ]
    return {"inputs": inputs, **changes}


def slowly(body: bytes) -> oip.InferRequest:
    found, binary = oip_inference.split(body, None)
    return oip.parse_request(found, SIGNATURE, binary=binary, keys=("order",), row_count_max=ROWS_MAX)


def typed(request: oip.InferRequest) -> tuple[Any, ...]:
    return [[(type(value), value) for value in row] for row in request.rows], request.id, request.outputs, request.keys


@pytest.mark.parametrize(
    "found", [document(), document(1), document(3, column=True), document(id="a"), document(id="")]
)
def test_the_common_request_is_read_quickly_and_alike(found) -> None:
    body = json.dumps(found).encode()
    request = READER.read(body, ROWS_MAX)

    assert request is not None
    assert typed(slowly(body)) == typed(request)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 3),
    st.floats(),
    st.sampled_from([3.5e38, -3.5e38, 3.4028234663852886e38, 2**63, 2**63 - 1, -(2**63), 1e308, -0.0]),
    st.text(max_size=3),
    st.lists(st.integers(0, 1), max_size=2),
)
NAMES = st.sampled_from([*GOOD, "order", "other"])
DATATYPES = st.sampled_from(["FP64", "FP32", "FP16", "INT64", "INT32", "UINT8", "BOOL", "BYTES", "X", None])


@st.composite
def mutated(draw) -> bytes:
    found = document(draw(st.integers(0, 4)), column=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 3))):
        inputs = found["inputs"]
        which = inputs[draw(st.integers(0, len(inputs) - 1))]
        match draw(st.integers(0, 7)):
            case 0:
                which["data"] = draw(st.lists(VALUES, min_size=len(which["data"]), max_size=len(which["data"])))
            case 1:
                which["data"] = draw(st.lists(VALUES, max_size=4))
            case 2:
                which["name"] = draw(NAMES)
            case 3:
                which["datatype"] = draw(DATATYPES)
            case 4:
                which["shape"] = draw(st.lists(st.one_of(st.integers(0, 4), st.booleans(), st.just(2.0)), max_size=3))
            case 5:
                which["parameters"] = draw(st.sampled_from([{}, {"binary_data_size": 8}, None]))
            case 6:
                found[draw(st.sampled_from(["id", "parameters", "outputs", "inputs_", "id"]))] = draw(VALUES)
            case 7:
                inputs.append(dict(which))
    return json.dumps(found, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_whatever_is_read_quickly_is_read_alike_and_never_what_the_other_refuses(body: bytes) -> None:
    request = READER.read(body, ROWS_MAX)
    if request is not None:
        assert typed(slowly(body)) == typed(request)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    assert READER.read(body, ROWS_MAX) is None or slowly(body)


def test_a_signature_of_one_feature_or_with_keys_among_them_is_left_to_the_other() -> None:
    sole = release.Signature(inputs=SIGNATURE.inputs[:1], outputs=SIGNATURE.outputs)
    body = json.dumps({"inputs": document()["inputs"][:1]}).encode()

    assert oip_quick.QuickReader(sole).read(body, ROWS_MAX) is None
    assert oip_quick.QuickReader(SIGNATURE, keys=("price",)).read(json.dumps(document()).encode(), ROWS_MAX) is None


def test_what_is_refused_is_left_to_the_other_for_its_message() -> None:
    body = json.dumps(document(4)).encode()

    assert READER.read(body, ROWS_MAX) is None
    with pytest.raises(errors.SoftlaunchError, match="more than 3 rows"):
        slowly(body)
