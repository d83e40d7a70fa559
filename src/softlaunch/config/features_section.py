"""The key `features:` of softlaunch.yaml: what is looked up when a request comes, by what, and the defaults."""

from __future__ import annotations

import dataclasses
import math
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.config import fields, keys, model_section, problems, yaml_tree
from softlaunch.core import env_references, lookups, predictions, release, spec

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
_FIELD = re.compile(r"[^\s.]{1,64}(\.[^\s.]{1,64}){0,15}")
_FUNCTION = re.compile(r"(?!/)(?:[A-Za-z0-9_-]+/)*[A-Za-z_]\w*\.py:[A-Za-z_]\w*", re.ASCII)
_VIEW = re.compile(r"(service:)?[A-Za-z_]\w{0,127}", re.ASCII)
_QUERY = re.compile(r"\s*(select|with)\s", re.IGNORECASE)
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][-+]?\d{1,2})?", re.ASCII)
_COUNT_MAX = 20
"""Each has threads of its own in every model server; a guess."""
_TIMEOUT_SECONDS_MAX = 1.0
_TARGET_CHARACTERS_MAX = 4_096
_SOURCES = tuple(source.value for source in lookups.LookupSource)
_EXAMPLE = "{weather: {http: 'http://features:8080/{origin}', by: [origin], features: {wind: 5.0}}}"


def read(
    field: fields.Field, model: spec.ModelSpec | None, environments: Sequence[spec.EnvironmentSpec]
) -> tuple[lookups.LookupSpec, ...]:
    """
    The lookups, in the order of the file.

    Args:
        field: The mapping of names to lookups.
        model: Its inputs, where the file names them, are what lookups go by and give.
        environments: Their `env` holds the servers.
    """
    if model is not None and (model.app_target or model.command or model.source is spec.ModelSource.NONE):
        field.wrong(
            "Features are looked up for models, and this service brings its own HTTP.",
            "Remove `features`, and look them up in the service itself.",
        )
    found: list[lookups.LookupSpec] = []
    entries = list(field.entries("a mapping of names to lookups", example=_EXAMPLE))
    if isinstance(field.node, yaml_tree.Mapping) and not entries:
        field.wrong("There is no lookup.", f"For example: {_EXAMPLE}")
    if len(entries) > _COUNT_MAX:
        field.wrong(f"There are {len(entries)} lookups, more than {_COUNT_MAX}.", "Let one source give more features.")
        return ()
    given: dict[str, str] = {}
    for key, value in entries:
        one = _lookup(_name(key), value, model, environments)
        if one is None:
            continue
        for feature in one.features:
            if feature in given:
                value.wrong(
                    f"'{problems.show(feature)}' is looked up by {given[feature]} already.", "Keep it in one of them."
                )
            given.setdefault(feature, one.name)
        found.append(one)
    for one, (_, value) in zip(found, entries, strict=False):
        for name in one.by:
            if name in given:
                value.wrong(
                    f"'{problems.show(name)}' is itself looked up (by {given[name]}): lookups do not wait for others.",
                    "Go by what requests carry, or give both from one source.",
                )
    return tuple(found)


def _lookup(
    name: str, field: fields.Field, model: spec.ModelSpec | None, environments: Sequence[spec.EnvironmentSpec]
) -> lookups.LookupSpec | None:
    section = fields.Section(field, keys.LOOKUP)
    chosen = section.one_of(*_SOURCES)
    by, features, server = section.need("by"), section.need("features"), section.get("server")
    timeout, age, timestamp = section.get("timeout"), section.get("max_age"), section.get("timestamp")
    found_by = model_section.names(by, "value", example="[origin]") if by is not None else ()
    defaults, places = _features(features, model) if features is not None else ({}, {})
    seconds = (
        timeout.duration_seconds(minimum=0.001, maximum=_TIMEOUT_SECONDS_MAX, stand_in=0.02)
        if timeout is not None
        else 0.02
    )
    age_seconds = age.duration_seconds(minimum=0.1, maximum=365 * 86_400, stand_in=3_600) if age is not None else None
    found_timestamp = _field(timestamp) if timestamp is not None else ""
    target = section.get(chosen) if chosen is not None else None
    if chosen is None or target is None:
        return None
    source = lookups.LookupSource(chosen)
    _check_age(section, source)
    text = _target(source, target)
    _check_server(section, source, text, environments)
    if by is not None and found_by:
        _check_placeholders(target, by, lookups.placeholders(source, text), sql=source is lookups.LookupSource.SQL)
        _check_known(by, model, environments)
    return lookups.LookupSpec(
        name=name,
        source=source,
        target=text,
        by=found_by,
        features=defaults,
        server=server.scalar or "" if server is not None else "",
        timeout_seconds=seconds,
        age_seconds_max=age_seconds,
        timestamp=found_timestamp,
        fields=places,
    )


