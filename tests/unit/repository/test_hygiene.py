"""What must not get into the repository: one machine's paths, registries' addresses, unpinned requirements."""

from __future__ import annotations

import pathlib
import re
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import repository_files

# Put together, so that this file does not contain what it forbids.
MACHINE_PATHS = re.compile("|".join(("(?<![A-Za-z0-9_.])/wo" + "rk/", "/roo" + "t/", "/op" + "t/(pypi|wheels)")))
REGISTRIES = re.compile(
    "|".join((r"pypi\." + "org", r"pythonhosted\." + "org", "--(extra-)?ind" + "ex-url", "--find-" + "links"))
)


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in repository_files.texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_file_names_a_path_of_one_machine() -> None:
    assert lines_with(MACHINE_PATHS) == []


def test_no_file_names_a_registry() -> None:
    assert lines_with(REGISTRIES) == []


@pytest.mark.parametrize("name", ["dev.txt", "runtime.txt", "uv.txt"])
def test_every_requirement_is_exact_and_hashed(name: str) -> None:
    text = (repository_files.ROOT / "requirements" / name).read_text()
    requirements = [entry for entry in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE) if re.match("[a-z]", entry)]

    assert requirements
    for requirement in requirements:
        assert re.match(r"[a-z0-9-]+==\S+", requirement), requirement
        assert "--hash=sha256:" in requirement, requirement


@pytest.mark.parametrize("part", ["runtime.txt", "uv.txt"])
def test_what_is_installed_is_what_was_tested(part: str) -> None:
    def pins(name: str) -> set[str]:
        lines = (repository_files.ROOT / "requirements" / name).read_text().splitlines()
        return {line.removesuffix(" \\") for line in lines if re.match("[a-z]", line)}

    versions = {re.split(" ;", pin)[0] for pin in pins("dev.txt")}

    assert {re.split(" ;", pin)[0] for pin in pins(part)} <= versions


def test_every_dependency_is_locked() -> None:
    import tomllib

    project = tomllib.loads((repository_files.ROOT / "pyproject.toml").read_text())
    groups = project["project"]["dependencies"], project["project"]["optional-dependencies"]["compile"]
    wanted = [*groups[0], *groups[1], *project["dependency-groups"]["dev"]]
    names = {re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace(".", "-") for requirement in wanted}
    locked = set(
        re.findall(r"^([a-z0-9-]+)==", (repository_files.ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)
    )

    assert names - locked == set()


def test_programs_in_the_repository_may_be_run() -> None:
    programs = [path for path in repository_files.files() if path.read_bytes()[:2] == b"#!"]

    assert [str(path) for path in programs if not path.stat().st_mode & 0o100] == []
