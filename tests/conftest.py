"""What all tests share."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import uuid

import hypothesis
import pytest
import structlog

# How long an example takes says something of the machine: the first text that is drawn on a fresh one builds tables of
# Unicode for seconds. Speed is measured in benchmarks/.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# Imported by name; with importlib mode pytest leaves this folder off the path.
_spec = importlib.util.spec_from_file_location("s3_kit", pathlib.Path(__file__).with_name("s3_kit.py"))
s3_kit = importlib.util.module_from_spec(_spec)
sys.modules["s3_kit"] = s3_kit
_spec.loader.exec_module(s3_kit)


@pytest.fixture(autouse=True)
def _own_log():
    """Commands that run in the test's process set up the log for a stream that ends with the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A running S3 server that takes everybody's word."""
    server = s3_kit.Server(tmp_path_factory.mktemp("s3"))
    server.start()
    server.bucket("logs")
    yield server
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch):
    """URL of a place in a bucket of this test's own; the variables of its server are set."""
    for name, value in s3.variables.items():
        monkeypatch.setenv(name, value)
    return f"s3://logs/{uuid.uuid4().hex}"


@pytest.fixture(params=["disk", pytest.param("s3", marks=s3_kit.MARKS)])
def log_root(request, tmp_path):
    """Of a prediction log: below this test's folder, or in a bucket."""
    from softlaunch.adapters.lake import place

    url = request.getfixturevalue("bucket") if request.param == "s3" else None
    return place.Root(folder=tmp_path / "log", url=url)
