from __future__ import annotations

import os

import pytest

from softlaunch import errors
from softlaunch.controller.pipeline import files
from softlaunch.core import spec, training_record

SERVICE = spec.ServiceSpec(
    service="flight-delay",
    model=spec.ModelSpec(source=spec.ModelSource.PATH, path="./models/model.joblib"),
    reference="data/train.parquet",
    tests=spec.TestsSpec(quality=spec.QualitySpec(data="data/holdout.parquet", label="late", gates=())),
    environments=(),
)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("features.py", True),
        ("tests/test_features.py", True),
        ("data/airports.csv", True),
        ("deep/softlaunch.yaml", True),
        ("softlaunch.yaml", False),
        ("softlaunch.lock", False),
        ("requirements.lock", False),
        ("requirements.txt", False),
        ("models/model.joblib", False),
        ("data/train.parquet", False),
        ("data/holdout.parquet", False),
        (".gitignore", False),
        (".github/workflows/ci.yaml", False),
        ("deep/.gitattributes", False),
    ],
)
def test_code_is_everything_but_what_has_a_place_of_its_own(name, code) -> None:
    assert files.is_code(name, files.not_code(SERVICE)) is code


def tree(directory, umask=0o022):
    before = os.umask(umask)
    try:
        (directory / "a").mkdir(parents=True)
        (directory / "a" / "b.txt").write_text("b")
        (directory / "a.txt").write_text("a")
        (directory / "link").symlink_to("a")
        script = directory / "run.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o700)
    finally:
        os.umask(before)
    return directory


def test_the_digest_of_files_is_of_names_modes_and_bytes_only(tmp_path) -> None:
    first, other = tree(tmp_path / "one"), tree(tmp_path / "two", umask=0o077)

    assert files.digest(first) == files.digest(other)
    (other / "run.sh").chmod(0o600)
    assert files.digest(first) != files.digest(other)
    assert files.digest(first, without={"run.sh"}) == files.digest(other, without={"run.sh"})


def test_a_copy_is_the_same_files(tmp_path) -> None:
    first = tree(tmp_path / "one")

    files.copy(first, tmp_path / "two", files.walk(first))

    assert list(files.walk(tmp_path / "two")) == ["a.txt", "a/b.txt", "link", "run.sh"]
    assert files.digest(tmp_path / "two") == files.digest(first)


def test_requirements_lock_comes_before_requirements_txt(tmp_path) -> None:
    assert files.lock_name(tmp_path) is None
    (tmp_path / "requirements.txt").write_text("")
    assert files.lock_name(tmp_path) == "requirements.txt"
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "uv.lock").write_text("")
    assert files.lock_name(tmp_path) == "requirements.lock"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "link"])
def test_a_path_that_leads_out_is_refused(tmp_path, name) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to("../outside")

    with pytest.raises(errors.ConfigError):
        files.inside(tmp_path / "in", name)


def test_what_lies_in_the_model_s_folder_is_no_code() -> None:
    named = frozenset({"model"})

    assert not files.is_code("model/tokenizer.json", named)
    assert not files.is_code("model/deep/a", named)
    assert files.is_code("model.py", named)
    assert files.is_code("code/model", named)


def test_a_model_s_folder_is_copied_without_what_interpreters_leave(tmp_path) -> None:
    (tmp_path / "from" / "__pycache__").mkdir(parents=True)
    (tmp_path / "from" / "__pycache__" / "x.pyc").write_bytes(b"x")
    (tmp_path / "from" / "MLmodel").write_bytes(b"m")

    files.copy_model(tmp_path / "from", tmp_path / "to" / "model")

    assert ["MLmodel"] == list(files.walk(tmp_path / "to" / "model"))


def test_a_model_folder_is_known_to_a_training_record_by_its_pin_whatever_its_modes(tmp_path) -> None:
    folder = tmp_path / "out" / "model"
    for name, text in (("MLmodel", "flavors: {}"), ("data/model.pkl", "bytes"), ("data/é", "text")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    produced = tuple(
        training_record.ProducedFile(path=f"out/model/{name}", sha256=files.sha256(folder / name), bytes=0)
        for name in files.walk(folder)
    )
    record = training_record.TrainingRecord(run="r", command=(), directory="", started_at=0.0, files=produced)
    pinned = files.digest(folder)

    assert pinned == files.model_digest(folder)
    assert "out/model/" == record.produced(pinned)
    assert "out/model/data/" == record.produced(files.model_digest(folder / "data"))
    (folder / "MLmodel").chmod(0o755)
    assert (True, pinned) == (files.digest(folder) != pinned, files.model_digest(folder))
    (folder / "MLmodel").write_text("flavors: {other}")
    assert record.produced(files.model_digest(folder)) is None
