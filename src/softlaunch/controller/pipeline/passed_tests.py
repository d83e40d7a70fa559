"""Results of tests that passed, by what went into them, with what they printed and their reports."""

from __future__ import annotations

import pathlib
import shutil
import tempfile

JUNIT, COVERAGE, LOG = "junit.xml", "coverage.xml", "tests.log"
_RESULT = "result.txt"


def load(cache: pathlib.Path, name: str, reports: pathlib.Path | None) -> str | None:
    """The line about tests that passed before; their reports are copied to `reports`. None when there is none."""
    kept = cache / "tests" / name
    try:
        result = (kept / _RESULT).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    copy(kept, reports)
    return result


def copy(kept: pathlib.Path, reports: pathlib.Path | None) -> None:
    """What a run of the tests left, into `reports`."""
    if reports is None:
        return
    for each in (JUNIT, COVERAGE, LOG):
        if (kept / each).is_file():
            shutil.copyfile(kept / each, reports / each)


def save(cache: pathlib.Path, name: str, result: str, made: pathlib.Path) -> None:
    """Keeps the line and the reports in `made`, by rename; the first of two at once stays."""
    place = cache / "tests"
    place.mkdir(parents=True, exist_ok=True)
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=f".{name[:12]}.", dir=place))
    try:
        copy(made, unfinished)
        (unfinished / _RESULT).write_text(result, encoding="utf-8")
        try:
            unfinished.rename(place / name)
        except OSError:
            if not (place / name / _RESULT).is_file():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
