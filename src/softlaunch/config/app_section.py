"""Somebody's own HTTP code under `model:`: an ASGI app or a command, and what its answers have to hold."""

from __future__ import annotations

import re
import shlex

from softlaunch.config import fields, keys, problems, recording_section, yaml_tree
from softlaunch.core import answer_checks, spec

KEYS = ("app", "command")
_OWN = ("ready", "answers", "predict_paths")
_TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?", re.ASCII)
_FILE_TARGET = re.compile(r"(?P<file>[\w./-]+)\.py:(?P<rest>[A-Za-z_][\w.]*(?:\(\))?)", re.ASCII)
_SHELL_WORDS = frozenset({"&&", "||", "|", ";", ">", ">>", "<", "&", "cd"})
_READY = re.compile(r"/[A-Za-z0-9._~!$&'()+,;=:@%/?-]{0,254}")
_ANSWER_PATH = re.compile(r"[^\s.]+(?:\.[^\s.]+)*")
_ANSWERS_MAX = 50
_ARGUMENTS_MAX = 100
_BOUND_MAX = 1e15


def is_app(section: fields.Section) -> bool:
    """The model is somebody's own HTTP code."""
    return any(section.has(key) for key in KEYS)


def read(section: fields.Section) -> spec.ModelSpec:
    """The model of a section in which `app` or `command` stands."""
    name = section.one_of(*KEYS) or "app"
    for key in keys.names(keys.MODEL):
        if key not in (*KEYS, *_OWN) and section.has(key):
            found = section.get(key) or section.field
            found.wrong(f"`{key}` says nothing about an app or a command.", f"Remove it, or remove `{name}`.")
    app, command, ready, answers = (section.get(key) for key in ("app", "command", "ready", "answers"))
    return spec.ModelSpec(
        source=spec.ModelSource.APP if name == "app" else spec.ModelSource.COMMAND,
        app_target=_target(app) if app is not None else None,
        command=command_words(command) if command is not None else (),
        ready_path=_ready(ready) if ready is not None else "",
        answers=_answers(answers) if answers is not None else (),
    )


def refuse_elsewhere(section: fields.Section) -> None:
    """Writes down keys that only go with an app or a command."""
    for key in _OWN:
        found = section.get(key)
        if found is not None:
            found.wrong(f"`{key}` goes with `app` or `command` only.", "Remove it; a model has its signature.")


def predict_paths(model: fields.Field | None) -> tuple[str, ...]:
    """`model.predict_paths`: those of every environment that names none of its own."""
    if model is None or not isinstance(model.node, yaml_tree.Mapping):
        return ()
    found = next((value for key, value in model.node.entries if key.text == "predict_paths"), None)
    if found is None or yaml_tree.is_null(found):
        return ()
    return recording_section.predict_paths(model.below("predict_paths", found))


def check_rest(
    reference: fields.Field | None, tests: fields.Field | None, quality: object, latency_ms_p99_max: float | None
) -> None:
    """Writes down what a build cannot ask of somebody's own code, as it has no rows and no signature."""
    if reference is not None:
        reference.wrong("Nothing is compared with the reference of an app or a command.", "Remove `reference`.")
    if tests is not None and (quality is not None or latency_ms_p99_max is not None):
        tests.wrong(
            "An app or a command has no rows that could be predicted while it is built.",
            "Keep `command`; the rollout's guardrails watch latency and answers.",
        )


def _target(field: fields.Field) -> str:
    text = field.text("module:attribute", example="service:app")
    if not text or _TARGET.fullmatch(text):
        return text
    match = _FILE_TARGET.fullmatch(text)
    example = f"{match['file'].strip('./').replace('/', '.')}:{match['rest']}" if match is not None else "service:app"
    field.wrong(f"'{problems.show(text)}' is not module:attribute.", f"As uvicorn is told it, such as {example}.")
    return text


def command_words(field: fields.Field) -> tuple[str, ...]:
    """A program and its arguments; no shell reads them."""
    if field.scalar is None:
        words = [item.scalar or "" for item in field.items("a command", example="node server.js")]
        if not all(words):
            field.wrong("An argument is no text.", "For example: [node, server.js]")
    else:
        try:
            words = shlex.split(field.scalar)
        except ValueError as error:
            field.wrong(f"The command cannot be read: {error}.", "Write it as a list: [node, server.js]")
            return ()
        shell = next((word for word in words if word in _SHELL_WORDS or word.startswith("$")), None)
        if shell is not None:
            field.wrong(
                f"'{problems.show(shell)}' belongs to a shell, and there is none.",
                'Write it as a list: [sh, -c, "..."]; it starts in the folder of softlaunch.yaml.',
            )
    if field.scalar is not None and not words:
        field.wrong("The command is empty.", "For example: node server.js")
    if len(words) > _ARGUMENTS_MAX or any("\x00" in word for word in words):
        field.wrong(f"The command has more than {_ARGUMENTS_MAX} words, or a NUL character.", "Put it into a script.")
    return tuple(words)


def _ready(field: fields.Field) -> str:
    text = field.text("a path", example="/health")
    if text and not _READY.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' is not a path.", "For example: /health")
    return text


def _answers(field: fields.Field) -> tuple[answer_checks.AnswerCheck, ...]:
    found = []
    for item in field.items("a list of checks", example="[{path: prediction.late, min: 0, max: 1}]"):
        section = fields.Section(item, keys.ANSWERS)
        path, minimum, maximum = section.need("path"), section.get("min"), section.get("max")
        low = _bound(minimum) if minimum is not None else None
        high = _bound(maximum) if maximum is not None else None
        if low is not None and high is not None and low > high:
            item.wrong(f"min {low:g} is above max {high:g}: no answer holds.", "Exchange them.")
        text = path.scalar if path is not None else None
        if path is not None and (text is None or not _ANSWER_PATH.fullmatch(text)):
            path.expected("a dotted path into the answer", example="prediction.late, or predictions.*.late")
            text = None
        if text:
            found.append(answer_checks.AnswerCheck(path=text, minimum=low, maximum=high))
    if len(found) > _ANSWERS_MAX:
        field.wrong(f"There are {len(found)} checks, more than {_ANSWERS_MAX}.", "Keep fewer.")
    return tuple(found)


def _bound(field: fields.Field) -> float:
    return field.number(above=-_BOUND_MAX, at_most=_BOUND_MAX, stand_in=0, or_zero=True)