def _name(field: fields.Field) -> str:
    text = field.text("a name", example="weather")
    if text and not _NAME.fullmatch(text):
        field.wrong(
            f"'{problems.show(text)}' cannot name a lookup.",
            "Use lower-case letters, digits, hyphens and underscores, a letter first.",
        )
    return text


def _target(source: lookups.LookupSource, field: fields.Field) -> str:
    match source:
        case lookups.LookupSource.HTTP:
            text = field.text("a URL or a path", example="http://features:8080/weather/{origin}")
            if text and not text.startswith("/"):
                field.url(example="http://features:8080/weather/{origin}")
                if "{" in text.partition("://")[2].partition("/")[0]:
                    field.wrong("The host of the URL depends on the request.", "Put {name} behind the host.")
        case lookups.LookupSource.REDIS:
            text = field.text("a key", example="weather:{origin}")
        case lookups.LookupSource.SQL:
            text = field.text("a query", example="select wind from weather where origin = :origin")
            if text and not _QUERY.match(text):
                field.wrong("This is no query: it begins with neither select nor with.", "Lookups only read.")
        case lookups.LookupSource.FEAST:
            text = field.text("a feature view, or service:NAME", example="weather")
            if text and not _VIEW.fullmatch(text):
                field.wrong(
                    f"'{problems.show(text)}' names no feature view.", "For example: weather, or service:weather_v1"
                )
        case lookups.LookupSource.PYTHON:
            text = field.text("FILE.py:FUNCTION", example="lookups.py:weather")
            if text and not _FUNCTION.fullmatch(text):
                field.wrong(
                    f"'{problems.show(text)}' does not name a function in a file.", "For example: lookups.py:weather"
                )
    if len(text) > _TARGET_CHARACTERS_MAX:
        field.wrong(f"This has {len(text)} characters, more than {_TARGET_CHARACTERS_MAX}.", "Shorten it.")
    return text


