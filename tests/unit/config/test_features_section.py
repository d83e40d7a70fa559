from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file
from softlaunch.core import lookups, spec_json

HEAD = """service: flights
model: {python: "delay.py:P", inputs: {origin: BYTES, wind: FP64, gusts: INT64}}
environments: {production: {env: {CACHE: $CACHE}}, next: {env: {CACHE: $CACHE}}}
features:
  weather: """


def parse(lookup: str):
    return service_file.parse(f"{HEAD}{lookup}\n")


def said(lookup: str) -> str:
    with pytest.raises(problems.ServiceFileError) as caught:
        parse(lookup)
    return caught.value.message


def test_a_lookup_is_read_whole_and_survives_the_plan_s_file() -> None:
    found = parse(
        "{redis: 'w:{origin}', server: $CACHE, by: [origin], timeout: 5ms, max_age: 1h, timestamp: at,"
        " features: {wind: 0, gusts: {default: 3, field: now.gusts}}}"
    )

    assert (
        lookups.LookupSpec(
            name="weather",
            source=lookups.LookupSource.REDIS,
            target="w:{origin}",
            by=("origin",),
            features={"wind": 0, "gusts": 3},
            server="$CACHE",
            timeout_seconds=0.005,
            age_seconds_max=3600.0,
            timestamp="at",
            fields={"gusts": "now.gusts"},
        ),
    ) == found.lookups
    assert found == spec_json.load_service(spec_json.dump_service(found))


@pytest.mark.parametrize(
    "lookup",
    [
        "{http: /w/{origin}, server: $CACHE, by: [origin], features: {wind: 0}}".replace(
            "/w/{origin}", "'/w/{origin}'"
        ),
        "{http: 'https://x/w/{origin}', by: [origin], features: {wind: null}}",
        "{sql: 'with w as (select :origin) select * from w', server: 'sqlite:///w', by: [origin], features: {wind: 1}}",
        "{feast: 'service:weather_v1', server: features, by: [origin], features: {wind: 0}, max_age: 1h}",
        "{python: 'own/lookups.py:weather', by: [origin], features: {wind: -1.5e3}}",
        "{redis: 'w:{origin}', server: 'redis://:$CACHE@x', by: [origin], features: {wind: 0}}",
    ],
)
def test_every_source_is_read(lookup: str) -> None:
    assert 1 == len(parse(lookup).lookups)


