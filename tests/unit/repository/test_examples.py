"""Examples in the documentation are ones that work: service files parse, commands and their options exist."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import sys
from collections.abc import Iterator

import pytest
import typer.main

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import repository_files

from softlaunch import errors
from softlaunch.cli import main
from softlaunch.config import service_file

_BLOCK = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^\s*\$ (.*(?:\\\n.*)*)$", re.MULTILINE)
_GLOBAL_OPTIONS = {"--help", "--version"}


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Page and content of each fenced block with that language, and word after it, if any (`yaml fails`)."""
    for path, text in repository_files.pages():
        for indent, found, content in _BLOCK.findall(text):
            if found.strip() == language:
                yield str(path), re.sub(f"^{indent}", "", content, flags=re.MULTILINE)


def commands(text: str, program: str) -> Iterator[list[str]]:
    """Words after the program's name in each line typed after a prompt; comments left out."""
    for line in _PROMPT.findall(text):
        for part in re.split(r"&&|\|\||;|\|", line.replace("\\\n", " ")):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words and words[0].endswith(program) and words[0].split("/")[-1] == program:
                yield words[1:]


def faults(words: list[str]) -> list[str]:
    """What is wrong with these words as a softlaunch command; paths, names and values are not judged."""
    known = typer.main.get_group(main.APP).commands
    if not words or words[0] in _GLOBAL_OPTIONS:
        return []
    if words[0] not in known:
        return [f"there is no command {words[0]}"]
    if hasattr(known[words[0]], "commands"):
        below = known[words[0]].commands
        if len(words) < 2 or words[1] not in below:
            return [f"there is no command {' '.join(words[:2])}"]
        known, words = below, words[1:]
    options = {option for parameter in known[words[0]].params for option in parameter.opts} | {"--help"}
    own = words[1 : words.index("--") if "--" in words else None]
    used = {word.split("=")[0] for word in own if re.match(r"--?[a-z]", word)}
    return [f"{words[0]} has no option {option}" for option in sorted(used - options)]


def service_files(language: str) -> list[tuple[str, str]]:
    return [(page, text) for page, text in blocks(language) if re.match(r"(#.*\n|\s*\n)*service:", text)]


def test_every_whole_service_file_in_the_documentation_parses() -> None:
    for page, text in service_files("yaml"):
        assert service_file.parse(text, name=page).service


def test_every_service_file_that_is_said_to_fail_does() -> None:
    for page, text in service_files("yaml fails"):
        with pytest.raises(errors.ConfigError):
            service_file.parse(text, name=page)


def test_every_json_example_in_the_documentation_parses() -> None:
    for page, text in blocks("json"):
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            pytest.fail(f"{page}: {error}: {text[:80]}")


def test_every_softlaunch_command_in_the_documentation_exists_with_its_options() -> None:
    found = [
        f"{page}: {fault}"
        for page, text in blocks("console")
        for words in commands(text, "softlaunch")
        for fault in faults(words)
    ]

    assert found == []


def test_a_command_that_does_not_exist_is_found() -> None:
    typed = "$ softlaunch launch x\nA=1 b\n$ HOME=/x softlaunch up --forground | tee softlaunch\n"

    assert [fault for words in commands(typed, "softlaunch") for fault in faults(words)] == [
        "there is no command launch",
        "up has no option --forground",
    ]


def test_every_make_target_in_the_documentation_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (repository_files.ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {words[0] for _, text in blocks("console") for words in commands(text, "make") if words}

    assert {word for word in used if re.fullmatch(r"[a-z-]+", word)} - targets == set()
