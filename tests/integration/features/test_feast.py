"""Lookups in a real Feast online store: through feast itself, and through its feature server."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from softlaunch.core import lookup_values, lookups, release
from softlaunch.serving.features import opening, source

pytestmark = pytest.mark.slow
HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[2]
COLUMNS = {
    "wind": release.Column(name="wind", datatype=release.Datatype.FP64),
    "squalls": release.Column(name="squalls", datatype=release.Datatype.INT64),
}
EXPECTED = [
    {"wind": [7.5, "fresh"], "squalls": [12, "fresh"]},
    {"wind": [0.0, "stale"], "squalls": [1, "stale"]},
    {"wind": [0.0, "missing"], "squalls": [1, "missing"]},
]


class Served:
    def __init__(self, printed: pathlib.Path, url: str) -> None:
        self.printed = printed
        self.url = url


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An environment of its own: feast weighs more than softlaunch."""
    place = tmp_path_factory.mktemp("feast") / "venv"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(place)], check=True)
    found = place / "bin" / "python"
    lock = str(HERE / "requirements.lock")
    done = subprocess.run(
        [*uv, "pip", "install", "-q", "--python", str(found), "--require-hashes", "-r", lock],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"feast cannot be installed here: {done.stderr[-300:]}")
    return found


@pytest.fixture(scope="module")
def served(python: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The program that makes a store, asks it with feast, prints what it read, and serves it."""
    folder = tmp_path_factory.mktemp("repository")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    printed = folder / "printed"
    with printed.open("wb") as out:
        process = subprocess.Popen(
            [str(python), str(HERE / "feast_program.py"), str(folder), str(port)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder), "FEAST_USAGE": "False"},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 100
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, printed.read_text()
            assert time.monotonic() < deadline, printed.read_text()
            time.sleep(0.1)
        yield Served(printed, f"http://127.0.0.1:{port}")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.mark.parametrize("target", ["weather", "service:weather_v1"])
def test_a_feature_server_gives_what_the_online_store_has_and_how_old_it_is(served: Served, target: str) -> None:
    spec = lookups.LookupSpec(
        name="weather",
        source=lookups.LookupSource.FEAST,
        target=target,
        by=("origin",),
        features={"wind": 0.0, "squalls": 1},
        fields={"squalls": "gusts"},
        age_seconds_max=86_400.0,
    )
    found = opening.open_one(
        source.Opening(spec=spec, server=served.url, code=HERE, connection_count=2, own_environment=True)
    )

    answers = found.fetch([{"origin": name} for name in ("JFK", "OLD", "none")], 20.0)
    found.close()

    read = [lookup_values.read(spec, COLUMNS, answer, now=time.time()) for answer in answers]
    assert EXPECTED == json.loads(json.dumps(read))


def test_feast_itself_gives_the_same(served: Served) -> None:
    lines = [line for line in served.printed.read_text().splitlines() if line.startswith("[{")]

    assert [EXPECTED, EXPECTED] == [json.loads(line) for line in lines]
