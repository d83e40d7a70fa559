from __future__ import annotations

import html.parser
import json
from collections.abc import Callable
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest

from softlaunch.serving import readiness

Ask = Callable[..., Any]


def document(ask: Ask, **more: Any) -> dict[str, Any]:
    answer = ask("GET", "/openapi.json", **more)
    assert (200, "application/json") == (answer.status, answer.headers["content-type"])
    found: dict[str, Any] = json.loads(answer.body)
    return found


def validator(found: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": found["components"]})


def test_the_document_is_valid_openapi(ask: Ask) -> None:
    openapi_spec_validator.validate(document(ask))
    openapi_spec_validator.validate(document(ask, keys=("user",), examples=((1.0, None, 7),)))


def test_features_have_their_names_types_and_nullability(ask: Ask) -> None:
    row = document(ask)["components"]["schemas"]["Row"]

    assert {
        "a": {"type": "number", "format": "double"},
        "s": {"type": ["string", "null"]},
        "n": {"type": ["integer", "null"], "format": "int64"},
    } == row["properties"]
    assert (["a"], False) == (row["required"], row["additionalProperties"])


def test_outputs_have_their_bounds(ask: Ask) -> None:
    found = document(ask)["components"]["schemas"]["Prediction"]["properties"]["probability"]

    assert (0.0, 1.0) == (found["minimum"], found["maximum"])


@pytest.mark.parametrize("examples", [(), ((3.0, "x", None), (4.0, None, 1), (5.0, None, 2))])
def test_examples_are_accepted_by_the_server_and_the_answers_by_the_schemas(ask: Ask, examples: Any) -> None:
    found = document(ask, examples=examples)
    for path in ("/predict", "/v2/models/svc/infer", "/v2/models/svc/versions/0123456789ab/infer"):
        media = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        sent = [media["example"]] if "example" in media else [each["value"] for each in media["examples"].values()]
        for each in sent:
            answer = ask("POST", path, json.dumps(each).encode())
            assert 200 == answer.status, answer
            kind = "InferResponse" if "infer" in path else "PredictedRows" if "rows" in each else "Predicted"
            validator(found, kind).validate(json.loads(answer.body))
            validator(found, "InferRequest" if "infer" in path else "Rows" if "rows" in each else "Row").validate(each)


@pytest.mark.parametrize(("path", "schema"), [("/v2", "ServerMetadata"), ("/v2/models/svc", "ModelMetadata")])
def test_metadata_is_as_described(ask: Ask, path: str, schema: str) -> None:
    validator(document(ask), schema).validate(json.loads(ask("GET", path).body))


def test_refusals_are_as_described(ask: Ask) -> None:
    found = document(ask)
    for sent in (b"x", b'{"a":"x"}', b'{"b":1}', b"[]"):
        validator(found, "Refusal").validate(json.loads(ask("POST", "/predict", sent).body))


class Page(html.parser.HTMLParser):
    """Which tags were opened, which addresses are used, and what is shown."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_fields_and_needs_nothing_from_elsewhere(ask: Ask) -> None:
    answer = ask("GET", "/docs", keys=("user",), examples=((2.5, "it's <b>", 7),))

    assert (200, "text/html; charset=utf-8") == (answer.status, answer.headers["content-type"])
    page = Page(answer.body.decode())
    assert [] == page.open
    assert {"v2/models/svc", "v2/health/ready", "openapi.json"} == set(page.addresses)
    for shown in ("svc", "0123456789ab", "probability", "at most 1", "user", "http://localhost:8080/predict", "<b>"):
        assert shown in page.text
    assert "<b>" not in answer.body.decode()
    assert "url(" not in answer.body.decode()


def test_the_pages_example_survives_a_shell(ask: Ask) -> None:
    page = Page(ask("GET", "/docs", examples=((2.5, "it's", 7),)).body.decode()).text

    sent = page.split("-d '")[1].split("'")[0]
    assert {"a": 2.5, "s": "it's", "n": 7} == json.loads(sent)


@pytest.mark.parametrize("path", ["/docs", "/openapi.json"])
def test_a_model_that_is_not_loaded_has_no_pages_yet(ask: Ask, path: str) -> None:
    assert 503 == ask("GET", path, phase=readiness.Phase.LOADING).status
    assert 405 == ask("POST", path).status
