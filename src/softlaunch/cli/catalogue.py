"""
The commands there are, each read from its module when it is called.

Importing every command costs a third of a second, four times what most of them do. So the group knows names and places;
who asks for one command loads one module, and who asks for all of them (`--help`, completion, tests) loads all.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer.core
import typer.main

if TYPE_CHECKING:  # Typer's copy of click is private; only the annotations name it
    from typer import _click


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """Where a command is written: `MODULE:NAME` below softlaunch.cli, and under which heading the help lists it."""

    source: str
    panel: str

    def load(self, name: str) -> _click.Command:
        """The command, or the group of commands where NAME is a Typer application."""
        module, _, attribute = self.source.partition(":")
        found = getattr(importlib.import_module(f"softlaunch.cli.{module}"), attribute)
        alone = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
        if isinstance(found, typer.Typer):
            alone.add_typer(found, name=name, rich_help_panel=self.panel)
        else:
            alone.command(name, rich_help_panel=self.panel)(found)
        return typer.main.get_group(alone).commands[name]


class Commands(Mapping[str, "_click.Command"]):
    """Commands by name; the names are free, a command is loaded when it is taken out."""

    def __init__(self, places: Mapping[str, Place]) -> None:
        self._places = dict(places)
        self._loaded: dict[str, _click.Command] = {}

    def __getitem__(self, name: str) -> _click.Command:
        if name not in self._loaded:
            self._loaded[name] = self._places[name].load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places


def group(places: Mapping[str, Place]) -> type[typer.core.TyperGroup]:
    """A kind of Typer group that has these commands."""

    class Group(typer.core.TyperGroup):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            self.commands = Commands(places)  # type: ignore[assignment]  # nothing is ever added to it

        def list_commands(self, ctx: _click.Context) -> list[str]:  # noqa: ARG002 - without loading them
            return list(self.commands)

    return Group
