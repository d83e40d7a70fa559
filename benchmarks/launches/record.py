"""Result files: what was found, with which parameters, when, on which machine and from which commit."""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the one option every benchmark has."""
    _started()
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=pathlib.Path, help="result file; none: print only")
    return made


def write(options: argparse.Namespace, found: Mapping[str, Any]) -> None:
    """With --out, puts the result in the place of the file at once; without, prints it."""
    document = {"about": about(options), **found}
    if options.out is None:
        print(json.dumps(document), flush=True)
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    beside = options.out.with_name(f".{options.out.name}.{os.getpid()}")
    beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    beside.replace(options.out)


def about(options: argparse.Namespace) -> dict[str, Any]:
    """Machine, commit, date and parameters."""
    parameters = {name: value for name, value in sorted(vars(options).items()) if name != "out"}
    return _started() | {"parameters": parameters}


@functools.cache
def _started() -> dict[str, Any]:
    """As it was when this was first asked: commits and other people's load may come while it runs."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--", "src").splitlines()),
        "command": _command(),
        "machine": f"{os.cpu_count()} virtual cores, {_processor()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[1], 2),
    }


def say(text: str) -> None:
    """Progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def _command() -> str:
    script = pathlib.Path(sys.argv[0]).resolve().relative_to(ROOT)
    return shlex.join(["python", str(script), *sys.argv[1:]])


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
