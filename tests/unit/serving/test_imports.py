from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import softlaunch.serving.main
from softlaunch.serving.runtimes import python_model, sklearn_model
print(*{name.split(".")[0] for name in sys.modules})
"""


def test_serving_needs_only_what_every_releases_environment_has() -> None:
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)

    heavy = {
        "google",
        "scipy",
        "pandas",
        "pyarrow",
        "sklearn",
        "onnxruntime",
        "fastapi",
        "httpx",
        "structlog",
        "sqlalchemy",
    }
    assert not heavy & set(run.stdout.split())
