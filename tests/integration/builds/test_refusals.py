"""What a build refuses, and that nothing is stored then."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import pathlib
import pickle
import threading

import build_kit as kit
import pytest

from softlaunch import errors
from softlaunch.controller.pipeline import build, obtain
from softlaunch.core import spec

PREDICTOR = (
    "class P:\n    outputs = {'late': 'FP64'}\n    def predict(self, rows):\n        return [0.5 for _ in rows]\n"
)
PYTHON = spec.ModelSpec(source=spec.ModelSource.PYTHON, python_target="p.py:P", inputs={"hour": "INT64"})
PATH = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib")


def run(repository, home, files, service, told=None, **changes):
    repository.commit(files)
    shop = kit.shop_of(home, repository.folder, **changes)
    told = [] if told is None else told
    result = build.build(
        service,
        shop.source.resolve("HEAD"),
        shop,
        progress=lambda name, state, detail: told.append((name, state, detail)),
    )
    return result, told


def refused(repository, home, files, service, **changes) -> errors.SoftlaunchError:
    told = []
    with pytest.raises(errors.SoftlaunchError) as found:
        run(repository, home, files, service, told, **changes)
    assert told[-1][1:] == ("failed", found.value.message)
    assert not (home / "registry").exists()
    return found.value


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, errors.Code.MODEL_MISSING, "no model file"),
        (b"", errors.Code.MODEL_UNREADABLE, "empty"),
        (LFS, errors.Code.MODEL_UNREADABLE, "Git LFS"),
        (b"garbage", errors.Code.MODEL_UNREADABLE, "cannot be unpickled"),
        (pickle.dumps({"weights": 1}), errors.Code.MODEL_UNREADABLE, "holds a dict"),
        (b"cnowhere_at_all\nModel\n.", errors.Code.MODEL_UNREADABLE, "nowhere_at_all"),
    ],
)
def test_a_model_that_cannot_be_read_is_refused(repository, home, content, code, words) -> None:
    files = {"a.txt": ""} if content is None else {"model.joblib": content}

    error = refused(repository, home, files, kit.service(PATH))

    assert error.code is code
    assert words in error.message


def test_a_model_that_is_a_link_out_of_the_folder_is_refused(repository, home) -> None:
    repository.write({"a.txt": ""})
    (repository.folder / "model.joblib").symlink_to("/etc/passwd")

    assert refused(repository, home, {}, kit.service(PATH)).code is errors.Code.CHECKOUT_UNUSABLE


def test_an_onnx_file_that_is_none_is_refused(repository, home) -> None:
    model = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.onnx")

    error = refused(repository, home, {"model.onnx": b"garbage"}, kit.service(model))

    assert error.code is errors.Code.MODEL_UNREADABLE


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("class Q:\n    pass\n", "no attribute 'P'"),
        ("import nowhere_at_all\n", "nowhere_at_all"),
        ("class P:\n    pass\n", "neither predict"),
        ("class P:\n    def __init__(self):\n        raise RuntimeError('no licence')\n", "no licence"),
        ("class P:\n    def predict(self, rows):\n        return [0.5]\n", "Nothing says what"),
    ],
)
def test_a_class_that_cannot_be_served_is_refused(repository, home, code, words) -> None:
    assert words in refused(repository, home, {"p.py": code}, kit.service(PYTHON)).message


def test_lock_files_of_other_tools_are_refused(repository, home) -> None:
    error = refused(repository, home, {"p.py": PREDICTOR, "uv.lock": ""}, kit.service(PYTHON))

    assert error.code is errors.Code.LOCK_UNSUPPORTED


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("python -c 'print(41 + 1); raise SystemExit(3)'", errors.Code.TESTS_FAILED, "ended with 3"),
        ("python -c 'import time; print(42, flush=True); time.sleep(60)'", errors.Code.TESTS_TIMEOUT, "within 2 s"),
    ],
)
def test_failing_and_hanging_tests_show_their_last_lines(repository, home, command, code, words) -> None:
    service = kit.service(PYTHON, tests=spec.TestsSpec(command=command, timeout_seconds=2.0))

    error = refused(repository, home, {"p.py": PREDICTOR}, service)

    assert error.code is code
    assert words in error.message
    assert "42" in error.message


@pytest.mark.parametrize("command", ["nonexistent-program -q", "python -c 'unclosed", "''"])
def test_a_command_that_cannot_start_is_refused(repository, home, command) -> None:
    service = kit.service(PYTHON, tests=spec.TestsSpec(command=command))

    assert refused(repository, home, {"p.py": PREDICTOR}, service).code is errors.Code.TESTS_FAILED


TESTED = {
    "p.py": PREDICTOR + "\ndef unused():\n    a = 1\n    b = 2\n    c = 3\n    d = 4\n    return a + b + c + d\n",
    "tests/test_p.py": "import p\n\ndef test_p():\n    assert p.P().predict([1]) == [0.5]\n",
    "conftest.py": "",
}


@pytest.mark.parametrize("command", ["pytest -q", "python -m pytest -q", "sh -c 'python -m pytest -q'"])
def test_coverage_below_the_floor_is_refused_whatever_runs_the_tests(repository, home, command) -> None:
    service = kit.service(PYTHON, tests=spec.TestsSpec(command=command, coverage_percent_min=60))

    error = refused(repository, home, TESTED, service)

    assert error.code is errors.Code.COVERAGE_LOW
    assert "50.0 %" in error.message  # five statements run, the five inside of unused() do not


def test_coverage_above_the_floor_is_told(repository, home) -> None:
    service = kit.service(PYTHON, tests=spec.TestsSpec(command="pytest -q --cov=p", coverage_percent_min=30))

    result, _ = run(repository, home, TESTED, service)

    assert result.lineage.tests.startswith("1 tests passed, coverage ")


def test_a_table_with_other_columns_is_refused(repository, home) -> None:
    files = {"p.py": PREDICTOR, "train.parquet": kit.frame()[["carrier", "temp"]]}

    error = refused(repository, home, files, kit.service(PYTHON, reference="train.parquet"))

    assert error.code is errors.Code.TABLE_COLUMNS
    assert "'hour'" in error.message
    assert "'carrier', 'temp'" in error.message


@pytest.mark.parametrize("content", [b"garbage", LFS, None])
def test_a_table_that_is_none_is_refused(repository, home, content) -> None:
    files = {"p.py": PREDICTOR} | ({} if content is None else {"train.parquet": content})

    error = refused(repository, home, files, kit.service(PYTHON, reference="train.parquet"))

    assert error.code is errors.Code.TABLE_UNREADABLE


def test_an_unmet_gate_names_metric_value_and_threshold(repository, home) -> None:
    files = {"p.py": PREDICTOR, "data/holdout.parquet": kit.frame()}

    error = refused(repository, home, files, kit.service(PYTHON, tests=kit.quality(("roc_auc", ">=", 0.68))))

    assert error.code is errors.Code.QUALITY_UNMET
    assert "roc_auc is 0.5, required is >= 0.68" in error.message


def test_a_model_too_slow_is_refused(repository, home) -> None:
    slow = PREDICTOR.replace("        return", "        import time; time.sleep(0.003)\n        return")
    tests = dataclasses.replace(kit.quality(("brier", "<=", 1.0)), latency_ms_p99_max=1.0)
    files = {"p.py": slow, "data/holdout.parquet": kit.frame()}

    assert refused(repository, home, files, kit.service(PYTHON, tests=tests)).code is errors.Code.LATENCY_UNMET


TRAIN = (
    "import pathlib, sys\npathlib.Path('runs').open('a').write('x')\npathlib.Path('m.bin').write_bytes(b'weights')\n"
)
TRAINED = dataclasses.replace(PYTHON, path="m.bin", train_command="python train.py")


def test_training_runs_once_for_the_same_inputs(repository, home) -> None:
    files = {"p.py": PREDICTOR, "train.py": TRAIN}
    first, told = run(repository, home, files, kit.service(TRAINED))
    again, told_again = run(repository, home, {}, kit.service(TRAINED, tests=spec.TestsSpec(command="test -f m.bin")))

    assert any("trained in" in detail for _, _, detail in told)
    assert any("trained before" in detail for _, _, detail in told_again)
    assert first.digest == again.digest


@pytest.mark.parametrize("code", ["raise SystemExit(2)", "pass"])
def test_training_that_fails_or_writes_nothing_is_refused(repository, home, code) -> None:
    error = refused(repository, home, {"p.py": PREDICTOR, "train.py": code}, kit.service(TRAINED))

    assert error.code is errors.Code.TRAIN_FAILED


@pytest.fixture
def served(tmp_path):
    """A directory behind HTTP on a free port of the loopback interface."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_built_only_when_pinned_and_unchanged(repository, home, served) -> None:
    folder, address = served
    (folder / "m.joblib").write_bytes(b"")
    kit.joblib.dump(kit.forest(), folder / "m.joblib")
    url = f"{address}/m.joblib"
    model = spec.ModelSpec(source=spec.ModelSource.URL, url=url, path="model.joblib", features=("hour", "delay"))
    service = kit.service(model)
    shop = kit.shop_of(home, repository.folder)

    assert refused(repository, home, {"a.txt": ""}, service).code is errors.Code.MODEL_UNPINNED
    pinned = obtain.pin(service, repository.folder, shop.downloads)
    assert pinned == {"url": url, "sha256": hashlib.sha256((folder / "m.joblib").read_bytes()).hexdigest()}
    (folder / "m.joblib").rename(folder / "kept")
    assert refused(repository, home, {}, service).code is errors.Code.DOWNLOAD_FAILED
    (folder / "m.joblib").write_bytes(b"evil")
    assert refused(repository, home, {}, service).code is errors.Code.MODEL_CHANGED
    (folder / "kept").rename(folder / "m.joblib")
    result, _ = run(repository, home, {}, service)
    assert result.digest
    assert not list((home / "cache" / "downloads").glob(".*"))


def test_a_full_disk_is_said_and_leaves_the_registry_as_it_was(repository, home) -> None:
    full = pathlib.Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    from softlaunch.adapters.oci import blobs

    with pytest.raises(errors.UnavailableError) as found, blobs.disk_errors(home), full.open("wb") as file:
        file.write(b"x" * 100_000)

    assert found.value.code is errors.Code.DISK_FULL
    assert "disk is full" in found.value.message
