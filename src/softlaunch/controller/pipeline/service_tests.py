"""The service's own tests, run in a copy of the checkout with the release's own packages."""

from __future__ import annotations

import pathlib
import re

from softlaunch import errors
from softlaunch.controller.pipeline import workshop
from softlaunch.core import spec
from softlaunch.ports import python_env

_PYTEST_SUMMARY = re.compile(r"\b(\d+) passed\b.*")


def run(
    tests: spec.TestsSpec | None,
    shop: workshop.Workshop,
    *,
    work: pathlib.Path,
    interpreter: python_env.Interpreter,
) -> str | None:
    """
    One line about what passed, None when there is nothing to run.

    Raises:
        ConfigError: the tests failed, hung, or covered too little.
    """
    if tests is None or tests.command is None:
        return None
    floor = tests.coverage_percent_min
    probe = (
        shop.workbench.coverage(python=interpreter.python, directory=work, command=tests.command)
        if floor is not None
        else None
    )
    result = shop.workbench.command(
        tests.command if probe is None else probe.command,
        python=interpreter.python,
        directory=work,
        timeout_seconds=shop.test_timeout_seconds,
        variables={} if probe is None else probe.variables,
    )
    if result.exit_code is None:
        raise errors.ConfigError(
            f"The tests {tests.command!r} did not end within {shop.test_timeout_seconds:g} s."
            f" Their last lines:\n{result.output}",
            remedy="Find the test that hangs; give it a time limit of its own.",
            code=errors.Code.TESTS_TIMEOUT,
        )
    if result.exit_code != 0:
        raise errors.ConfigError(
            f"The tests {tests.command!r} ended with {result.exit_code}. Their last lines:\n{result.output}",
            remedy="Mend what fails; a clean clone with the lock file's packages shows the same.",
            code=errors.Code.TESTS_FAILED,
        )
    summary = _summary(tests.command, result.output)
    if probe is None or floor is None:
        return summary
    percent = probe.percent()
    if percent is None:
        raise errors.ConfigError(
            f"The coverage of {tests.command!r} could not be measured.",
            remedy="Add coverage to the service's lock file, and run the tests with its Python.",
            code=errors.Code.COVERAGE_UNMEASURED,
        )
    if percent < floor:
        raise errors.ConfigError(
            f"The tests cover {percent:.1f} % of the lines, coverage_percent_min is {floor:g}.",
            remedy="Test what is not covered; files of tests themselves do not count.",
            code=errors.Code.COVERAGE_LOW,
        )
    return f"{summary}, coverage {percent:.1f} %"


def _summary(command: str, output: str) -> str:
    for line in reversed(output.splitlines()):
        if match := _PYTEST_SUMMARY.search(line):
            return f"{match[1]} tests passed"
    return f"{command!r} passed"
