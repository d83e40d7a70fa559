from __future__ import annotations

import pathlib
import re

import hypothesis
import pytest
from hypothesis import strategies

from softlaunch import errors
from softlaunch.config import service_file, starter
from softlaunch.core import spec

FASTAPI = "from fastapi import FastAPI\n\napp = FastAPI(title='x')\n"


def _folder(root: pathlib.Path, files: dict[str, str], name: str = "flight-delay") -> pathlib.Path:
    directory = root / name
    directory.mkdir()
    for path, text in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(text, encoding="utf-8")
    return directory


def _parsed(text: str) -> spec.ServiceSpec:
    return service_file.parse(text)


SHAPES: dict[str, dict[str, str]] = {
    "nothing": {},
    "a model": {"model.joblib": ""},
    "an onnx file in a folder": {"models/delay.onnx": ""},
    "two models": {"a.pkl": "", "model-v2.pkl": "", "z.onnx": ""},
    "a training script": {"train.py": ""},
    "a model and its training script": {"train.py": "", "model.joblib": ""},
    "an app": {"main.py": FASTAPI},
    "an app with a model": {"app.py": "import fastapi\napi: fastapi.FastAPI = fastapi.FastAPI()\n", "model.pkl": ""},
    "everything": {
        "model.joblib": "",
        "data/train.parquet": "",
        "data/holdout.csv": "",
        "tests/test_model.py": "",
        "requirements.txt": "",
        "train.py": "",
    },
    "names that need care": {
        "my model.joblib": "",
        "a#b.onnx": "",
        "data/tr: ain.csv": "",
        "données.csv": "",
        "-x.onnx": "",
    },
    "a virtual environment": {".venv/lib/model.joblib": "", "venv/model.joblib": "", "node_modules/x/model.onnx": ""},
    "only tests": {"tests/test_a.py": "", "tests/model.joblib": "", "tests/data/train.csv": ""},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_starter_parses_whatever_lies_in_the_folder(shape: str, tmp_path: pathlib.Path) -> None:
    directory = _folder(tmp_path, SHAPES[shape])

    assert _parsed(starter.starter(directory)).service == "flight-delay"


@pytest.mark.parametrize("shape", SHAPES)
def test_the_commented_keys_parse_when_all_of_them_are_uncommented(shape: str, tmp_path: pathlib.Path) -> None:
    text = starter.starter(_folder(tmp_path, SHAPES[shape]))
    shown = re.compile(
        r"^( *)# ((?:train|ready|reference|coverage_percent_min|quality|integration|branch|after|key|fallback|env): )"
    )

    parsed = _parsed("\n".join(shown.sub(r"\1\2", line) for line in text.splitlines()))

    production = parsed.environments[-1]
    assert (parsed.environments[0].name, production.after) == ("integration", "integration")
    assert production.strategy.key_header == "x-user-id"
    assert production.fallback_body == b'{"late":0.2}'
    assert parsed.reference is not None or parsed.model.source is spec.ModelSource.APP


def test_the_commented_tests_parse_when_they_are_uncommented(tmp_path: pathlib.Path) -> None:
    text = starter.starter(_folder(tmp_path, {}))
    block = text[text.index("# tests:") : text.index("environments:")]
    lines = [line[2:] for line in block.splitlines() if not line.startswith("#   What")]

    parsed = _parsed(text.replace(block, "\n".join(lines) + "\n"))

    assert parsed.tests is not None
    assert parsed.tests.quality is not None


def test_a_file_called_model_is_preferred_and_the_others_are_mentioned(tmp_path: pathlib.Path) -> None:
    text = starter.starter(_folder(tmp_path, SHAPES["two models"]))

    assert _parsed(text).model.path == "model-v2.pkl"
    assert "also found: a.pkl, z.onnx" in text


def test_what_lies_there_is_used(tmp_path: pathlib.Path) -> None:
    text = starter.starter(_folder(tmp_path, SHAPES["everything"]))
    parsed = _parsed(text)

    assert parsed.reference == "data/train.parquet"
    assert parsed.tests == spec.TestsSpec(command="pytest -q")
    assert "# quality: {data: data/holdout.csv" in text
    assert "# train: python train.py" in text
    assert "No requirements.txt" not in text


def test_a_training_script_without_a_model_becomes_the_model(tmp_path: pathlib.Path) -> None:
    parsed = _parsed(starter.starter(_folder(tmp_path, {"train.py": ""})))

    assert parsed.model.source is spec.ModelSource.TRAIN


def test_an_app_is_launched_as_it_is(tmp_path: pathlib.Path) -> None:
    routes = "@app.get('/healthz')\ndef h(): ...\n@app.post('/score')\ndef s(): ...\n"
    text = starter.starter(_folder(tmp_path, {"main.py": FASTAPI + routes, "model.joblib": ""}))
    parsed = _parsed(text)

    assert (spec.ModelSource.APP, "main:app") == (parsed.model.source, parsed.model.app_target)
    assert "/healthz" == parsed.model.ready_path
    assert "# predict_paths: [/score]" in text
    assert () == parsed.environments[0].predict_paths, "what may be sent twice is the owner's to say"
    assert "model: model.joblib" in text


def test_what_is_proposed_for_an_app_parses_when_it_is_uncommented(tmp_path: pathlib.Path) -> None:
    text = starter.starter(_folder(tmp_path, {"main.py": FASTAPI}))
    for key in ("ready", "predict_paths", "answers"):
        text = text.replace(f"  # {key}:", f"  {key}:")

    assert ("/score",) == _parsed(text).environments[0].predict_paths


@pytest.mark.parametrize(
    ("folder", "service"),
    [
        ("Flight Delay", "flight-delay"),
        ("2024", "2024"),
        ("true", "true"),
        ("___", "my-service"),
        ("1e5", "1e5"),
        ("ünter", "nter"),
    ],
)
def test_any_folder_gives_a_service_name(folder: str, service: str, tmp_path: pathlib.Path) -> None:
    assert service == _parsed(starter.starter(_folder(tmp_path, {}, folder))).service


@hypothesis.given(
    name=strategies.text(strategies.characters(exclude_categories=["Cs"], exclude_characters="/\x00"), max_size=30),
)
@hypothesis.settings(deadline=None)
def test_no_file_name_breaks_the_starter(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("folder")
    for suffix in (".joblib", ".csv"):
        (directory / f"x{name}{suffix}").touch()

    _parsed(starter.starter(directory))


def test_an_existing_file_is_never_overwritten(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "softlaunch.yaml"
    path.write_text("mine")

    with pytest.raises(errors.ConflictError, match="exists already"):
        starter.write(tmp_path)
    assert path.read_text() == "mine"


def test_a_dangling_link_is_not_written_through(tmp_path: pathlib.Path) -> None:
    (tmp_path / "softlaunch.yaml").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(errors.ConflictError):
        starter.write(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_the_starter_is_written_and_loads(tmp_path: pathlib.Path) -> None:
    path = starter.write(tmp_path)

    assert path == tmp_path / "softlaunch.yaml"
    assert service_file.load(path).environments[0].name == "production"


def test_a_missing_folder_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="cannot be written"):
        starter.write(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "path"),
    [("tree\nversion=v4\nnum_class=1\n", "trees.txt"), ('{"learner":{"attributes":{}}}', "trees.json")],
)
def test_texts_are_models_only_when_they_begin_like_one(tmp_path, content, path) -> None:
    others = {"requirements.txt": "numpy\n", "package.json": "{}", "notes.txt": "a tree\n"}

    assert starter.look(_folder(tmp_path, others, "without")).model is None
    assert path == starter.look(_folder(tmp_path, {**others, path: content})).model
