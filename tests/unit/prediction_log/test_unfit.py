"""Values that the table refuses, met with a real table."""

from __future__ import annotations

import math

import msgspec
import pytest

from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.spool import tail
from softlaunch.controller.prediction_log import joining, shipping, unfit
from softlaunch.core import release, spool
from softlaunch.core.prediction_log import schema
from softlaunch.ports import gateway, lake
from softlaunch.serving import segments

NOW = 1_700_000_000.0
DIGITS = "0123456789ab"
CONTENT = release.ReleaseContent(
    service="pricing", runtime=release.Runtime.PYTHON, model_file=None, python_target=None,
    signature=release.Signature(
        inputs=(release.Column(name="x", datatype=release.Datatype.FP64),),
        outputs=(release.Column(name="label", datatype=release.Datatype.INT64),),
    ),
    lock_file=None, profile_file=None, smoke_file=None,
)  # fmt: skip


class SilentLog:
    def read(self, cursor, *, line_count_max, until=None):
        return gateway.LogBatch(attempts=(), cursor=cursor)

    def hold(self, cursor) -> None:
        pass

    def held(self):
        return None


def test_a_value_no_table_holds_costs_itself_and_holds_up_nothing(tmp_path) -> None:
    writer = segments.SegmentWriter(
        tmp_path / "spool/pricing/production", service="pricing", environment="production", release=DIGITS,
        instance="i", disk_bytes_max=1 << 24,
    )  # fmt: skip
    for place, (name, service_us) in enumerate((("a", 5), ("b", 1 << 63), ("c", 7))):
        row = [
            name, NOW, 0, "/predict", "", b'{"x":1.5}', 200, b'{"prediction":{"label":1},"release":"r"}', service_us,
            4, "u1", 1, "", place, None, None,
        ]  # fmt: skip
        writer.append(msgspec.msgpack.encode(spool.Group(offset=0.0, memory_kib=1, dropped=0, rows=[row])))
    writer.close()
    table = delta.DeltaLake(tmp_path / "log")
    shipper = shipping.Shipper(
        segments=tail.SegmentTail(tmp_path / "spool"), lake=table, attempts=joining.Attempts(SilentLog()),
        content=lambda _service, _digits: CONTENT,
    )  # fmt: skip

    assert 3 == shipper.turn(NOW + 7.0, drain=True)
    assert 0 == shipper.turn(NOW + 8.0, drain=True)

    asked = "SELECT request_id, service_us, features.x, answer.label, unread FROM predictions ORDER BY 1"
    assert [("a", 5, 1.5, 1, None), ("b", None, 1.5, 1, "value"), ("c", 7, 1.5, 1, None)] == asking.ask(
        table.place("pricing"), asked
    ).rows
    assert {"value": 1} == table.state("pricing").progress["production"].unread


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (schema.Kind.INT, -(1 << 63), 1 << 63),
        (schema.Kind.TIME, 0, 1 << 80),
        (schema.Kind.TEXT, "ä", "\ud800"),
        (schema.Kind.TEXT, None, 7),
        (schema.Kind.DOUBLE, math.nan, 1 << 80),
        (schema.Kind.BOOL, True, 2),
        (schema.Kind.RAW, b"", "text"),
        (schema.Kind.TEXT_MAP, [("k", None)], [("k", "\ud800")]),
    ],
)
def test_what_a_field_holds(kind, good, bad) -> None:
    assert (True, False) == (unfit.fits(kind, good), unfit.fits(kind, bad))


def test_the_last_remedy_leaves_what_names_the_row() -> None:
    names = [field.name for field in schema.ENVELOPE]
    row = tuple(
        name if field.kind is schema.Kind.TEXT else 1 for name, field in zip(names, schema.ENVELOPE, strict=True)
    )
    fields = (schema.Field(name="x", kind=schema.Kind.DOUBLE),)
    block = lake.Block(rows=[row], feature_fields=fields, features=[(1.0,)], answer_fields=fields, answers=[(2.0,)])

    *_, ((bare,), count) = unfit.remedies([block])

    found = dict(zip(names, bare.rows[0], strict=True))
    assert (1, [None], [None]) == (count, bare.features, bare.answers)
    assert ("id", 1, "value", None) == (found["id"], found["time"], found["unread"], found["key"])
