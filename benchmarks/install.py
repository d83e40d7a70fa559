"""
What a plain `pip install softlaunch` weighs, and how long importing takes.

    python benchmarks/install.py --out benchmarks/results/install.json
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import uv

ROOT = pathlib.Path(__file__).parents[1]
IMPORTS = ("softlaunch", "softlaunch.cli.main", "softlaunch.serving.main", "softlaunch.api.server")
REPEATS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        venv = pathlib.Path(name) / "venv"
        subprocess.run([uv.find_uv_bin(), "venv", "-q", "--python", sys.executable, str(venv)], check=True)
        python = venv / "bin" / "python"
        began = time.monotonic()
        subprocess.run(
            [uv.find_uv_bin(), "pip", "install", "-q", "--link-mode", "copy", "--python", str(python), str(ROOT)],
            check=True,
        )
        row = {
            "install_seconds": time.monotonic() - began,
            "mebibytes": sum(path.stat().st_size for path in venv.rglob("*") if path.is_file()) / 2**20,
            "largest": dict(
                sorted(
                    (
                        (package.name, round(sum(p.stat().st_size for p in package.rglob("*") if p.is_file()) / 2**20))
                        for package in next(venv.glob("lib/python*/site-packages")).iterdir()
                        if package.is_dir()
                    ),
                    key=lambda entry: -entry[1],
                )[:8]
            ),
            "import_seconds": {module: _import_seconds(python, module) for module in IMPORTS},
        }
    print(json.dumps(row, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(row, indent=1) + "\n")


def _import_seconds(python: pathlib.Path, module: str) -> float:
    """Median CPU seconds of importing, less those of an empty interpreter."""
    code = "import time; t = time.process_time(); import {}; print(time.process_time() - t)"
    found = [
        float(subprocess.run([python, "-c", code.format(module)], capture_output=True, text=True, check=True).stdout)
        for _ in range(REPEATS)
    ]
    return statistics.median(found)


if __name__ == "__main__":
    main()
