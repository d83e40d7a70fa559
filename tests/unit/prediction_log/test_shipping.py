from __future__ import annotations

import dataclasses
import os
import pathlib

import msgspec
import pytest

from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.spool import quarantine, tail
from softlaunch.controller.prediction_log import joining, shipping
from softlaunch.core import attempts, release, spool
from softlaunch.core.prediction_log import schema
from softlaunch.ports import gateway
from softlaunch.serving import segments
from softlaunch.testing import lake as memory

NOW = 1_700_000_000.0
DIGITS = "0123456789ab"
SIGNATURE = release.Signature(
    inputs=(release.Column(name="x", datatype=release.Datatype.FP64, nullable=True),),
    outputs=(release.Column(name="label", datatype=release.Datatype.INT64),),
)
CONTENT = release.ReleaseContent(
    service="pricing", runtime=release.Runtime.PYTHON, model_file=None, python_target=None, signature=SIGNATURE,
    lock_file=None, profile_file=None, smoke_file=None,
)  # fmt: skip


class Log:
    """A gateway's log in memory."""

    def __init__(self) -> None:
        self.attempts: list[attempts.Attempt] = []
        self.fallback_ids: tuple[str, ...] = ()

    def read(self, cursor, *, line_count_max, until=None):
        end = len(self.attempts) if until is None else until.offset
        found = tuple(self.attempts[cursor.offset : min(end, cursor.offset + line_count_max)])
        after = gateway.LogCursor(file_id=1, offset=cursor.offset + len(found))
        return gateway.LogBatch(attempts=found, cursor=after, fallback_ids=self.fallback_ids)

    def hold(self, cursor) -> None:
        pass

    def held(self):
        return None


def attempt(name: str, served: int, *, digits: str = DIGITS, number: int = 1, status: int = 200, composite=False):
    return attempts.Attempt(
        NOW, name, "pricing", "production", 1, digits, composite, number, status, "-", 900, "", False, False,
        served_count=served,
    )  # fmt: skip


def write(
    root: pathlib.Path,
    names: list[str],
    *,
    digits: str = DIGITS,
    body: bytes = b'{"x":1.5}',
    status: int = 200,
    seconds_apart: float = 0.0,
) -> pathlib.Path:
    writer = segments.SegmentWriter(
        root / "pricing" / "production", service="pricing", environment="production", release=digits,
        instance=f"i{digits}", disk_bytes_max=1 << 24,
    )  # fmt: skip
    for place, name in enumerate(names):
        row = [
            name, NOW + place * seconds_apart, 0, "/predict", "", body, status,
            b'{"prediction":{"label":1},"release":"r"}', 5, 4, "u1", 1,
            "", place, None, None,
        ]  # fmt: skip
        group = spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])
        writer.append(msgspec.msgpack.encode(group))
    writer.close()
    return max((root / "pricing" / "production").glob(f"*-{digits}-*"))


@pytest.fixture
def lake():
    return memory.MemoryLake()


def shipper(root: pathlib.Path, lake, log: Log | None = None, content=CONTENT) -> shipping.Shipper:
    return shipping.Shipper(
        segments=tail.SegmentTail(root),
        lake=lake,
        attempts=joining.Attempts(log or Log()),
        content=lambda _service, _digits: content,
    )


def rows(lake) -> list[dict]:
    names = [field.name for field in schema.ENVELOPE]
    return [dict(zip(names, row, strict=True)) for block in lake.blocks.get("pricing", ()) for row in block.rows]


def test_a_batch_waits_for_its_age_and_then_for_the_gateway(tmp_path, lake) -> None:
    log = Log()
    moving = shipper(tmp_path, lake, log)
    write(tmp_path, ["a"])
    assert [0, 0] == [moving.turn(NOW), moving.turn(NOW + 29.0)]
    late = shipper(tmp_path, lake, log)
    assert [0, 0] == [late.turn(NOW, drain=True), late.turn(NOW + 5.9, drain=True)]

    log.attempts.append(attempt("a", 0))

    assert 1 == late.turn(NOW + 5.95, drain=True)
    (row,) = rows(lake)
    assert ("a:0", "stable", 1, True, 900) == tuple(
        row[name] for name in ("id", "arm", "attempt", "served", "latency_us")
    )


