"""Where a model comes from: registries and folders."""

from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.config import service_file
from softlaunch.core import spec


def parsed(model: str) -> spec.ModelSpec:
    return service_file.parse(f"service: tips\nmodel: {model}\nenvironments: [production]\n", name="x").model


@pytest.mark.parametrize("uri", ["models:/tips@champion", "models:/tips/3"])
def test_a_model_of_a_registry_is_a_text_or_a_key(uri) -> None:
    assert parsed(uri) == parsed(f"{{mlflow: '{uri}'}}")
    assert (spec.ModelSource.MLFLOW, uri) == (parsed(uri).source, parsed(uri).mlflow_uri)


@pytest.mark.parametrize("uri", ["models:/tips", "models:/tips/latest", "runs:/3/model", "models:/a/b/3"])
def test_what_names_no_version_and_no_alias_is_refused(uri) -> None:
    with pytest.raises(errors.ConfigError, match="NAME@ALIAS"):
        parsed(f"{{mlflow: '{uri}'}}")


@pytest.mark.parametrize("other", ["path: model.onnx", "url: https://example.com/m.onnx", "train: make"])
def test_a_registry_excludes_every_other_source(other) -> None:
    with pytest.raises(errors.ConfigError, match="exclude each other"):
        parsed(f"{{mlflow: models:/tips@champion, {other}}}")


@pytest.mark.parametrize("path", ["model", "models/v3/", "a.b/model"])
def test_a_name_without_ending_is_a_folder(path) -> None:
    assert path.rstrip("/") == parsed(path).path


def test_a_file_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(errors.ConfigError, match="wrong ending"):
        parsed("model.h5")
