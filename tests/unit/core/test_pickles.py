"""The scan compares with the real unpickler: what it looks up has to be among what was found."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from unittest import mock

import joblib
import numpy as np
import pytest
from joblib import numpy_pickle
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from softlaunch import errors
from softlaunch.core import pickles

ROWS = np.arange(40.0).reshape(20, 2)
LABELS = np.arange(20) % 2
TEXTS = np.array([["UA", 1], ["AA", 2], ["EV", 3], ["UA", 4]] * 5, dtype=object)
MODELS = {
    "pipeline": lambda: make_pipeline(
        ColumnTransformer([("text", OneHotEncoder(), [0])], remainder="passthrough"), LogisticRegression()
    ).fit(TEXTS, LABELS),
    "forest": lambda: RandomForestClassifier(3, random_state=0).fit(ROWS, LABELS),
    "boosting": lambda: HistGradientBoostingClassifier(max_iter=3).fit(ROWS, LABELS),
}


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def dumped(model, **options) -> bytes:
    stream = io.BytesIO()
    joblib.dump(model, stream, **options)
    return stream.getvalue()


def looked_up(raw: bytes) -> set[str]:
    seen = set()
    real = pickle._Unpickler.find_class

    def find_class(self, module, name):
        seen.add(f"{module}.{name}")
        return real(self, module, name)

    with mock.patch.object(numpy_pickle.NumpyUnpickler, "find_class", find_class):
        joblib.load(io.BytesIO(raw))
    return seen


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_everything_that_joblib_looks_up_was_found_and_nothing_else(name, compress) -> None:
    raw = dumped(MODELS[name](), compress=compress)

    found = pickles.scan(raw, name="model.joblib")

    assert looked_up(raw) == found.globals
    assert () == found.unscanned
    assert () == pickles.dangerous(found.globals)


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_followed_to_its_end(protocol) -> None:
    found = pickles.scan(pickle.dumps([MODELS["forest"](), Evil()], protocol), name="m.pkl")

    assert () == found.unscanned
    assert ("posix.system",) == pickles.dangerous(found.globals)


def test_a_call_behind_raw_arrays_and_inside_arrays_of_objects_is_found() -> None:
    inside = np.array([1, Evil()], dtype=object)
    for model in ([np.arange(100_000.0), Evil()], {"a": inside, "b": np.arange(7)}, [np.asfortranarray(ROWS), inside]):
        found = pickles.scan(dumped(model), name="m")

        assert ("posix.system",) == pickles.dangerous(found.globals)
        assert () == found.unscanned


@pytest.mark.parametrize(
    "raw",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93.",
        b"\x80\x04\x8c\x06system\x94\x8c\x02os\x94h\x01h\x00\x93.",
        b"\x80\x04\x8c\rjoblib.memory\x8c\tos.system\x93.",
        b"\x80\x04\x8c\x05numpy\x8c\x0f__builtins__.id\x93.",
        b"c__builtin__\neval\n.",
        b"cbuiltins\ngetattr\n.",
        b"cimportlib\nimport_module\n.",
        b"ccloudpickle.cloudpickle\n_make_function\n.",
        b"\x80\x04\x8c\x02os\x85\x8c\x06system\x93.",
    ],
)
def test_names_put_together_in_every_way_are_dangerous(raw) -> None:
    assert pickles.dangerous(pickles.scan(raw, name="m").globals)


def test_pickles_in_zip_files_are_found() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
        archive.writestr("archive/weights/0", b"\0" * 64)
        archive.writestr("archive/inner", pickle.dumps({"a": len}))

    found = pickles.scan(stream.getvalue(), name="model.pt")

    assert {"posix.system", "builtins.len"} == found.globals
    assert () == found.unscanned


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x04\x22\x4d\x18rest", "lz4"),
        (dumped(MODELS["forest"]())[:-40], "end"),
        (b"\x80\x09.", "protocol 9"),
        (b"x\x9c\xff\xff\xff\xff", "damaged"),
        (b"PK\x03\x04damaged", "zip"),
        (b"\x82\x01.", "extension code"),
        (b"not a pickle", "no pickle"),
    ],
)
def test_what_cannot_be_followed_is_said_not_to_be_scanned(raw, reason) -> None:
    (said,) = pickles.scan(raw, name="m").unscanned

    assert said.startswith("m")
    assert reason in said


def test_what_comes_before_a_damaged_part_is_found_all_the_same() -> None:
    found = pickles.scan(pickle.dumps(Evil())[:-1], name="m")

    assert ("posix.system",) == pickles.dangerous(found.globals)
    assert found.unscanned


def test_allowed_names_pass_and_others_are_named_in_the_refusal() -> None:
    found = pickles.Scan(globals=frozenset({"os.system", "builtins.getattr", "shutil.rmtree", "numpy.dtype"}))

    with pytest.raises(errors.ConfigError) as refused:
        pickles.refuse_dangerous(found, allowed=("os.*", "builtins.getattr"), what="the model")

    assert errors.Code.PICKLE_DANGEROUS is refused.value.code
    assert "shutil.rmtree" in refused.value.message
    assert "os.system" not in refused.value.message
    assert "allow_globals" in refused.value.remedy
    pickles.refuse_dangerous(found, allowed=("os.*", "builtins.getattr", "shutil.rmtree"), what="the model")
