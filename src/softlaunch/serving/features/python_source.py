"""Features from a function of the release's own code, FILE.py:FUNCTION, called with the `by` values by name."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softlaunch.core import lookup_values
from softlaunch.serving.features import source


class PythonSource:
    """See source.Source. Several threads call the function at once."""

    batch_count_max = 1

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def fetch(self, wanted: Sequence[Mapping[str, Any]], _seconds: float) -> list[lookup_values.Answer]:
        """See source.Source.fetch; the function is told of no time, and a thread is busy for as long as it takes."""
        return [self._fetch(values) for values in wanted]

    def _fetch(self, values: Mapping[str, Any]) -> lookup_values.Answer:
        found = self._function(**values)
        if found is not None and not isinstance(found, Mapping):
            raise TypeError(f"it returned a {type(found).__name__}, not a mapping of values by name")
        return lookup_values.Answer(found)

    def close(self) -> None:
        """See source.Source.close."""


def open_source(opening: source.Opening) -> PythonSource:
    """
    See opening.opened.

    Raises:
        ConfigError: the file or the function is not there, the file cannot be run, or the function is a coroutine's.
    """
    file, _, name = opening.spec.target.partition(":")
    path = opening.code / file
    remedy = f"Commit {file} with a function {name}({', '.join(opening.spec.by)})."
    if not path.is_file():
        raise source.unusable(opening.spec, f"there is no {file} in the release's code", remedy=remedy)
    if str(opening.code) not in sys.path:
        sys.path.insert(0, str(opening.code))
    module_name = file.removesuffix(".py").replace("/", ".")
    module = sys.modules.get(module_name)
    if module is None:
        loading = importlib.util.spec_from_file_location(module_name, path)
        if loading is None or loading.loader is None:
            raise source.unusable(opening.spec, f"{file} is no Python module", remedy=remedy)
        module = importlib.util.module_from_spec(loading)
        sys.modules[module_name] = module
        try:
            loading.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            said = source.scrubbed(f"{type(error).__name__}: {error}", opening.server)
            raise source.unusable(opening.spec, f"{file} raised {said}", remedy=f"Correct {file}.") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise source.unusable(opening.spec, f"{file} has no function {name}", remedy=remedy)
    if inspect.iscoroutinefunction(function):
        raise source.unusable(
            opening.spec,
            f"{name} is a coroutine function",
            remedy="Make it an ordinary one: it runs in a thread of its own already.",
        )
    return PythonSource(function)
