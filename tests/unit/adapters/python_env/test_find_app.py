"""An app is looked for in its source, which is not run."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest

from softlaunch import errors
from softlaunch.adapters.python_env.scripts import find_app


def look(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, source: str, target: str) -> dict[str, object]:
    (tmp_path / "looked_for.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    return find_app.find({"target": target, "code": str(tmp_path)})


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        ("1 / 0\napp = FastAPI()\n", "app"),
        ("app: FastAPI = FastAPI()\n", "app"),
        ("def create_app(): ...\n", "create_app()"),
        ("from inside import app\n", "app"),
        ("from inside import *\n", "app"),
        ("def __getattr__(name): ...\n", "app"),
        ("if True:\n    app = 1\nelse:\n    api = 2\n", "app"),
        ("try:\n    import a\nexcept ImportError:\n    from b import app\n", "app"),
        ("holder = Holder()\n", "holder.app"),
    ],
)
def test_what_may_be_there_is_found_without_running_it(tmp_path, monkeypatch, source, attribute) -> None:
    assert look(tmp_path, monkeypatch, source, f"looked_for:{attribute}")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("api = 1\n", "looked_for:app", "looked_for has no 'app'; it has api."),
        ("", "no_such_module_here:app", "no module 'no_such_module_here'"),
        ("", "no_such_package_here.inside:app", "no module 'no_such_package_here'"),
        ("def f(:\n", "looked_for:app", "not Python"),
    ],
)
def test_what_is_not_there_is_refused_by_name(tmp_path, monkeypatch, source, target, said) -> None:
    with pytest.raises(errors.ConfigError) as caught:
        look(tmp_path, monkeypatch, source, target)

    assert said in caught.value.message