def test_a_backlog_longer_than_what_is_remembered_finds_its_attempts(tmp_path, lake, monkeypatch) -> None:
    monkeypatch.setattr(joining, "GENERATION_COUNT", 40)
    monkeypatch.setattr(joining, "_LINES", 20)
    monkeypatch.setattr(shipping, "RECORDS_MAX", 20)
    names = [f"n{number}" for number in range(200)]
    log = Log()
    log.attempts = [attempt(name, place)._replace(started_at=NOW + place) for place, name in enumerate(names)]
    write(tmp_path, names, seconds_apart=1.0)

    moving = shipper(tmp_path, lake, log)
    while moving.turn(NOW + 1e6, drain=True):
        pass

    assert 200 == len(rows(lake))
    assert all(row["served"] for row in rows(lake))


def test_without_the_gateways_word_the_row_is_there_without_it_and_counted(tmp_path, lake) -> None:
    write(tmp_path, ["a"])

    assert 1 == shipper(tmp_path, lake).turn(NOW + 7.0, drain=True)
    assert (None, None) == (rows(lake)[0]["served"], rows(lake)[0]["arm"])
    assert 1 == lake.state("pricing").progress["production"].counts["unmatched"]


def test_of_a_candidates_failure_and_stables_answer_the_client_got_the_second(tmp_path, lake) -> None:
    log = Log()
    log.attempts = [
        attempt("a", 0, digits="c" * 12, composite=True, status=500),
        attempt("a", 0, number=2, composite=True),
    ]
    write(tmp_path, ["a"], digits="c" * 12, status=500)
    write(tmp_path, ["a"])

    shipper(tmp_path, lake, log).turn(NOW + 1.0, drain=True)

    found = {row["release"]: (row["arm"], row["attempt"], row["served"]) for row in rows(lake)}
    assert {"c" * 12: ("candidate", 1, False), DIGITS: ("stable", 2, True)} == found


def test_an_answer_that_a_fallback_replaced_was_not_served(tmp_path, lake) -> None:
    log = Log()
    log.attempts, log.fallback_ids = [attempt("a", 0, status=503)], ("a",)
    write(tmp_path, ["a"], status=503)

    shipper(tmp_path, lake, log).turn(NOW + 1.0, drain=True)

    assert [False] == [row["served"] for row in rows(lake)]


def test_a_new_shipper_goes_on_where_the_table_says(tmp_path, lake) -> None:
    write(tmp_path, ["a", "b"])
    assert 2 == shipper(tmp_path, lake).turn(NOW + 9.0, drain=True)
    write(tmp_path, ["c"], digits="d" * 12)

    assert 1 == shipper(tmp_path, lake).turn(NOW + 9.0, drain=True)
    assert ["a:0", "b:0", "c:0"] == lake.ids("pricing")


@pytest.mark.parametrize(("place", "reason"), [(3, "header"), (-40, "torn"), (None, "torn")])
def test_damage_is_counted_with_its_reason_and_the_rest_is_moved(tmp_path, lake, place, reason) -> None:
    broken = write(tmp_path, ["a", "b"], digits="e" * 12)
    write(tmp_path, ["c"])
    data = bytearray(broken.read_bytes())
    if place is None:
        del data[-10:]
    else:
        data[place] ^= 0xFF
    broken.write_bytes(data)
    os.utime(broken, (NOW, NOW))

    shipper(tmp_path, lake).turn(NOW + 9.0, drain=True)

    assert (["c:0"] if reason == "header" else ["a:0", "c:0"]) == lake.ids("pricing")
    found = lake.state("pricing").progress["production"]
    assert ({reason: 1}, 1) == (found.damage, found.counts["damaged_places"])
    again = shipper(tmp_path, lake)
    assert 0 == again.turn(NOW + 9.0, drain=True)
    assert found == lake.state("pricing").progress["production"]


