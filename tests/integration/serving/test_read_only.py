"""A model that writes into its own release: the process has no right to, root or not."""

from __future__ import annotations

from softlaunch.adapters.oci import layers, registry
from softlaunch.core import release

WRITES = """
import os, pathlib, subprocess, sys, tempfile

RELEASE = pathlib.Path(__file__).parents[1]

def tried(deed):
    try:
        deed()
    except OSError as error:
        return type(error).__name__
    return "written"

class Model:
    def predict(self, rows):
        program = f"open({str(RELEASE / 'release.json')!r}, 'a')"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        said = [
            tried(lambda: pathlib.Path(__file__).open("a")),
            tried(lambda: (RELEASE / "more").write_text("x")),
            tried(lambda: (RELEASE / "smoke.json").unlink()),
            tried(lambda: pathlib.Path("cache.txt").write_text("x")),
            "PermissionError" if "PermissionError" in done.stderr else "written",
            tried(lambda: tempfile.NamedTemporaryFile().close()),
        ]
        return [{"said": " ".join(said)} for _ in rows]
"""


def test_a_model_and_what_it_starts_cannot_write_into_the_release_but_elsewhere(serve, releases, place) -> None:
    source = releases.python(WRITES, outputs=(release.Column(name="said", datatype=release.Datatype.BYTES),))
    stored = registry.OciRegistry(place / "registry")
    directory = place / "unpacked"
    stored.pull(stored.push(source), directory)

    with serve(directory).wait_ready().client() as client:
        (answer,) = client.post("/predict", json={"rows": [{"x": 1.0, "y": 2.0}]}).json()["predictions"]

    assert ["PermissionError"] * 5 + ["written"] == answer["said"].split()
    assert not list(directory.rglob("__pycache__"))
    layers.unseal(directory)  # the fixture removes it
