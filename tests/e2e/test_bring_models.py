"""Each kind of model that is brought as a file, a directory or a class: built, launched and asked."""

from __future__ import annotations

import math
import pathlib
import re
import subprocess
from collections.abc import Iterator

import bring_lab
import process_lab
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    with bring_lab.bringing() as found:
        yield found


@pytest.fixture
def spare(machine, request) -> bring_lab.Service:
    """A service to be spoiled, in the environment of the CatBoost example."""
    folder = re.sub(r"\W+", "-", request.node.name)
    return bring_lab.brought(machine, "catboost", name="flats", folder=folder)


def test_an_onnx_file_is_a_service_without_code(machine) -> None:
    service = bring_lab.brought(machine, "onnx", name="churn")
    service.deploy()

    (answer,) = service.answers({"months": 3, "calls": 4, "price": 29})

    assert answer["prediction"] == pytest.approx(1 / (1 + math.exp(-(-0.8 - 0.18 + 1.8 + 0.87))), abs=1e-6)


def test_a_class_answers_alike_by_rows_and_by_columns(machine) -> None:
    rows = [{"vehicle": "bike", "km": 2.5}, {"vehicle": "car", "km": 10}]
    answered = []
    for target in ("ByColumns", "ByRows"):
        service = bring_lab.brought(machine, "python_class", name="delivery", folder=target)
        described = service.folder / "softlaunch.yaml"
        described.write_text(
            described.read_text().replace(":ByColumns", f":{target}").replace("delivery\n", f"{target.lower()}\n")
        )
        service.name = target.lower()
        service.deploy()
        answered.append(service.answers(*rows))

    assert [[{"minutes": 20.0}, {"minutes": 35.0}]] * 2 == answered


def test_catboost_takes_texts_and_missing_values_as_they_are(machine) -> None:
    service = bring_lab.brought(machine, "catboost", name="flats")
    service.deploy()
    dear = {"district": "old town", "area": 110, "year": 1995}

    first, second, third = service.answers(
        dear, {"district": "station", "area": 30, "year": None}, {"district": "moon", "area": 70, "year": None}
    )

    assert (True, False) == (first["label"], second["label"])
    assert first["probability"] > 0.9
    assert second["probability"] < 0.1
    assert 0 < third["probability"] < 1
    assert 422 == service.ask({**dear, "district": 7}).status_code


def test_a_catboost_regressor_answers_numbers(spare) -> None:
    train = spare.folder / "train.py"
    train.write_text(
        train.read_text().replace("CatBoostClassifier", "CatBoostRegressor").replace('flats["dear"], cat', "price, cat")
    )
    spare.name = "rents"
    spare.describe("{path: model.cbm, train: python train.py}\nreference: flats.parquet")
    spare.deploy()

    dear, cheap = spare.answers(
        {"district": "old town", "area": 110, "year": 1995}, {"district": "station", "area": 30, "year": None}
    )

    assert {"prediction"} == set(dear)
    assert dear["prediction"] > 400
    assert cheap["prediction"] < 200


def test_a_pytorch_program_answers_for_any_number_of_rows(machine) -> None:
    if bring_lab.wheel_of("torch") is None:
        pytest.skip("no CPU-only torch wheel in a folder named by PIP_FIND_LINKS: the ordinary one takes gigabytes")
    service = bring_lab.brought(machine, "torch", name="wear")
    service.deploy()
    worn = {"temperature": 0.5, "vibration": 1.5, "hours": 1.0}

    answers = service.answers(worn, {"temperature": 0, "vibration": -1.0, "hours": -1.0}, worn)

    assert [1, 0, 1] == [answer["label"] for answer in answers]
    assert answers[0] == answers[2] == service.answers(worn)[0]
    assert answers[0]["probability"] > 0.9
    assert answers[1]["probability"] < 0.1


SCRIPTED = """
import torch

class Pressure(torch.nn.Module):
    def forward(self, temperature, litres):
        return {"pressure": temperature / litres}

torch.jit.save(torch.jit.script(Pressure()), "model.pt")
"""


def test_a_torchscript_program_is_fed_each_feature_by_the_name_of_its_input(machine) -> None:
    if bring_lab.wheel_of("torch") is None:
        pytest.skip("no CPU-only torch wheel in a folder named by PIP_FIND_LINKS: the ordinary one takes gigabytes")
    service = bring_lab.brought(machine, "torch", name="vessels", folder="scripted")
    service.write("train.py", SCRIPTED)
    service.describe("{path: model.pt, train: python train.py, inputs: {litres: FP64, temperature: FP64}}")
    service.deploy()

    answers = service.answers({"temperature": 10, "litres": 4}, {"temperature": 9, "litres": 6})

    assert [{"prediction": 2.5}, {"prediction": 1.5}] == answers