def test_damaged_bytes_are_kept_aside_once_and_within_bounds(tmp_path, lake) -> None:
    broken = write(tmp_path / "spool", ["first", "bitten", "last"])
    whole = broken.read_bytes()
    data = bytearray(whole)
    data[data.find(b"bitten")] ^= 1
    data += b"torn" * 10
    broken.write_bytes(data)
    os.utime(broken, (NOW, NOW))

    for _ in range(2):  # a shipper that was killed reads it again
        reading = tail.SegmentTail(tmp_path / "spool", aside=quarantine.Quarantine(tmp_path / "log"))
        reading.read("pricing", "production", {}, record_count_max=100)
    kept = {path.name.split("-")[-2]: path for path in (tmp_path / "log" / "pricing" / "quarantine").iterdir()}

    begin = int(kept["checksum"].name.split("-")[-3])
    assert bytes(data)[begin:].startswith(kept["checksum"].read_bytes())
    assert kept["checksum"].read_bytes().count(b"\xf5SL\n") == 1
    assert b"torn" * 10 == kept["torn"].read_bytes()
    assert {0o600} == {path.stat().st_mode & 0o777 for path in kept.values()}
    assert 2 == len(list((tmp_path / "log" / "pricing" / "quarantine").iterdir()))

    small = quarantine.Quarantine(tmp_path / "small", bytes_max=60)
    tail.SegmentTail(tmp_path / "spool", aside=small).read("pricing", "production", {}, record_count_max=100)
    assert [40] == [path.stat().st_size for path in (tmp_path / "small" / "pricing" / "quarantine").iterdir()]


def test_what_cannot_be_kept_aside_stops_nothing(tmp_path, lake) -> None:
    broken = write(tmp_path / "spool", ["first", "bitten", "last"])
    data = bytearray(broken.read_bytes())
    data[data.find(b"bitten")] ^= 1
    broken.write_bytes(data)
    (tmp_path / "log").write_text("no folder")
    aside = quarantine.Quarantine(tmp_path / "log")

    found = tail.SegmentTail(tmp_path / "spool", aside=aside).read("pricing", "production", {}, record_count_max=9)

    assert (2, 1) == (found.record_count, len(found.damaged))


def test_answers_whose_segment_was_deleted_while_nobody_moved_any_are_counted(tmp_path, lake) -> None:
    log = Log()
    log.attempts = [attempt(name, 0)._replace(recorded=True) for name in ("a", "b")]
    log.attempts.append(attempt("c", 0, digits="d" * 12)._replace(recorded=True))
    write(tmp_path, ["a"]).unlink()
    write(tmp_path, ["c"], digits="d" * 12)

    moving = shipper(tmp_path, lake, log)
    for _ in range(3):
        moving.turn(NOW + 60.0, drain=True)

    found = lake.state("pricing").progress["production"].counts
    assert (1, 2, 0) == (found["records"], found["unacknowledged"], found["lost_bytes"])


def test_damage_in_the_middle_costs_its_group_alone(tmp_path, lake) -> None:
    broken = write(tmp_path, ["first", "bitten", "last"])
    data = bytearray(broken.read_bytes())
    data[data.find(b"bitten")] ^= 1
    broken.write_bytes(data)

    shipper(tmp_path, lake).turn(NOW + 9.0, drain=True)

    assert ["first:0", "last:0"] == lake.ids("pricing")
    assert {"checksum": 1} == lake.state("pricing").progress["production"].damage


def test_what_was_read_is_moved_although_its_segment_is_deleted_for_room(tmp_path, lake) -> None:
    moving = shipper(tmp_path, lake)
    segment = write(tmp_path, ["a"])
    assert 0 == moving.turn(NOW)
    segment.unlink()

    assert 1 == moving.turn(NOW + 40.0)


