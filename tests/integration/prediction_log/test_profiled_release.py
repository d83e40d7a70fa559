"""A release with a reference profile in a real registry: its rows, moved by the real shipper, are compared with it."""

from __future__ import annotations

import dataclasses
import json
import time

import msgspec
import numpy as np
import typer.testing

from softlaunch.adapters.oci import registry
from softlaunch.cli import main
from softlaunch.config import home as homes
from softlaunch.core import release_json, spool
from softlaunch.core.drift import profile
from softlaunch.serving import segments
from softlaunch.testing import releases

ROW_COUNT = 400


def test_log_profile_compares_what_came_in_with_the_reference_of_the_release(tmp_path) -> None:
    chance = np.random.default_rng(8)
    directory = releases.write(tmp_path / "release", name="live")
    content = release_json.load_content((directory / "release.json").read_bytes())
    reference = [profile.profile_numeric(name, chance.normal(size=8_000)) for name in ("x0", "x1")]
    (directory / "profile.json").write_bytes(profile.dump(profile.Profile(row_count=8_000, columns=tuple(reference))))
    (directory / "release.json").write_bytes(
        release_json.dump_content(dataclasses.replace(content, profile_file="profile.json"))
    )
    home = homes.Home(tmp_path / "home", run_root=tmp_path)
    home.root.mkdir()
    digest = registry.OciRegistry(home.registry).push(directory)
    writer = segments.SegmentWriter(
        home.spool / releases.SERVICE / "production", service=releases.SERVICE, environment="production",
        release=digest.short, instance="writer", disk_bytes_max=1 << 24,
    )  # fmt: skip
    answer = b'{"prediction":{"label":1,"probability":0.5},"release":"x"}'
    bodies = [
        json.dumps({"x0": chance.normal(), "x1": chance.normal(4.0), "x2": 1.0}).encode() for _ in range(ROW_COUNT)
    ]
    rows = [
        [f"r{n}", time.time() - 60.0, 0, "/predict", "", body, 200, answer, 9, 9, "", 1, "", n, None, None]
        for n, body in enumerate(bodies)
    ]
    writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=rows)))
    writer.close()
    ask = typer.testing.CliRunner().invoke

    shipped = ask(main.APP, ["log", "ship", "--once", "--home", str(home.root)])
    assert 0 == shipped.exit_code, shipped.output
    shown = ask(main.APP, ["log", "profile", "--json", "--home", str(home.root)])
    assert 0 == shown.exit_code, shown.output

    documents = json.loads(shown.stdout)["profiles"]  # of two hours, if one has just ended
    assert [ROW_COUNT] == [each["rows"] for each in documents]
    columns = {each["name"]: each for each in documents[0]["columns"]}
    assert [True, True, False] == [columns[name]["reference"] for name in ("x0", "x1", "x2")]
    assert columns["x0"]["ks"] < 0.1  # 1.95 / sqrt(400) is its quantile of 0.999
    assert columns["x1"]["ks"] > 0.9
    assert ("answer", ROW_COUNT) == (columns["label"]["part"], columns["label"]["values"])
