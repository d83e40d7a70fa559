"""A change of code alone does not compile the model again; a change of anything that decides it does."""

from __future__ import annotations

import sys

import build_kit as kit
import joblib
import pytest

from softlaunch.controller.pipeline import build
from softlaunch.core import release

pytestmark = pytest.mark.slow

OWN = """\
from sklearn.linear_model import LogisticRegression


class Model(LogisticRegression):
    SHIFT = 0
"""


class Bench:
    def __init__(self, repository, home) -> None:
        self.repository, self.home = repository, home
        self.service = kit.service(reference="data/train.parquet")

    def build(self, files) -> tuple[str, release.ReleaseContent, bytes]:
        """State of the step `compile`, the release, and its model."""
        self.repository.commit(files)
        shop = kit.shop_of(self.home, self.repository.folder)
        states = {}
        result = build.build(
            self.service,
            shop.source.resolve("HEAD"),
            shop,
            progress=lambda name, state, _: states.update({name: state}),
        )
        directory = self.home / "releases" / result.digest.short
        content = shop.registry.pull(result.digest, directory)
        return states["compile"], content, (directory / content.model_file).read_bytes()


@pytest.fixture
def bench(repository, home) -> Bench:
    return Bench(repository, home)


def test_a_change_of_code_alone_takes_the_model_that_was_compiled_before(bench) -> None:
    rows = kit.frame()[["hour", "temp", "carrier", "late"]].head(300)
    first, content, model = bench.build({"model.joblib": kit.logistic(), "data/train.parquet": rows, "a.py": "A = 1\n"})
    again, changed, same = bench.build({"a.py": "A = 2\n"})

    assert ("done", "cached", model) == (first, again, same)
    assert content == changed
    assert release.Runtime.ONNX is changed.runtime
    assert "done" == bench.build({"b.py": "B = 1\n"})[0]  # may hide a package: names count
    assert "done" == bench.build({"data/train.parquet": rows.iloc[::2]})[0]
    for kept in (bench.home / "cache" / "compiled").rglob("model.onnx"):
        kept.write_bytes(b"not what was kept")
    assert "done" == bench.build({"a.py": "A = 3\n"})[0]


def test_a_model_whose_class_is_in_the_checkout_is_compiled_every_time(bench, tmp_path, monkeypatch) -> None:
    (tmp_path / "own_model.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_model

    rows = kit.frame()[["hour", "delay", "late"]].head(300)
    joblib.dump(own_model.Model().fit(rows[["hour", "delay"]], rows["late"]), tmp_path / "model.joblib")
    monkeypatch.delitem(sys.modules, "own_model")
    raw = (tmp_path / "model.joblib").read_bytes()
    first, _, _ = bench.build({"model.joblib": raw, "data/train.parquet": rows, "own_model.py": OWN})
    again, _, _ = bench.build({"own_model.py": OWN.replace("0", "1")})

    assert ("done", "done") == (first, again)
    assert not (bench.home / "cache" / "compiled").exists()