def test_bytes_that_were_deleted_before_they_were_read_are_counted(tmp_path) -> None:
    reading = tail.SegmentTail(tmp_path)
    segment = write(tmp_path, ["a", "b"])
    size = segment.stat().st_size
    first = reading.read("pricing", "production", {}, record_count_max=1)
    segment.unlink()

    found = reading.read("pricing", "production", first.offsets, record_count_max=1)

    assert size - first.offsets[segment.name] == found.lost_bytes > 0
    assert 0 == reading.read("pricing", "production", found.offsets, record_count_max=1).lost_bytes


def test_reading_tells_up_to_when_answers_were_read(tmp_path) -> None:
    first = write(tmp_path, ["a", "b", "c"], seconds_apart=1.0)
    second = write(tmp_path, ["d"], digits="d" * 12)
    reading = tail.SegmentTail(tmp_path)
    renamed = [path.rename(path.with_name(f"{int((NOW + later) * 1e3):014d}{path.name[14:]}"))
               for path, later in ((first, 0.0), (second, 1.5))]  # fmt: skip

    told, offsets = [], {}
    for _ in range(4):
        found = reading.read("pricing", "production", offsets, record_count_max=1)
        offsets = found.offsets
        told.append(found.read_until)

    assert [NOW, NOW + 1.0, NOW + 1.5, None] == told
    assert {path.name for path in renamed} == set(offsets)


def test_a_redacted_feature_costs_itself_alone_and_a_refused_request_its_features(tmp_path, lake) -> None:
    write(tmp_path, ["hashed"], body=b'{"x":"9f86d081"}')
    write(tmp_path, ["odd"], digits="f" * 12, body=b"no json", status=400)

    shipper(tmp_path, lake).turn(NOW + 9.0, drain=True)

    found = {block.rows[0][1]: (block.features, block.answers) for block in lake.blocks["pricing"]}
    assert {"hashed": ([(None,)], [(1,)]), "odd": ([None], [None])} == found
    assert {"request": 1} == lake.state("pricing").progress["production"].unread


def test_an_unknown_release_is_in_the_log_without_its_values_and_an_app_with_its_bodies(tmp_path, lake) -> None:
    write(tmp_path, ["a"])
    shipper(tmp_path, lake, content=None).turn(NOW + 9.0, drain=True)
    assert "release" == rows(lake)[0]["unread"]

    app = dataclasses.replace(CONTENT, runtime=release.Runtime.ASGI)
    write(tmp_path, ["b"], digits="a" * 12)
    shipper(tmp_path, lake, content=app).turn(NOW + 9.0, drain=True)
    assert (b'{"x":1.5}', None) == (rows(lake)[1]["request_body"], rows(lake)[1]["unread"])


def test_fields_keep_their_types_and_names_that_tables_refuse_are_escaped() -> None:
    whole = release.Column(name="flight no", datatype=release.Datatype.INT64)
    first = schema.placed((), (whole,))
    text = release.Column(name="flight no", datatype=release.Datatype.BYTES)
    capital = release.Column(name="Flight no", datatype=release.Datatype.INT64)
    second = schema.placed(first, (whole, text, capital))

    assert ["flight%20no", "flight%20no@bytes", "%46light%20no"] == [field.name for field in second]
    assert ["flight no", "flight no", "Flight no"] == [schema.feature_of(field.name) for field in second]
    assert second == schema.placed(second, (whole, text, capital))


def test_a_number_that_no_column_holds_does_not_stop_the_log(tmp_path) -> None:
    whole = dataclasses.replace(SIGNATURE, inputs=(release.Column(name="x", datatype=release.Datatype.INT64),))
    content = dataclasses.replace(CONTENT, signature=whole)
    write(tmp_path / "spool", ["huge"], body=b'{"x":%d}' % 2**70, status=422)
    write(tmp_path / "spool", ["odd"], digits="f" * 12, body=b'{"x":"\\ud800"}', status=422)
    log = delta.DeltaLake(tmp_path / "log")

    assert 2 == shipper(tmp_path / "spool", log, content=content).turn(NOW + 9.0, drain=True)

    found = asking.ask(log.place("pricing"), "SELECT request_id, features.x FROM predictions ORDER BY ALL").rows
    assert [("huge", None), ("odd", None)] == found
