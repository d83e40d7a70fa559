"""Every command explains itself, and the reference page says the same."""

from __future__ import annotations

import pathlib
import re

import pytest
import typer.main

from softlaunch.cli import main

GROUP = typer.main.get_group(main.APP)
COMMANDS = {
    " ".join(filter(None, (name, below))): leaf
    for name, found in GROUP.commands.items()
    for below, leaf in (found.commands.items() if hasattr(found, "commands") else [("", found)])
}
PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### softlaunch ([a-z -]+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def options(name: str) -> set[str]:
    return {
        found
        for parameter in COMMANDS[name].params
        if parameter.param_type_name == "option"
        for found in parameter.opts
    }


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_holds_an_example_that_calls_the_command(run, name) -> None:
    result = run(*name.split(), "--help")

    assert result.code == 0
    assert "Examples" in result.out
    assert re.search(rf"softlaunch {name}\b", result.out.partition("Examples")[2])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_json(name) -> None:
    assert "--json" in options(name)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_has_words(name) -> None:
    assert [parameter.name for parameter in COMMANDS[name].params if not getattr(parameter, "help", None)] == []


def test_the_reference_documents_exactly_the_commands_there_are() -> None:
    assert set(COMMANDS) == set(SECTIONS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_documents_exactly_the_options_there_are(name) -> None:
    documented = set(re.findall(r"^\| `(-[^`]*)`", SECTIONS[name], re.MULTILINE))
    listed = {found for entry in documented for found in re.findall(r"--?[a-z-]+", entry)}

    assert options(name) == listed


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_documents_the_argument(name) -> None:
    arguments = [parameter for parameter in COMMANDS[name].params if parameter.param_type_name == "argument"]

    synopsis = re.search(r"^```text\n(.*?)^```", SECTIONS[name], re.MULTILINE | re.DOTALL)
    assert synopsis is not None
    words = set(re.findall(r"\b[A-Z]+\b", re.sub(r"--[a-z-]+ [A-Z]+", "", synopsis[1])))
    assert {parameter.name.upper() for parameter in arguments} == words


def test_version(run) -> None:
    assert run("--version").out.startswith("softlaunch ")


def test_without_a_command_there_is_help(run) -> None:
    assert "deploy" in run().out
