"""The service's own tests, run in a copy of the checkout with the release's own packages."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import tempfile

from softlaunch import errors
from softlaunch.controller.pipeline import passed_tests, workshop
from softlaunch.core import spec, units
from softlaunch.ports import python_env

_KILLED = 137
"""By SIGKILL, which is what the kernel sends when memory runs out."""
_PYTEST_SUMMARY = re.compile(r"\b(\d+) passed\b.*")


def run(
    tests: spec.TestsSpec | None,
    shop: workshop.Workshop,
    *,
    work: pathlib.Path,
    interpreter: python_env.Interpreter,
    name: str,
    step: workshop.Step,
) -> str | None:
    """
    One line about what passed, None when there is nothing to run.

    Tests that passed are not run again with the same inputs. What they print and what they report is kept.

    Args:
        tests: What softlaunch.yaml says of them.
        shop: What there is to work with.
        work: A copy of the checkout, with the model.
        interpreter: Whose Python runs them.
        name: Of their inputs, for the cache.
        step: Told whether they passed before.

    Raises:
        ConfigError: the tests failed, hung, or covered too little.
    """
    if tests is None or tests.command is None:
        return None
    before = passed_tests.load(shop.cache, name, shop.reports)
    if before is not None:
        step.cached = True
        return before
    with tempfile.TemporaryDirectory(prefix="softlaunch-tests-") as scratch:
        made = pathlib.Path(scratch)
        try:
            result = _run(tests, tests.command, shop, work=work, interpreter=interpreter, made=made)
        finally:
            passed_tests.copy(made, shop.reports)
        passed_tests.save(shop.cache, name, result, made)
    return result


def _run(
    tests: spec.TestsSpec,
    command: str,
    shop: workshop.Workshop,
    *,
    work: pathlib.Path,
    interpreter: python_env.Interpreter,
    made: pathlib.Path,
) -> str:
    floor = tests.coverage_percent_min
    probe = (
        shop.workbench.coverage(python=interpreter.python, directory=work, command=command)
        if floor is not None
        else None
    )
    result = shop.workbench.command(
        command if probe is None else probe.command,
        python=interpreter.python,
        directory=work,
        timeout_seconds=tests.timeout_seconds,
        variables={**_reporting(made), **({} if probe is None else probe.variables)},
        log=made / passed_tests.LOG,
        container=_container(tests),
        writable=(made,) if probe is None else (made, probe.place),
    )
    if result.exit_code is None:
        raise errors.ConfigError(
            f"The tests {command!r} did not end within {tests.timeout_seconds:g} s. Their last lines:\n{result.output}",
            remedy="Find the test that hangs; give it a time limit of its own.",
            code=errors.Code.TESTS_TIMEOUT,
        )
    if result.exit_code != 0:
        limit = tests.memory_bytes_max
        short = limit is not None and result.exit_code == _KILLED
        why = f" (killed: they may need more than `memory: {units.format_bytes(limit or 0)}`)" if short else ""
        raise errors.ConfigError(
            f"The tests {command!r} ended with {result.exit_code}{why}. Their last lines:\n{result.output}",
            remedy="Mend what fails; a clean clone with the lock file's packages shows the same.",
            code=errors.Code.TESTS_FAILED,
        )
    summary = _summary(command, result.output)
    if probe is None or floor is None:
        return summary
    percent = probe.percent(made / passed_tests.COVERAGE)
    if percent is None:
        raise errors.ConfigError(
            f"The coverage of {command!r} could not be measured.",
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


def _container(tests: spec.TestsSpec) -> python_env.Container | None:
    if tests.container is None:
        return None
    return python_env.Container(image=tests.container, memory_bytes_max=tests.memory_bytes_max, cpus=tests.cpus)


def _reporting(made: pathlib.Path) -> dict[str, str]:
    """Makes pytest write a report, wherever below the command it is started; other programs do not look at it."""
    given = os.environ.get("PYTEST_ADDOPTS", "")
    return {"PYTEST_ADDOPTS": f"{given} --junitxml={shlex.quote(str(made / passed_tests.JUNIT))}".strip()}


def _summary(command: str, output: str) -> str:
    for line in reversed(output.splitlines()):
        if match := _PYTEST_SUMMARY.search(line):
            return f"{match[1]} tests passed"
    return f"{command!r} passed"
