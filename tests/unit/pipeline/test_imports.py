from __future__ import annotations

import subprocess
import sys


def test_importing_the_build_loads_no_heavy_package() -> None:
    code = (
        "import sys, softlaunch.controller.pipeline.build, softlaunch.adapters.build_tools.tables,"
        " softlaunch.adapters.python_env.uv\n"
        "print([name for name in ('pyarrow', 'pandas', 'sklearn', 'onnxruntime', 'uv') if name in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert found.stdout.strip() == "[]"
