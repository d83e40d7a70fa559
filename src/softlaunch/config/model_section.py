"""The key `model:` of softlaunch.yaml."""

from __future__ import annotations

import re
from collections.abc import Mapping

from softlaunch.config import app_section, fields, keys, problems, yaml_tree
from softlaunch.core import model_files, release, spec

MODEL_SUFFIXES = tuple(model_files.RUNTIME_BY_SUFFIX)
_PYTHON_TARGET = re.compile(r"(?!/)(?:[A-Za-z0-9_.-]+/)*[A-Za-z_]\w*\.py:[A-Za-z_]\w*", re.ASCII)
_GLOBAL = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*\.(?:[^\W\d]\w*|\*)")
_MLFLOW = re.compile(r"models:/[^/@\s]+(?:@[^/@\s]+|/[0-9]+)")
_SOURCES = ("path", "url", "python", "mlflow")


def read(field: fields.Field, *, has_reference: bool) -> spec.ModelSpec:
    """The model; a text is short for `path:`."""
    if field.scalar is not None:
        return _shorthand(field)
    section = fields.Section(field, keys.MODEL)
    if app_section.is_app(section):
        return app_section.read(section)
    app_section.refuse_elsewhere(section)
    path, url, train, python, mlflow = (section.get(key) for key in ("path", "url", "train", "python", "mlflow"))
    features, inputs = section.get("features"), section.get("inputs")
    compile_field, allowed = section.get("compile"), section.get("allow_globals")
    source = _source(url=url, train=train, python=python, mlflow=mlflow)
    _check_combination(section, source, has_reference=has_reference)
    found = spec.ModelSpec(
        source=source,
        path=_path(path, any_ending=source is spec.ModelSource.PYTHON) if path is not None else None,
        url=url.file_url(example="https://models.example.com/delay.onnx") if url is not None else None,
        train_command=train.text("a command", example="python train.py") if train is not None else None,
        python_target=_python_target(python) if python is not None else None,
        mlflow_uri=_mlflow(mlflow) if mlflow is not None else None,
        compile=compile_field.boolean(stand_in=True) if compile_field is not None else True,
        allow_globals=_allowed(allowed) if allowed is not None else (),
        inputs=_inputs(inputs) if inputs is not None else None,
        features=names(features, "column", example="[origin, distance]") if features is not None else None,
    )
    if (
        features is not None
        and inputs is not None
        and found.features is not None
        and found.inputs is not None
        and set(found.features) != set(found.inputs)
    ):
        features.wrong(
            "`features` and `inputs` name different columns.", "Keep one of the two: `inputs` names them already."
        )
    return found


def names(field: fields.Field, kind: str, *, example: str) -> tuple[str, ...]:
    """A list of distinct names."""
    found: list[str] = []
    for item in field.items(f"a list of {kind} names", example=example):
        text = item.text(f"a {kind} name", example=example.strip("[]").split(",")[0])
        if text in found:
            item.wrong(f"'{problems.show(text)}' stands here twice.", "Keep one of them.")
        found.append(text)
    return tuple(found)


def _shorthand(field: fields.Field) -> spec.ModelSpec:
    text = field.scalar or ""
    if text.startswith("models:/"):
        return spec.ModelSpec(source=spec.ModelSource.MLFLOW, mlflow_uri=_mlflow(field))
    if "://" in text:
        field.wrong(
            "A model fetched by URL needs a place.",
            f"Write model: {{url: {problems.show(text)}, path: model.onnx}}.",
        )
    elif _PYTHON_TARGET.fullmatch(text):
        field.wrong("A class is not a model file.", f"Write model: {{python: {problems.show(text)}}}.")
    else:
        return spec.ModelSpec(source=spec.ModelSource.PATH, path=_path(field, any_ending=False))
    return spec.ModelSpec(source=spec.ModelSource.PATH)


def _path(field: fields.Field, *, any_ending: bool) -> str:
    """A file of a known kind, or a directory, which is what a name without an ending is taken for."""
    directory = "." not in (field.scalar or ".").rstrip("/").rpartition("/")[2]
    text = field.file_path(suffixes=() if any_ending or directory else MODEL_SUFFIXES, example="model.joblib")
    return text.rstrip("/") if directory else text


