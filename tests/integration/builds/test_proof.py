"""Compilation is believed only as far as it is proved: wrong graphs are caught, whoever made them wrong."""

from __future__ import annotations

import os

import build_kit as kit
import numpy as np
import onnx
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from softlaunch import errors
from softlaunch.adapters.python_env import workbench
from softlaunch.controller.pipeline import build
from softlaunch.core import release, spec

pytestmark = pytest.mark.slow

LOCK = """\
joblib==1.6.0
lightgbm==4.7.0
numpy==2.4.6
pandas==3.1.1
scikit-learn==1.7.2
xgboost-cpu==3.2.0
"""
HEAD = """
import joblib, lightgbm, pandas as pd, xgboost
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
rows = pd.read_csv("train.csv")
"""
TEXTS = 'ColumnTransformer([("text", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), ["carrier"])], \
remainder="passthrough")'


def built(repository, home, files, model, **changes):
    repository.commit(files)
    shop = kit.shop_of(home, repository.folder, **changes)
    reference = next(name for name in files if name in {"train.csv", "train.parquet"})
    result = build.build(kit.service(model, reference=reference), shop.source.resolve("HEAD"), shop)
    return result, shop.registry.pull(result.digest, home / "releases" / result.digest.short)


def trained(repository, home, code: str, path: str, features: tuple[str, ...]):
    """A build with a lock file of its own, whose `train.py` is that code."""
    model = spec.ModelSpec(source=spec.ModelSource.TRAIN, path=path, train_command="python train.py", features=features)
    files = {
        "requirements.lock": LOCK,
        "train.py": HEAD + code,
        "train.csv": kit.frame().assign(kind=np.arange(len(kit.frame())) % 3).to_csv(index=False),
    }
    return built(repository, home, files, model)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A home whose environment of LOCK is made once."""
    return tmp_path_factory.mktemp("shared")


class Tampering(workbench.LocalWorkbench):
    """Compiles as ever, then moves one split point of the first tree."""

    def tool(self, name, request, *, python):
        found = super().tool(name, request, python=python)
        if name == "compile_sklearn":
            graph = onnx.load(request["onnx"])
            trees = next(node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble"))
            values = next(each for each in trees.attribute if each.name == "nodes_values")
            values.floats[0] = np.nextafter(np.float32(values.floats[0]), np.float32(np.inf))
            onnx.save(graph, request["onnx"])
        return found


def test_a_graph_whose_one_split_point_moved_by_one_float32_step_is_caught(repository, home) -> None:
    rows = kit.frame()[["temp"]].astype("float32")
    trees = HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=4, random_state=0).fit(rows, rows["temp"] > 60)
    files = {"model.joblib": trees, "train.parquet": rows}
    model = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib")
    honest = kit.shop_of(home, repository.folder)
    tampering = Tampering(honest.environments.import_path())

    result, content = built(repository, home, files, model, workbench=tampering)

    assert content.runtime is release.Runtime.SKLEARN
    assert "its label is" in content.compile_note
    assert "the row is {temp: " in content.compile_note
    assert any("largest difference" in note for note in result.notes)
    assert (home / "releases" / result.digest.short / "model" / "model.joblib").exists()


def test_a_converter_that_is_wrong_about_one_against_all_is_caught(repository, shared) -> None:
    code = """
settings = {"objective": "multiclassova", "num_class": 3, "verbosity": -1, "num_threads": 1}
table = lightgbm.Dataset(rows[["hour", "temp"]], label=rows["kind"])
lightgbm.train(settings, table, 10).save_model("model.lgb")
"""
    _, content = trained(repository, shared, code, "model.lgb", ("hour", "temp"))

    assert content.runtime is release.Runtime.LIGHTGBM
    assert content.compile_note.startswith("Served by LightGBM itself: compiled, on reference row")
    assert ["label", "probability_0", "probability_1", "probability_2"] == [
        each.name for each in content.signature.outputs
    ]


def test_categories_kept_in_a_lightgbm_file_are_served_by_lightgbm(repository, shared) -> None:
    code = """
table = rows[["carrier", "temp"]].astype({"carrier": "category"})
settings = {"objective": "binary", "verbosity": -1, "num_threads": 1}
lightgbm.train(settings, lightgbm.Dataset(table, label=rows["late"]), 10).save_model("model.txt")
"""
    _, content = trained(repository, shared, code, "model.txt", ("carrier", "temp"))

    assert content.runtime is release.Runtime.LIGHTGBM
    assert "categories" in content.compile_note
    assert ["BYTES", "FP64"] == [each.datatype.value for each in content.signature.inputs]


@pytest.mark.parametrize(
    "estimator",
    ["xgboost.XGBClassifier(n_estimators=10, n_jobs=1)", "lightgbm.LGBMRegressor(n_estimators=10, verbosity=-1)"],
)
def test_boosted_trees_behind_encoded_texts_are_compiled_as_one_pipeline(repository, shared, estimator) -> None:
    code = f"""
model = make_pipeline({TEXTS}, {estimator})
joblib.dump(model.fit(rows[["carrier", "hour", "temp"]], rows["late"]), "model.joblib")
"""
    _, content = trained(repository, shared, code, "model.joblib", ("carrier", "hour", "temp"))

    assert content.runtime is release.Runtime.ONNX, content.compile_note


class Evil:
    def __reduce__(self):
        return os.mkdir, ("loaded",)


def test_a_pickle_that_would_run_a_command_is_refused_unloaded_unless_it_is_allowed(
    repository, home, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"model.joblib": Evil(), "train.parquet": kit.frame()}
    model = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib")

    with pytest.raises(errors.ConfigError) as refused:
        built(repository, home, files, model)

    assert errors.Code.PICKLE_DANGEROUS is refused.value.code
    assert "posix.mkdir" in refused.value.message
    assert not list(tmp_path.rglob("loaded"))

    allowed = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib", allow_globals=("posix.mkdir",))
    with pytest.raises(errors.ConfigError) as refused:
        built(repository, home, files, allowed)
    assert errors.Code.MODEL_UNREADABLE is refused.value.code, "it was loaded, and is no model"