@pytest.mark.parametrize(
    ("lookup", "message"),
    [
        ("[a]", "Expected a mapping"),
        ("{by: [origin], features: {wind: 0}}", "None of http, redis, sql, feast, python stands here"),
        ("{redis: k, sql: 'select 1', server: $CACHE, by: [origin], features: {wind: 0}}", "exclude each other"),
        ("{redis: 'w:{origin}', by: [origin], features: {wind: 0}}", "Nothing says where it is asked"),
        (
            "{redis: 'w:{origin}', server: $CASH, by: [origin], features: {wind: 0}}",
            "environments.next.env has no CASH",
        ),
        ("{redis: 'w:{orign}', server: $CACHE, by: [origin], features: {wind: 0}}", "Did you mean origin?"),
        ("{redis: 'w:{orign}', server: $CACHE, by: [origin], features: {wind: 0}}", "'origin' decides nothing"),
        ("{python: 'l.py:f', by: [orgin], features: {wind: 0}}", "no input of the model, and none of capture.keys"),
        ("{python: 'l.py:f', by: [origin], features: {wnd: 0}}", "Did you mean wind?"),
        ("{python: 'l.py:f', by: [origin], features: {wind: calm}}", "Write a finite number"),
        ("{python: 'l.py:f', by: [origin], features: {gusts: 1.5}}", "Write a whole number"),
        ("{python: 'l.py:f', by: [origin], features: {wind: .nan}}", "is no value a model is given"),
        ("{python: 'l.py:f', by: [origin], features: {wind: [1]}}", "Expected a number, a text"),
        ("{python: 'l.py:f', by: [origin], features: {wind: {field: w}}}", "The key 'default' is missing"),
        ("{python: 'l.py:f', by: [origin], features: {wind: {default: 1, feld: w}}}", "Did you mean field?"),
        ("{python: 'l.py:f', by: [origin], features: {}}", "It gives nothing"),
        ("{python: 'l.py:f', by: [wind], features: {wind: 0}}", "is itself looked up"),
        ("{python: '../l.py:f', by: [origin], features: {wind: 0}}", "does not name a function in a file"),
        ("{python: 'l.py:f', server: $CACHE, by: [origin], features: {wind: 0}}", "a function asks by itself"),
        (
            "{sql: 'delete from w where o = :origin', server: $CACHE, by: [origin], features: {wind: 0}}",
            "Lookups only read",
        ),
        ("{http: 'ftp://x/{origin}', by: [origin], features: {wind: 0}}", "not an http or https URL"),
        ("{http: 'http://{origin}.x/', by: [origin], features: {wind: 0}}", "The host of the URL depends"),
        ("{http: 'http://x/{origin}', server: $CACHE, by: [origin], features: {wind: 0}}", "the target is a whole URL"),
        ("{feast: 'a b', server: $CACHE, by: [origin], features: {wind: 0}}", "names no feature view"),
        ("{feast: w, server: $CACHE, by: [origin], features: {wind: 0}, timestamp: at}", "Feast says by itself"),
        ("{python: 'l.py:f', by: [origin], features: {wind: 0}, max_age: 1h}", "Nothing says how old the values are"),
        ("{python: 'l.py:f', by: [origin], features: {wind: 0}, timestamp: at}", "An age without a limit"),
        ("{python: 'l.py:f', by: [origin], features: {wind: 0}, timeout: 2s}", "is not between 1ms and 1s"),
        ("{redis: 'w:{origin}', server: $, by: [origin], features: {wind: 0}}", "A $ refers to nothing"),
    ],
)
def test_a_mistake_is_said_with_what_to_write_instead(lookup: str, message: str) -> None:
    found = said(lookup)

    assert message in found
    assert "softlaunch.yaml:5:" in found


@pytest.mark.parametrize(
    "server",
    ["redis://:pa55word@x", "postgresql://u:pa55word@x/y", "redis://x?password=pa55word", "redis://:pa55word@[x"],
)
def test_a_literal_password_is_refused_and_never_shown(server: str) -> None:
    found = said(f"{{redis: 'w:{{origin}}', server: '{server}', by: [origin], features: {{wind: 0}}}}")

    assert "The URL holds a password" in found
    assert "pa55word" not in found


def test_one_feature_has_one_source() -> None:
    one = "{python: 'l.py:f', by: [origin], features: {wind: 0}}"

    assert "'wind' is looked up by weather already" in said(f"{one}\n  other: {one}")


def test_an_app_looks_its_features_up_itself() -> None:
    text = "service: a\nmodel: {app: 'service:app'}\nenvironments: [production]\nfeatures: {w: {python: 'l.py:f',"
    with pytest.raises(problems.ServiceFileError, match="brings its own HTTP"):
        service_file.parse(f"{text} by: [origin], features: {{wind: 0}}}}}}\n")


def test_a_business_key_is_known_where_the_inputs_are_written_out() -> None:
    text = HEAD.replace("env: {CACHE: $CACHE}}, next", "env: {CACHE: $CACHE}, capture: {keys: [user]}}, next")

    found = service_file.parse(text + "{python: 'l.py:f', by: [user], features: {wind: 0}}\n")
    assert ("user",) == found.lookups[0].by


def test_a_guardrail_without_anything_looked_up_is_a_gap() -> None:
    text = "service: a\nmodel: m.onnx\nenvironments: {p: {strategy: {canary: {guardrails: [errors, features]}}}}\n"

    assert "No features are looked up: the guardrail features of p judges nothing." in service_file.parse(text).gaps
