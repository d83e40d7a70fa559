from __future__ import annotations

import json

import pytest

from softlaunch import errors
from softlaunch.core import lockfile, pins, spec

MODEL = pins.Pin(uri="models:/tips@champion", version="3", sha256="c" * 64)
HOLDOUT = pins.Pin(uri="dvc:data/holdout.csv", version="md5:" + "d" * 32, sha256="e" * 64)
FOUND = {pins.Role.HOLDOUT: HOLDOUT, pins.Role.MODEL: MODEL}


def service(**changes) -> spec.ServiceSpec:
    model = spec.ModelSpec(source=spec.ModelSource.PATH, path="model.joblib")
    return spec.ServiceSpec(**{"service": "s", "model": model, "environments": (), **changes})


def test_pins_of_roles_are_read_back_and_sorted() -> None:
    raw = lockfile.dump_roles(FOUND)

    assert lockfile.load_roles(raw) == FOUND
    assert raw == lockfile.dump_roles({pins.Role.MODEL: MODEL, pins.Role.HOLDOUT: HOLDOUT})
    assert raw.index(b"holdout") < raw.index(b"model")


@pytest.mark.parametrize(
    "change",
    [
        {"pins": []},
        {"pins": {"weights": {"uri": "u", "version": "", "sha256": "a" * 64}}},
        {"pins": {"model": {"uri": "u", "version": "", "sha256": "a"}}},
        {"pins": {"model": {"uri": "u", "sha256": "a" * 64}}},
        {"pins": {"model": {"uri": 3, "version": "", "sha256": "a" * 64}}},
        {"sha256": {}},
        {"schema": 3},
    ],
)
def test_a_broken_file_of_roles_is_refused(change) -> None:
    raw = json.dumps({**json.loads(lockfile.dump_roles(FOUND)), **change}).encode()

    with pytest.raises(errors.ConfigError) as refused:
        lockfile.load_roles(raw)

    assert refused.value.code is errors.Code.PIN_FILE


def test_a_model_is_found_in_files_of_both_schemas() -> None:
    url = "https://models.example.com/a.onnx"
    old = lockfile.dump({url: "a" * 64}, {MODEL.uri: lockfile.ModelPin(version="3", sha256="c" * 64)})

    assert MODEL == lockfile.find(old, pins.Role.MODEL, MODEL.uri)
    assert pins.Pin(uri=url, version="", sha256="a" * 64) == lockfile.find(old, pins.Role.MODEL, url)
    assert MODEL == lockfile.find(lockfile.dump_roles(FOUND), pins.Role.MODEL, "anything")
    assert lockfile.find(old, pins.Role.REFERENCE, url) is None
    assert lockfile.find(None, pins.Role.MODEL, url) is None


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("models:/a@b", pins.Kind.MLFLOW),
        ("git:data/a.csv", pins.Kind.GIT),
        ("lfs:data/a.csv", pins.Kind.LFS),
        ("dvc:data/a.csv", pins.Kind.DVC),
        ("s3://bucket/a.csv", pins.Kind.URL),
        ("https://example.com/a.csv", pins.Kind.URL),
    ],
)
def test_a_uri_says_its_kind(uri, kind) -> None:
    assert pins.kind(uri) is kind


def test_what_training_makes_is_not_pinned() -> None:
    made = spec.ModelSpec(source=spec.ModelSource.TRAIN, path="model.joblib", train_command="make")

    assert {pins.Role.MODEL: "model.joblib", pins.Role.REFERENCE: "a.csv"} == pins.names(service(reference="a.csv"))
    assert {pins.Role.REFERENCE: "a.csv"} == pins.names(service(model=made, reference="a.csv"))


def test_a_files_name_is_the_last_part_of_its_url() -> None:
    assert pins.file_name("s3://bucket/a%20b/c.parquet?x=/y") == "c.parquet"
    assert not pins.is_url("data/a.csv")
    assert not pins.is_url("ftp://a/b.csv")