def _features(field: fields.Field, model: spec.ModelSpec | None) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Defaults, and fields where they have other names."""
    defaults: dict[str, Any] = {}
    places: dict[str, str] = {}
    for key, value in field.entries("a mapping of features to defaults", example="{wind: 5.0}"):
        name = key.text("the name of a feature", example="wind")
        place: fields.Field | None = value
        if isinstance(value.node, yaml_tree.Mapping):
            written, place = _place(value, value.node)
            if written:
                places[name] = written
        defaults[name] = _default(place) if place is not None else None
        if place is not None:
            _check_default(key, place, defaults[name], model)
    if isinstance(field.node, yaml_tree.Mapping) and not defaults:
        field.wrong("It gives nothing.", "For example: {wind: 5.0}")
    return defaults, places


def _place(field: fields.Field, node: yaml_tree.Mapping) -> tuple[str, fields.Field | None]:
    """The field of a feature that has another name there, and the default, which may be null."""
    below = next((found for key, found in node.entries if key.text == "default"), None)
    is_null = below is not None and yaml_tree.is_null(below)
    entries = tuple(entry for entry in node.entries if not is_null or entry[0].text != "default")
    bare = dataclasses.replace(field, node=dataclasses.replace(node, entries=entries))
    section = fields.Section(bare, keys.LOOKUP_FEATURE)
    stands = section.get("field")
    if below is None:
        section.need("default")
    default = field.below("default", below) if below is not None else None
    return _field(stands) if stands is not None else "", default


def _default(field: fields.Field) -> Any:
    node = field.node
    if not isinstance(node, yaml_tree.Scalar):
        field.expected("a number, a text, true, false or null", example="5.0")
        return None
    if not node.plain:
        return node.text
    if field.is_null:
        return None
    if node.text in {"true", "false"}:
        return node.text == "true"
    if _INTEGER.fullmatch(node.text):
        return int(node.text)
    if _FLOAT.fullmatch(node.text) and math.isfinite(value := float(node.text)):
        return value
    if node.text.lower() in {".nan", ".inf", "-.inf", "+.inf"}:
        field.wrong(f"{node.text} is no value a model is given.", "Write a number, or null for a nullable input.")
    return node.text


def _check_default(key: fields.Field, field: fields.Field, value: Any, model: spec.ModelSpec | None) -> None:
    """Where the file names the inputs it is known here; otherwise the build knows."""
    name = key.scalar or ""
    if model is not None and model.inputs is None and model.features is not None and name not in model.features:
        key.wrong(f"'{problems.show(name)}' is no input of the model.", problems.choose(name, model.features))
    if model is None or model.inputs is None:
        return
    if name not in model.inputs:
        key.wrong(f"'{problems.show(name)}' is no input of the model.", problems.choose(name, tuple(model.inputs)))
        return
    if value is None or model.inputs[name] not in tuple(release.Datatype):
        return
    datatype = release.Datatype(model.inputs[name])
    if predictions.TAKEN[datatype](value) is None:
        field.wrong(
            f"'{problems.show(field.scalar or '')}' is not what the input takes.",
            f"Write {predictions.ALLOWED[datatype]}.",
        )


def _field(field: fields.Field) -> str:
    text = field.text("a field", example="made_at")
    if text and not _FIELD.fullmatch(text):
        field.wrong(f"'{problems.show(text)}' is not a field, or a dotted path to one.", "For example: current.wind")
    return text


def _check_age(section: fields.Section, source: lookups.LookupSource) -> None:
    age, timestamp = section.get("max_age"), section.get("timestamp")
    if source is lookups.LookupSource.FEAST:
        if timestamp is not None:
            timestamp.wrong("Feast says by itself how old its values are.", "Remove `timestamp`.")
        return
    if age is not None and not section.has("timestamp"):
        age.wrong("Nothing says how old the values are.", "Add timestamp: made_at, a field of the source's answer.")
    if timestamp is not None and not section.has("max_age"):
        timestamp.wrong("An age without a limit decides nothing.", "Add max_age: 1h, or remove `timestamp`.")


def _check_server(
    section: fields.Section,
    source: lookups.LookupSource,
    target: str,
    environments: Sequence[spec.EnvironmentSpec],
) -> None:
    field = section.get("server")
    needed = source in {lookups.LookupSource.REDIS, lookups.LookupSource.SQL, lookups.LookupSource.FEAST}
    if source is lookups.LookupSource.HTTP:
        needed = target.startswith("/")
    if field is None:
        if needed and not section.has("server"):
            section.field.wrong("Nothing says where it is asked.", "Add server: $NAME, a variable of `env`.")
        return
    if not needed:
        why = "the target is a whole URL" if source is lookups.LookupSource.HTTP else "a function asks by itself"
        field.wrong(f"`server` says nothing here: {why}.", "Remove it.")
        return
    text = field.scalar
    if not text:
        field.expected("a URL, or $NAME of a variable that holds one", example="$WEATHER_URL")
        return
    names = env_references.references(text)
    if _holds_password(text):
        field.wrong("The URL holds a password.", "Write $NAME here, and NAME under `env`: this file is committed.")
    try:
        env_references.resolve({"server": text}, dict.fromkeys(names, ""))
    except errors.ConfigError:
        field.wrong("A $ refers to nothing.", "Write $NAME of a variable, or $$ for a dollar sign.")
    for environment in environments:
        for name in names:
            if environment.attach is None and name not in {*environment.env, *environment.secrets}:
                field.wrong(
                    f"environments.{environment.name}.env has no {problems.show(name)}.",
                    f"Add env: {{{problems.show(name)}: ${problems.show(name)}}} there.",
                )


def _holds_password(text: str) -> bool:
    """A password written out; one that is a variable is none."""
    try:
        parts = urllib.parse.urlsplit(text)
        password = parts.password
        asked = urllib.parse.parse_qsl(parts.query)
    except ValueError:
        return "@" in text
    written = [password or "", *(value for name, value in asked if "password" in name.lower())]
    return any(value and not value.startswith("$") for value in written)


def _check_placeholders(target: fields.Field, by: fields.Field, asked: tuple[str, ...] | None, *, sql: bool) -> None:
    """Every value is asked for, and nothing else is; `asked` is None where all of them always are."""
    if asked is None:
        return
    mark = ":{}" if sql else "{{{}}}"
    items = {item.scalar or "": item for item in by.items("a list of names", example="[origin]")}
    for name in asked:
        if name not in items:
            shown = problems.show(mark.format(name))
            target.wrong(f"Nothing is put in for {shown}.", problems.choose(name, tuple(items)))
    for name, item in items.items():
        if name not in asked:
            shown = problems.show(mark.format(name))
            item.wrong(f"'{problems.show(name)}' decides nothing.", f"Write {shown} in the target, or remove it.")


def _check_known(by: fields.Field, model: spec.ModelSpec | None, environments: Sequence[spec.EnvironmentSpec]) -> None:
    """Where the file names the inputs it is known here what requests carry; otherwise the build knows."""
    if model is None or model.inputs is None:
        return
    captured = (environment.capture.keys for environment in environments if environment.capture is not None)
    known = (*model.inputs, *(key for keys_ in captured for key in keys_))
    for item in by.items("a list of names", example="[origin]"):
        name = item.scalar or ""
        if name not in known:
            item.wrong(
                f"'{problems.show(name)}' is no input of the model, and none of capture.keys.",
                problems.choose(name, known),
            )
