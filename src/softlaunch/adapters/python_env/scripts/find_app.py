"""
Looks for an ASGI app without running it: its import may need what only the place has where it is served.

Asked: target, code. Answers: module (its file, None when it has no source).
"""

from __future__ import annotations

import ast
import importlib.util
import pathlib
from typing import Any

from softlaunch import errors
from softlaunch.adapters.python_env.scripts import exchange


def find(request: dict[str, Any]) -> dict[str, Any]:
    """See the module."""
    exchange.enter(request["code"])
    module, _, attribute = request["target"].partition(":")
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        raise _refused(f"There is no module {error.name!r} for the app {request['target']}.") from error
    except Exception:  # noqa: BLE001  # a package's __init__ ran and raised, for want of what serving has perhaps
        return {"module": None}
    if found is None:
        raise _refused(f"There is no module {module!r} for the app {request['target']}.")
    if found.origin is None or not found.origin.endswith(".py"):
        return {"module": found.origin}
    try:
        tree = ast.parse(pathlib.Path(found.origin).read_bytes())
    except SyntaxError as error:
        raise _refused(f"{module} is not Python that can be read: {error.msg}, line {error.lineno}.") from error
    names = _names(tree.body)
    wanted = attribute.removesuffix("()").partition(".")[0]
    if names is not None and wanted not in names:
        raise _refused(f"{module} has no {wanted!r}; it has {', '.join(sorted(names)) or 'nothing'}."[:400])
    return {"module": found.origin}


def _names(body: list[ast.stmt]) -> set[str] | None:
    """What a module's source gives names to; None when that cannot be read from it."""
    names: set[str] = set()
    for statement in body:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if statement.name == "__getattr__":
                    return None
                names.add(statement.name)
            case ast.Import() | ast.ImportFrom():
                if any(each.name == "*" for each in statement.names):
                    return None
                names |= {each.asname or each.name.partition(".")[0] for each in statement.names}
            case _:
                # Assignments, also inside of if, try and with: any name that is stored to at this level or below.
                names |= {
                    each.id
                    for each in ast.walk(statement)
                    if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
                }
                nested = _nested(statement)
                inner = _names(nested) if nested else set()
                if inner is None:
                    return None
                names |= inner
    return names


def _nested(statement: ast.stmt) -> list[ast.stmt]:
    found = [*getattr(statement, "body", ()), *getattr(statement, "orelse", ()), *getattr(statement, "finalbody", ())]
    for handler in getattr(statement, "handlers", ()):
        found += handler.body
    return found


def _refused(message: str) -> errors.ConfigError:
    return errors.ConfigError(
        message,
        remedy="Correct `model.app` in softlaunch.yaml: module:attribute, seen from the service's folder.",
        code=errors.Code.APP_UNUSABLE,
    )


if __name__ == "__main__":
    exchange.run(find)
