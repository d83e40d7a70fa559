"""One content, one digest: wherever, whenever and by whom it is built."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import build_kit as kit
import pytest

from softlaunch.adapters.oci import registry as oci
from softlaunch.controller.pipeline import build
from softlaunch.core import spec

CODE = """
class Predictor:
    outputs = {"late": "FP64"}

    def predict(self, rows):
        return [0.5 for row in rows]
"""
SCRIPT = """
import pathlib, sys
sys.path.insert(0, {folder!r})
import kit
from softlaunch.controller.pipeline import build
from softlaunch.core import spec
model = spec.ModelSpec(source=spec.ModelSource.PYTHON, python_target="delay.py:Predictor", features=("hour", "carrier"))
shop = kit.shop_of(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
print("ready", flush=True)
result = build.build(kit.service(model, reference="train.parquet"), shop.source.resolve("HEAD"), shop)
print(result.digest, flush=True)
"""


def files():
    return {
        "delay.py": CODE,
        "run.sh": "#!/bin/sh\n",
        "softlaunch.yaml": "service: flight-delay\n",
        "train.parquet": kit.frame(),
    }


def service():
    model = spec.ModelSpec(
        source=spec.ModelSource.PYTHON, python_target="delay.py:Predictor", features=("hour", "carrier")
    )
    return kit.service(model, reference="train.parquet")


def built(home, repository, ref="HEAD", wanted=None):
    shop = kit.shop_of(home, repository.folder)
    return build.build(wanted or service(), shop.source.resolve(ref), shop), shop


def elsewhere(home: pathlib.Path, folder: pathlib.Path, **environment: str) -> subprocess.Popen[str]:
    scratch = home.with_name("scratch")  # a killed build cannot clear its own
    scratch.mkdir(exist_ok=True)
    script = SCRIPT.format(folder=str(pathlib.Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", script, str(home), str(folder)],
        env={**os.environ, "TMPDIR": str(scratch), **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_two_directories_two_homes_and_other_surroundings_give_one_digest(tmp_path, repository, home) -> None:
    repository.commit(files())
    first, _ = built(home, repository)
    clone = tmp_path / "a clone, elsewhere"
    subprocess.run(["git", "clone", "-q", str(repository.folder), str(clone)], check=True)
    before = os.umask(0o077)
    try:
        process = elsewhere(tmp_path / "home2", clone, TZ="Pacific/Apia", PYTHONHASHSEED="7", LC_ALL="C")
    finally:
        os.umask(before)
    said = process.communicate(timeout=120)[0].split()

    assert said == ["ready", str(first.digest)]


def test_a_merge_commit_with_the_same_content_is_the_tested_release(repository, home) -> None:
    repository.commit({"README.txt": "first\n"})
    repository.git("checkout", "-q", "-b", "develop")
    repository.commit(files())
    tested, _ = built(home, repository, "develop")
    repository.git("checkout", "-q", "main")
    repository.git("merge", "-q", "--no-ff", "-m", "merge", "develop")

    merged, shop = built(home, repository, "main")

    assert merged.digest == tested.digest
    assert merged.reused
    assert [each.branch for each in shop.registry.lineage(tested.digest)] == ["develop", "main"]
    assert shop.registry.resolve("main") == shop.registry.resolve("develop") == tested.digest


def test_building_a_commit_again_adds_nothing(repository, home) -> None:
    repository.commit(files())
    built(home, repository)
    before = (home / "registry" / "index.json").read_bytes()

    again, shop = built(home, repository)

    assert again.reused
    assert (home / "registry" / "index.json").read_bytes() == before
    assert len(shop.registry.lineage(again.digest)) == 1


def test_launch_plans_and_notes_are_no_part_of_the_digest(repository, home) -> None:
    repository.commit(files())
    first, _ = built(home, repository)
    environment = spec.EnvironmentSpec(name="staging", strategy=kit.RECREATE, env={"A": "b"})
    repository.commit({"softlaunch.yaml": "service: flight-delay\n# other plans\n", ".gitignore": "x\n"})

    second, _ = built(home, repository, wanted=dataclasses.replace(service(), environments=(environment,), gaps=("g",)))

    assert second.digest == first.digest


def test_changed_code_is_another_release(repository, home) -> None:
    repository.commit(files())
    first, _ = built(home, repository)
    repository.commit({"delay.py": CODE.replace("0.5", "0.6")})

    second, _ = built(home, repository)

    assert second.digest != first.digest
    assert not second.reused


def test_what_is_uncommitted_is_not_built(repository, home) -> None:
    repository.commit(files())
    first, _ = built(home, repository)
    repository.write({"delay.py": "broken ("})

    assert built(home, repository)[0].digest == first.digest


@pytest.mark.parametrize("seconds", [0.1, pytest.param(0.5, marks=pytest.mark.slow)])
def test_a_killed_build_leaves_no_half_release(tmp_path, repository, home, seconds) -> None:
    repository.commit(files())
    process = elsewhere(home, repository.folder)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    registry = oci.OciRegistry(home / "registry")
    index = home / "registry" / "index.json"
    listed = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    for each in listed:
        if "subject" not in each:
            found = registry.resolve(each["digest"])
            assert found is None or registry.pull(found, tmp_path / each["digest"][7:]).service == "flight-delay"
    result, _ = built(home, repository)
    assert registry.pull(result.digest, tmp_path / "after").service == "flight-delay"