def test_a_pytorch_program_for_one_number_of_rows_is_refused(machine) -> None:
    if bring_lab.wheel_of("torch") is None:
        pytest.skip("no CPU-only torch wheel in a folder named by PIP_FIND_LINKS: the ordinary one takes gigabytes")
    service = bring_lab.brought(machine, "torch", name="wear", folder="three-rows")
    train = service.folder / "train.py"
    train.write_text(
        re.sub(r"torch\.export\.export\(.*\)", "torch.export.export(model, (machines[:3],))", train.read_text())
    )

    found = service.refused()

    assert "2 rows of zeros make it fail" in found
    assert "dynamic_shapes" in found


def test_a_text_model_tells_content_from_discontent(machine) -> None:
    service = bring_lab.brought(machine, "text", name="reviews")
    service.deploy()

    good, bad, turned, empty = service.answers(
        {"review": "The soup was excellent and the waiter was friendly."},
        {"review": "The soup was cold."},
        {"review": "The soup was not cold."},
        {"review": ""},
    )

    assert [1, 0, 1] == [answer["label"] for answer in (good, bad, turned)]
    assert 0 <= empty["probability"] <= 1
    assert good == pytest.approx(
        service.answers({"review": "The soup was excellent and the waiter was friendly."})[0], abs=1e-4
    )
    assert 1 == service.answers({"review": "The soup was tasty. " * 5_000})[0]["label"]


COSTS = """
import pathlib, sys, time
from softlaunch.serving import unpacked
model = unpacked.load_model(unpacked.read(pathlib.Path(sys.argv[1]), pathlib.Path("x")), thread_count=1)
for words in (4, 60, 250, 100_000):
    row = (" ".join(["soup"] * words),)
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        model.answer([row])
        seconds.append(time.perf_counter() - began)
    print(words, model.cost(row), min(seconds) * 1e3)
"""


def test_the_cost_of_a_text_grows_with_its_length_until_it_is_cut(machine) -> None:
    service = bring_lab.brought(machine, "text", name="reviews", folder="costs")
    digest = service.built()["release"]
    release = unpacked(machine, digest)
    lock = service.folder / "requirements.lock"
    python, variables = environment(machine, lock)

    told = subprocess.run(
        [python, "-c", COSTS, str(release)], env=variables, capture_output=True, text=True, check=True
    ).stdout
    _, costs, milliseconds = zip(*([float(word) for word in line.split()] for line in told.splitlines()), strict=True)

    assert sorted(costs) == list(costs)
    assert 256 == costs[-1]
    assert milliseconds[0] < milliseconds[1] < milliseconds[2]
    assert milliseconds[2] > 3 * milliseconds[0], told


def environment(machine: process_lab.ProcessLab, lock: pathlib.Path) -> tuple[str, dict[str, str]]:
    """The interpreter that builds with a lock file, and the variables it needs to import softlaunch."""
    from softlaunch.adapters.python_env import uv

    environments = uv.UvEnvironments(machine.home.venvs)
    python = environments.building(lock.read_bytes()).python
    return str(python), {**machine.environment(), "PYTHONPATH": str(environments.import_path())}


def unpacked(machine: process_lab.ProcessLab, digest: str) -> pathlib.Path:
    from softlaunch.adapters.oci import registry
    from softlaunch.controller import shelf
    from softlaunch.core import release

    found, _ = shelf.Shelf(registry.OciRegistry(machine.home.registry), machine.home.releases).take(
        release.Digest(digest)
    )
    return found


def test_a_damaged_catboost_file_is_named(spare) -> None:
    spare.write("model.cbm", b"CBM1 and then nothing")
    spare.describe("{path: model.cbm, inputs: {area: FP64}}")
    (spare.folder / ".gitignore").unlink()

    found = spare.refused()

    assert "model.cbm" in found or "obtained.cbm" in found
    assert "refuses it" in found


def test_features_that_are_not_the_model_s_are_named(spare) -> None:
    spare.describe("{path: model.cbm, train: python train.py, inputs: {area: FP64, year: FP64}}")

    assert "'district'" in spare.refused()


def test_a_package_that_the_lock_lacks_is_named(spare) -> None:
    spare.write("requirements.lock", (bring_lab.EXAMPLES / "text" / "requirements.lock").read_bytes())
    spare.write("model.cbm", b"CBM1")
    spare.describe("{path: model.cbm, inputs: {area: FP64}}")
    (spare.folder / ".gitignore").unlink()

    found = spare.refused()

    assert "has no catboost" in found
    assert "requirements.lock" in found


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda folder: (folder / "model/model.onnx").unlink(), "there is no model.onnx"),
        (lambda folder: (folder / "model/model.onnx").write_bytes(b"x" * 50), "cannot be loaded"),
        (lambda folder: (folder / "model/tokenizer.json").write_text("{}"), "cannot be loaded"),
    ],
    ids=["no-graph", "damaged-graph", "damaged-tokenizer"],
)
def test_a_text_model_s_directory_is_checked(machine, spoil, named, request) -> None:
    folder = re.sub(r"\W+", "-", request.node.name)
    service = bring_lab.brought(machine, "text", name="reviews", folder=folder)
    spoil(service.folder)

    assert named in service.refused()
