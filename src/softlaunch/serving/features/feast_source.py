"""
Features from Feast's online store.

`server` is the URL of a feature server (`feast serve`), which needs no library here, or a directory of the release's
code that holds feature_store.yaml, which needs feast itself. Feast knows how old its values are.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from softlaunch.core import lookup_values
from softlaunch.serving.features import http_source, source

_SERVICE = "service:"
_PRESENT = "PRESENT"
_OUTSIDE_MAX_AGE = "OUTSIDE_MAX_AGE"


def _fields(opening: source.Opening) -> list[str]:
    return [opening.spec.field(feature) for feature in opening.spec.features]


class FeastServer:
    """A feature server, by HTTP. See source.Source."""

    batch_count_max = 100

    def __init__(self, opening: source.Opening) -> None:
        spec = opening.spec
        self._by = spec.by
        self._client = http_source.Client(
            http_source.place(opening, opening.server), kept_count=opening.connection_count
        )
        if spec.target.startswith(_SERVICE):
            self._asked: dict[str, Any] = {"feature_service": spec.target.removeprefix(_SERVICE)}
        else:
            self._asked = {"features": [f"{spec.target}:{field}" for field in _fields(opening)]}

    def fetch(self, wanted: Sequence[Mapping[str, Any]], seconds: float) -> list[lookup_values.Answer]:
        """See source.Source.fetch."""
        entities = {name: [values[name] for values in wanted] for name in self._by}
        body = msgspec.json.encode({**self._asked, "entities": entities, "full_feature_names": False})
        status, answer = self._client.ask("POST", "/get-online-features", seconds, body)
        if status != 200:
            raise OSError(f"it answered {status}")
        document = msgspec.json.decode(answer)
        names = document["metadata"]["feature_names"]
        columns = dict(zip(names, document["results"], strict=True))
        return [answer_of(columns, number) for number in range(len(wanted))]

    def close(self) -> None:
        """See source.Source.close."""
        self._client.close()


def answer_of(columns: Mapping[str, Mapping[str, Any]], number: int) -> lookup_values.Answer:
    """What a feature server said of the entity of this number, by feature name."""
    fields: dict[str, Any] = {}
    made_at: dict[str, float] = {}
    stale = set()
    for name, column in columns.items():
        status = column["statuses"][number]
        at = lookup_values.moment(column.get("event_timestamps", [])[number]) if status == _PRESENT else None
        if status == _PRESENT:
            fields[name] = column["values"][number]
        elif status == _OUTSIDE_MAX_AGE:
            stale.add(name)
        if at is not None:
            made_at[name] = at
    return lookup_values.Answer(fields, made_at, frozenset(stale))


class FeastStore:
    """The repository itself, through feast. See source.Source."""

    batch_count_max = 100

    def __init__(self, opening: source.Opening) -> None:
        """
        Raises:
            ConfigError: feast is not there, or the directory is no feature repository.
        """
        try:
            feast = importlib.import_module("feast")
        except ModuleNotFoundError as error:
            raise source.library_missing(opening, "feast") from error
        spec = opening.spec
        directory = opening.code / opening.server
        if not (directory / "feature_store.yaml").is_file():
            raise source.unusable(
                spec,
                "its `server` is neither the URL of a feature server nor a directory with feature_store.yaml",
                remedy="Write the URL of `feast serve`, or commit the repository and name its directory.",
            )
        self._store = feast.FeatureStore(repo_path=str(directory))
        self._by = spec.by
        self._asked: Any = [f"{spec.target}:{field}" for field in _fields(opening)]
        if spec.target.startswith(_SERVICE):
            self._asked = self._store.get_feature_service(spec.target.removeprefix(_SERVICE))

    def fetch(self, wanted: Sequence[Mapping[str, Any]], _seconds: float) -> list[lookup_values.Answer]:
        """See source.Source.fetch; feast is told of no time."""
        response = self._store.get_online_features(
            features=self._asked, entity_rows=[{name: values[name] for name in self._by} for values in wanted]
        )
        found = response.to_dict(include_event_timestamps=True)
        answers = []
        for number in range(len(wanted)):
            fields = {name: column[number] for name, column in found.items() if not name.endswith("__ts")}
            made_at = {name: float(found[f"{name}__ts"][number]) for name in fields if f"{name}__ts" in found}
            answers.append(lookup_values.Answer(fields, made_at))
        return answers

    def close(self) -> None:
        """See source.Source.close."""


def open_source(opening: source.Opening) -> FeastServer | FeastStore:
    """See opening.opened."""
    return FeastServer(opening) if "://" in opening.server else FeastStore(opening)
