from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest

# Modules beside these tests are imported by name; with importlib mode pytest leaves their folder off the path.
spec = importlib.util.spec_from_file_location("build_kit", pathlib.Path(__file__).with_name("kit.py"))
kit = importlib.util.module_from_spec(spec)
sys.modules["build_kit"] = kit
spec.loader.exec_module(kit)


@pytest.fixture
def repository(tmp_path):
    return kit.Repository(tmp_path / "repository")


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"
