"""
Measures the coverage of any command, without asking it to be a pytest command.

Every Python process below the command starts coverage by itself: a `sitecustomize` module on its path does it. A
command that already measures (pytest --cov) is only asked for a report, since two tracers would disturb each other.

What counts: every line of every Python file in the service's folder, run or not; test files and their helpers do not.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Mapping

from softlaunch.ports import python_env

_NOT_COUNTED = (
    "tests/*",
    "*/tests/*",
    "test_*.py",
    "*/test_*.py",
    "*_test.py",
    "conftest.py",
    "*/conftest.py",
    "setup.py",
)
_TIMEOUT_SECONDS = 300.0


class _Started:
    """Coverage started inside the processes of the command."""

    def __init__(self, python: pathlib.Path, directory: pathlib.Path, command: str) -> None:
        self.command = command
        self._python, self._directory = python, directory
        self._scratch = tempfile.TemporaryDirectory(prefix="softlaunch-coverage-")
        self._place = pathlib.Path(self._scratch.name)
        (self._place / "hook").mkdir()
        (self._place / "hook" / "sitecustomize.py").write_text(
            "try:\n    import coverage\nexcept ImportError:\n    pass\nelse:\n    coverage.process_startup()\n"
        )
        omitted = "\n    ".join(str(directory.resolve() / each) for each in _NOT_COUNTED)
        self.place = self._place
        self._rc = self._place / "coveragerc"
        self._rc.write_text(
            f"[run]\nparallel = true\ndata_file = {self._place}/data\nsource = {directory.resolve()}\n"
            f"omit =\n    {omitted}\n"
        )
        self.variables: Mapping[str, str] = {
            "COVERAGE_PROCESS_START": str(self._rc),
            "PYTHONPATH": str(self._place / "hook"),
        }

    def percent(self, xml: pathlib.Path | None = None) -> float | None:
        """See ports.python_env.CoverageProbe.percent."""
        report = self._place / "report.json"
        written = [("json", report)] + ([("xml", xml)] if xml is not None else [])
        reports = [(kind, "--quiet", "--ignore-errors", "-o", str(path.absolute())) for kind, path in written]
        for arguments in (("combine", "--quiet"), *reports):
            subprocess.run(
                [str(self._python), "-m", "coverage", arguments[0], f"--rcfile={self._rc}", *arguments[1:]],
                cwd=self._directory,
                capture_output=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=_TIMEOUT_SECONDS,
            )
        return _percent(report)


class _Asked:
    """Coverage that the command measures itself."""

    def __init__(self, command: str) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="softlaunch-coverage-")
        self._report = pathlib.Path(self._scratch.name) / "report.json"
        self.place = self._report.parent
        self._xml = self._report.with_suffix(".xml")
        self.command = f"{command} --cov-report=json:{self._report} --cov-report=xml:{self._xml}"
        self.variables: Mapping[str, str] = {"COVERAGE_FILE": f"{self._scratch.name}/data"}

    def percent(self, xml: pathlib.Path | None = None) -> float | None:
        """See ports.python_env.CoverageProbe.percent."""
        if xml is not None and self._xml.is_file():
            shutil.copyfile(self._xml, xml)
        return _percent(self._report)


def prepare(python: pathlib.Path, directory: pathlib.Path, command: str) -> python_env.CoverageProbe:
    """See ports.python_env.Workbench.coverage."""
    return _Asked(command) if "--cov" in command else _Started(python, directory, command)


def _percent(report: pathlib.Path) -> float | None:
    try:
        totals = json.loads(report.read_bytes())["totals"]
    except (OSError, ValueError, KeyError):
        return None
    return float(totals["percent_covered"]) if totals["num_statements"] else None
