from __future__ import annotations

import builtins

import pytest

from softlaunch import errors
from softlaunch.adapters.streams import broker
from softlaunch.config import home as homes
from softlaunch.config import settings, stream_options
from softlaunch.wiring import control, stream_broker


@pytest.mark.parametrize(
    ("text", "servers", "prefix"),
    [
        ("kafka://localhost:9092/softlaunch", "localhost:9092", "softlaunch"),
        ("kafka://a.example:9092,10.0.0.2:9093/team-1_x", "a.example:9092,10.0.0.2:9093", "team-1_x"),
    ],
)
def test_a_stream_is_brokers_and_a_prefix(text, servers, prefix) -> None:
    assert settings.Stream(servers=servers, prefix=prefix) == settings.read({"SOFTLAUNCH_STREAM": text}).stream


@pytest.mark.parametrize(
    "text",
    [
        "kafka://localhost:9092", "kafka://localhost/x", "kafka://localhost:99999/x", "kafka://a:1/x.y", "kafka://a:1,/x",
        "http://a:1/x", "kafka://u:p@a:1/x", "kafka://a:1/", "kafka://a:1/x?y=z", "kafka://a:1/" + "x" * 65,
    ],
)  # fmt: skip
def test_what_is_no_stream_is_refused_with_its_form(text) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        settings.read({"SOFTLAUNCH_STREAM": text})
    assert "kafka://HOST:PORT/PREFIX" in raised.value.message


def test_the_file_of_options_must_be_there(tmp_path) -> None:
    for text in ("options", str(tmp_path / "none")):
        with pytest.raises(errors.ConfigError):
            settings.read({"SOFTLAUNCH_STREAM_OPTIONS": text})
    with pytest.raises(errors.ConfigError):
        settings.read({"SOFTLAUNCH_STREAM_CONSUME": "maybe"})
    assert not settings.read({"SOFTLAUNCH_STREAM_CONSUME": "no"}).stream_consume


def test_options_are_names_and_values(tmp_path) -> None:
    path = tmp_path / "options"
    path.write_text("# who\n\nsecurity.protocol = SASL_SSL\nsasl.password=a=b\n")
    path.chmod(0o600)

    assert {"security.protocol": "SASL_SSL", "sasl.password": "a=b"} == stream_options.read(path)


@pytest.mark.parametrize(
    ("text", "mode", "word"),
    [
        ("no pair\n", 0o600, ":1"),
        ("=x\n", 0o600, ":1"),
        ("sasl.password=x\n", 0o644, "0644"),
        ("\udcff", 0o600, "read"),
    ],
)
def test_options_that_cannot_be_used_are_refused_and_no_secret_is_shown(tmp_path, text, mode, word) -> None:
    path = tmp_path / "options"
    path.write_text(text, errors="surrogateescape")
    path.chmod(mode)

    with pytest.raises(errors.ConfigError) as raised:
        stream_options.read(path)
    assert errors.Code.STREAM_OPTIONS == raised.value.code
    assert word in raised.value.message
    assert "no pair" not in str(raised.value)


@pytest.mark.parametrize("options", [{"acks": "0"}, {"enable.idempotence": "false"}, {"no.such.property": "1"}])
def test_options_that_lose_records_or_are_none_are_refused(options) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        broker.Broker("localhost:1", "x", options)
    assert errors.Code.STREAM_OPTIONS == raised.value.code
    assert next(iter(options)) in raised.value.message


def test_without_the_library_it_says_what_to_install(monkeypatch) -> None:
    real = builtins.__import__

    def without(name, *arguments, **more):
        if name.startswith("confluent_kafka"):
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(errors.ConfigError) as raised:
        broker.library()
    assert (errors.Code.NO_KAFKA, "Install softlaunch[kafka].") == (raised.value.code, raised.value.remedy)


def test_a_stream_that_cannot_be_opened_stops_the_start_at_once(tmp_path) -> None:
    path = tmp_path / "options"
    path.write_text("no.such.property=1\n")
    home = homes.Home(tmp_path / "home", run_root=tmp_path)
    found = settings.read(
        {"SOFTLAUNCH_STREAM": "kafka://localhost:1/softlaunch", "SOFTLAUNCH_STREAM_OPTIONS": str(path)}
    )

    with pytest.raises(errors.ConfigError) as raised, control.control_plane(home, found):
        pass
    assert errors.Code.STREAM_OPTIONS == raised.value.code
    assert not home.root.exists()


def test_without_a_stream_nothing_is_opened() -> None:
    with pytest.raises(errors.ConfigError) as raised:
        stream_broker.broker_of(settings.read({}))
    assert "SOFTLAUNCH_STREAM" in raised.value.remedy
