"""Run in an environment with feast: makes a repository whose online store has JFK, asks it, and serves it on a port."""

from __future__ import annotations

import datetime
import json
import pathlib
import sys

import feast
import pandas as pd
from feast import types

directory, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
(directory / "feature_store.yaml").write_text(
    "project: weather\nprovider: local\nregistry: registry.db\nonline_store: {type: sqlite, path: online.db}\n"
    "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
)
store = feast.FeatureStore(repo_path=str(directory))
origin = feast.Entity(name="origin", join_keys=["origin"], value_type=feast.ValueType.STRING)
now = datetime.datetime.now(datetime.UTC)
rows = pd.DataFrame(
    {
        "origin": ["JFK", "OLD"],
        "wind": [7.5, 1.0],
        "gusts": [12, 3],
        "made_at": [now - datetime.timedelta(minutes=5), now - datetime.timedelta(days=2)],
    }
)
rows.to_parquet(directory / "weather.parquet")
view = feast.FeatureView(
    name="weather",
    entities=[origin],
    ttl=datetime.timedelta(days=7),
    schema=[feast.Field(name="wind", dtype=types.Float64), feast.Field(name="gusts", dtype=types.Int64)],
    source=feast.FileSource(path=str(directory / "weather.parquet"), timestamp_field="made_at"),
    online=True,
)
store.apply([origin, view, feast.FeatureService(name="weather_v1", features=[view])])
store.write_to_online_store("weather", rows)

from softlaunch.core import lookup_values, lookups, release  # noqa: E402
from softlaunch.serving.features import opening, source  # noqa: E402

columns = {
    "wind": release.Column(name="wind", datatype=release.Datatype.FP64),
    "squalls": release.Column(name="squalls", datatype=release.Datatype.INT64),
}
for target in ("weather", "service:weather_v1"):
    spec = lookups.LookupSpec(
        name="weather",
        source=lookups.LookupSource.FEAST,
        target=target,
        by=("origin",),
        features={"wind": 0.0, "squalls": 1},
        fields={"squalls": "gusts"},
        server=".",
        age_seconds_max=86_400.0,
    )
    asked = source.Opening(spec=spec, server=".", code=directory, connection_count=1, own_environment=True)
    answers = opening.open_one(asked).fetch([{"origin": name} for name in ("JFK", "OLD", "none")], 5.0)
    read = [lookup_values.read(spec, columns, answer, now=now.timestamp()) for answer in answers]
    print(json.dumps(read), flush=True)

store.serve(host="127.0.0.1", port=port, type_="http", no_access_log=True, workers=1, keep_alive_timeout=30)
