"""Real scikit-learn models through the whole build, in softlaunch's own interpreter."""

from __future__ import annotations

import json

import build_kit as kit
import pytest

from softlaunch.controller.pipeline import build
from softlaunch.core import release, spec


def built(repository, home, files, service, **changes):
    repository.commit(files)
    shop = kit.shop_of(home, repository.folder, **changes)
    result = build.build(service, shop.source.resolve("HEAD"), shop)
    directory = home / "releases" / result.digest.short
    return result, shop.registry.pull(result.digest, directory), directory


@pytest.mark.slow
def test_a_pipeline_with_text_and_holes_is_served_as_onnx(repository, home) -> None:
    columns = kit.frame()[["temp", "carrier", "late", "hour"]]
    files = {
        "model.joblib": kit.logistic(),
        "data/train.parquet": columns,
        "data/holdout.parquet": columns.head(400),
        "features.py": "FEATURES = []\n",
        "softlaunch.yaml": "service: flight-delay\n",
    }
    service = kit.service(
        reference="data/train.parquet", tests=kit.quality(("roc_auc", ">=", 0.6), ("brier", "<=", 0.3))
    )

    result, content, directory = built(repository, home, files, service)

    assert content.runtime is release.Runtime.ONNX, content.compile_note
    assert [(each.name, each.datatype.value, each.nullable) for each in content.signature.inputs] == [
        ("carrier", "BYTES", False),
        ("hour", "INT64", False),
        ("temp", "FP64", True),
    ]
    assert [each.name for each in content.signature.outputs] == ["label", "probability"]
    assert {each.name for each in content.gates} == {"compiled_parity", "roc_auc", "brier"}
    assert all(each.passed for each in content.gates)
    assert sorted(each.relative_to(directory).as_posix() for each in directory.rglob("*") if each.is_file()) == [
        "code/features.py",
        "model/model.onnx",
        "profile.json",
        "release.json",
        "smoke.json",
    ]
    smoke = json.loads((directory / "smoke.json").read_bytes())
    assert len(smoke) == 50
    assert set(smoke[0]) == {"carrier", "hour", "temp"}
    assert not result.reused


@pytest.mark.slow
def test_categories_that_convert_wrongly_are_caught(repository, home) -> None:
    rows = kit.frame()[["hour", "temp", "late"]].assign(hour=(kit.frame()["hour"] * 7) % 18)
    files = {"model.joblib": kit.categorical_boosting(), "train.parquet": rows}
    service = kit.service(
        reference="train.parquet",
        model=spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib", features=("hour", "temp")),
    )

    _, content, _ = built(repository, home, files, service)

    assert content.runtime is release.Runtime.SKLEARN
    assert "reference row" in content.compile_note


@pytest.mark.slow
def test_boosting_with_holes_is_served_as_onnx(repository, home) -> None:
    files = {"model.joblib": kit.boosting(), "train.parquet": kit.frame()}

    _, content, _ = built(repository, home, files, kit.service(reference="train.parquet"))

    assert content.runtime is release.Runtime.ONNX, content.compile_note
    assert [each.name for each in content.signature.inputs] == ["hour", "temp"]


@pytest.mark.slow
def test_a_forest_without_names_takes_the_chosen_columns(repository, home) -> None:
    files = {"model.joblib": kit.forest(), "train.parquet": kit.frame()}
    model = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib", features=("hour", "delay"))

    _, content, _ = built(repository, home, files, kit.service(model, reference="train.parquet"))

    assert content.runtime is release.Runtime.ONNX, content.compile_note
    assert [each.name for each in content.signature.inputs] == ["hour", "delay"]


@pytest.mark.slow
def test_a_regressor_is_judged_by_its_error(repository, home) -> None:
    files = {
        "model.joblib": kit.regression(),
        "train.parquet": kit.frame(),
        "data/holdout.parquet": kit.frame().head(200),
    }
    service = kit.service(reference="train.parquet", tests=kit.quality(("mae", "<=", 2.0), label="delay"))

    _, content, _ = built(repository, home, files, service)

    assert content.runtime is release.Runtime.ONNX, content.compile_note
    assert [each.name for each in content.signature.outputs] == ["prediction"]


def test_without_a_reference_the_original_is_served_and_the_note_says_why(repository, home) -> None:
    _, content, directory = built(repository, home, {"model.joblib": kit.logistic()}, kit.service())

    assert content.runtime is release.Runtime.SKLEARN
    assert "no reference" in content.compile_note
    assert [(each.name, each.datatype.value) for each in content.signature.inputs] == [
        ("carrier", "BYTES"),
        ("hour", "FP64"),
        ("temp", "FP64"),
    ]
    assert (directory / "model" / "model.joblib").exists()


def test_a_python_class_says_what_it_answers_by_answering(repository, home) -> None:
    code = (
        "class Predictor:\n"
        "    def predict(self, rows):\n"
        "        return [{'late': min(1.0, row['hour'] / 24), 'why': 'hour'} for row in rows]\n"
    )
    files = {"delay.py": code, "train.parquet": kit.frame()[["hour", "late"]], "data/holdout.parquet": kit.frame()}
    model = spec.ModelSpec(source=spec.ModelSource.PYTHON, python_target="delay.py:Predictor", features=("hour",))
    service = kit.service(model, reference="train.parquet", tests=kit.quality(("roc_auc", ">=", 0.5)))

    _, content, directory = built(repository, home, files, service)

    assert content.runtime is release.Runtime.PYTHON
    assert [(each.name, each.datatype.value) for each in content.signature.outputs] == [
        ("late", "FP64"),
        ("why", "BYTES"),
    ]
    assert (directory / "code" / "delay.py").read_text() == code


def compile_by_hand(folder, make, number=0) -> bytes:
    import joblib

    joblib.dump(make(), folder / "model.joblib")
    shop = kit.shop_of(folder / "home", folder)
    kinds = {"carrier": "BYTES", "hour": "INT64", "temp": "FP64"}
    answer = shop.workbench.tool(
        "compile_sklearn",
        {
            "path": str(folder / "model.joblib"),
            "code": None,
            "inputs": [{"name": name, "datatype": kinds[name]} for name in make().feature_names_in_],
            "onnx": str(folder / f"{number}.onnx"),
            "float32": False,
        },
        python=shop.serving_python,
    )
    assert answer["problem"] is None
    return (folder / f"{number}.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("make", [kit.logistic, pytest.param(kit.boosting, marks=pytest.mark.slow)])
def test_the_same_model_compiles_to_the_same_bytes_and_is_served_when_committed(
    tmp_path, repository, home, make
) -> None:
    raw = compile_by_hand(tmp_path, make, 0)
    assert raw == compile_by_hand(tmp_path, make, 1)
    names = tuple(make().feature_names_in_)
    model = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.onnx", features=names)
    files = {"model.onnx": raw, "train.parquet": kit.frame(), "data/holdout.parquet": kit.frame()}
    service = kit.service(model, reference="train.parquet", tests=kit.quality(("accuracy", ">=", 0.5)))

    result, content, directory = built(repository, home, files, service)

    assert content.runtime is release.Runtime.ONNX
    assert tuple(each.name for each in content.signature.inputs) == names
    assert [each.name for each in content.signature.outputs] == ["label", "probability"]
    assert (directory / "model" / "model.onnx").read_bytes() == raw
    assert [each.name for each in result.gates] == ["accuracy"]