def _mlflow(field: fields.Field) -> str:
    text = field.text("models:/NAME@ALIAS", example="models:/delay@champion")
    if text and not _MLFLOW.fullmatch(text):
        field.wrong(
            f"'{problems.show(text)}' does not name a version of an MLflow model.",
            "Write models:/NAME@ALIAS or models:/NAME/VERSION; a directory of your repository goes into `path`.",
        )
    return text


def _source(*, url: object, train: object, python: object, mlflow: object) -> spec.ModelSource:
    if mlflow is not None:
        return spec.ModelSource.MLFLOW
    if python is not None:
        return spec.ModelSource.PYTHON
    if url is not None:
        return spec.ModelSource.URL
    return spec.ModelSource.PATH if train is None else spec.ModelSource.TRAIN


def _check_combination(section: fields.Section, source: spec.ModelSource, *, has_reference: bool) -> None:
    field = section.field
    if not isinstance(field.node, yaml_tree.Mapping):
        return
    if not any(section.has(key) for key in (*_SOURCES, "train")):
        unbuilt = keys.NOT_BUILT[keys.MODEL]
        if not any(key.text in unbuilt for key, _ in field.node.entries):
            field.wrong(
                "Nothing says where the model comes from.",
                "Write one of path, url, mlflow, python, app, command; for example: path: model.joblib",
            )
        return
    if section.has("url") and section.has("python"):
        field.wrong(
            "`url` and `python` exclude each other.", "Commit the class's file, or let `train` fetch it to `path`."
        )
    for key in _SOURCES[:3]:
        if section.has("mlflow") and section.has(key):
            field.wrong(f"`mlflow` and `{key}` exclude each other.", "Keep the one the model comes from.")
    if section.has("mlflow") and section.has("train"):
        field.wrong("`mlflow` and `train` exclude each other.", "Keep the one that produces the model.")
    if section.has("url") and section.has("train"):
        field.wrong("`url` and `train` exclude each other.", "Keep the one that produces the model.")
    for key in ("url", "train"):
        if section.has(key) and not section.has("path"):
            field.wrong(f"`{key}` needs `path`.", "Name the file it produces, such as path: model.joblib")
    if source is spec.ModelSource.PYTHON:
        compiled = section.get("compile")
        if compiled is not None:
            compiled.wrong("A Python class is not compiled.", "Remove `compile`.")
        if not section.has("inputs") and not has_reference:
            field.wrong(
                "Nothing says which inputs the class takes.",
                "Add inputs: {distance: FP64}, or a `reference` with those columns.",
            )


def _python_target(field: fields.Field) -> str:
    text = field.text("FILE.py:CLASS", example="delay.py:Predictor")
    if text and (not _PYTHON_TARGET.fullmatch(text) or ".." in text.split("/")):
        field.wrong(f"'{problems.show(text)}' does not name a class in a file.", "For example: delay.py:Predictor")
    return text


def _allowed(field: fields.Field) -> tuple[str, ...]:
    found = names(field, "global", example="[builtins.getattr]")
    for name in found:
        if not _GLOBAL.fullmatch(name):
            field.wrong(f"'{problems.show(name)}' names nothing in a module.", "Write module.name, or module.*")
    return found


def _inputs(field: fields.Field) -> Mapping[str, str]:
    datatypes = tuple(datatype.value for datatype in release.Datatype)
    found: dict[str, str] = {}
    for key, value in field.entries("a mapping of input names to datatypes", example="{distance: FP64}"):
        name = key.text("an input name", example="distance")
        datatype = value.text("a datatype", example="FP64")
        if datatype and datatype not in datatypes:
            value.wrong(f"'{problems.show(datatype)}' is not a datatype.", problems.choose(datatype, datatypes))
        found[name] = datatype
    if not found and isinstance(field.node, yaml_tree.Mapping):
        field.wrong("There is no input.", "For example: {distance: FP64}")
    return found
