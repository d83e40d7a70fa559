"""Environments of lock files, made by uv."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess
import sys

import build_kit as kit
import pytest

from softlaunch import errors
from softlaunch.adapters.python_env import uv
from softlaunch.controller.pipeline import build
from softlaunch.core import release, release_json, spec

LOCK = b"iniconfig==2.0.0\nmsgspec==0.19.0\n"
CONTENT = release.ReleaseContent(
    service="flight-delay",
    runtime=release.Runtime.PYTHON,
    model_file=None,
    python_target="p.py:P",
    signature=release.Signature(inputs=(), outputs=()),
    lock_file="requirements.lock",
    profile_file=None,
    smoke_file=None,
)


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    return uv.UvEnvironments(tmp_path_factory.mktemp("venvs"))


def said(python: pathlib.Path, code: str, **environment: str) -> str:
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True, env=environment
    ).stdout.strip()


def test_the_locks_versions_win_over_what_serving_would_take(environments) -> None:
    found = environments.serving(LOCK)

    code = "import granian, iniconfig, msgspec, numpy; print(msgspec.__version__)"
    assert said(found.python, code) == "0.19.0"
    assert found.own


def test_only_softlaunch_comes_in_through_the_import_path(environments) -> None:
    path = environments.import_path()

    assert [each.name for each in path.iterdir()] == ["softlaunch"]
    code = "import softlaunch.core.release, importlib.util; print(importlib.util.find_spec('fastapi'))"
    assert said(environments.serving(LOCK).python, code, PYTHONPATH=str(path)) == "None"


def test_an_environment_without_its_marker_was_killed_and_is_made_again(environments) -> None:
    directory = environments.serving(LOCK).python.parents[1]
    (directory / "softlaunch-complete.json").unlink()
    (directory / "bin" / "granian").unlink()

    assert (environments.serving(LOCK).python.parent / "granian").exists()


def test_a_complete_environment_is_taken_as_it_is(environments) -> None:
    python = environments.serving(LOCK).python
    before = python.parents[1].stat().st_mtime_ns

    assert environments.serving(LOCK).python == python
    assert python.parents[1].stat().st_mtime_ns == before


def test_the_interpreter_of_a_release_follows_its_runtime_and_lock(environments, tmp_path) -> None:
    own = pathlib.Path(sys.executable)
    (tmp_path / "requirements.lock").write_bytes(LOCK)
    expected = [
        (CONTENT, environments.serving(LOCK).python),
        (dataclasses.replace(CONTENT, runtime=release.Runtime.ONNX, model_file="model/model.onnx"), own),
        (dataclasses.replace(CONTENT, lock_file=None), own),
    ]
    for content, python in expected:
        (tmp_path / "release.json").write_bytes(release_json.dump_content(content))
        assert environments.serving_python(tmp_path) == python


def test_a_lock_that_cannot_be_installed_is_refused_without_an_address(environments) -> None:
    with pytest.raises(errors.UnavailableError) as refused:
        environments.serving(b"iniconfig==999.0\n")

    assert refused.value.code is errors.Code.ENVIRONMENT_FAILED
    assert "iniconfig==999.0" in refused.value.message
    assert "://" not in str(refused.value)


def test_addresses_are_left_out_of_what_uv_says() -> None:
    assert uv.without_addresses("error: https://user:secret@host/simple/x\n is down") == (
        "error: (address left out) is down"
    )


@pytest.mark.slow
def test_a_locked_service_is_tested_compiled_and_served_with_its_own_scikit_learn(repository, home) -> None:
    lock = "joblib==1.4.2\nnumpy==2.1.3\npandas==2.2.3\nscikit-learn==1.5.2\n"
    train = (
        "import joblib, pandas, sklearn\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "rows = pandas.DataFrame({'x': range(100)})\n"
        "assert sklearn.__version__ == '1.5.2'\n"
        "joblib.dump(LogisticRegression().fit(rows, rows.x > 50), 'model.joblib')\n"
    )
    model = spec.ModelSpec(source=spec.ModelSource.TRAIN, path="model.joblib", train_command="python train.py")
    rows = kit.pd.DataFrame({"x": range(100)})
    repository.commit({"requirements.lock": lock, "train.py": train, "train.parquet": rows})
    shop = kit.shop_of(home, repository.folder)
    tests = spec.TestsSpec(command="python -c 'import sklearn; assert sklearn.__version__ == \"1.5.2\"'")

    result = build.build(kit.service(model, reference="train.parquet", tests=tests), shop.source.resolve("HEAD"), shop)
    content = shop.registry.pull(result.digest, home / "releases" / result.digest.short)

    assert content.lock_file == "requirements.lock"
    assert (home / "releases" / result.digest.short / "requirements.lock").read_text() == lock
    assert content.runtime is release.Runtime.ONNX, content.compile_note
