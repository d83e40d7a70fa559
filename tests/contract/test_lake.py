"""What every lake promises."""

from __future__ import annotations

import pytest
import s3_kit

from softlaunch import errors
from softlaunch.adapters.lake import asking, delta
from softlaunch.adapters.lake import place as places
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake
from softlaunch.testing import lake as memory

AMOUNT = schema.Field(name="amount", kind=schema.Kind.INT)
SCORE = schema.Field(name="score", kind=schema.Kind.DOUBLE)


class Delta(delta.DeltaLake):
    def ids(self, service):
        found = asking.ask(self.place(service), "SELECT id FROM predictions ORDER BY id")
        return [name for (name,) in found.rows]


def root(request, tmp_path):
    """Of tables on this disk, or in a bucket."""
    url = request.getfixturevalue("bucket") if request.param == "s3" else None
    return places.Root(folder=tmp_path / "log", url=url)


S3 = pytest.param("s3", marks=s3_kit.MARKS)


@pytest.fixture(params=["delta", S3, "memory"])
def found(request, tmp_path):
    return memory.MemoryLake() if request.param == "memory" else Delta(root(request, tmp_path))


@pytest.fixture(params=["delta", S3])
def log(request, tmp_path):
    return Delta(root(request, tmp_path))


def row(name: str) -> lake.Values:
    values = {
        "id": f"{name}:0",
        "request_id": name,
        "row": 0,
        "time": 1_700_000_000_000_000,
        "environment": "production",
    }
    return tuple(values.get(field.name) for field in schema.ENVELOPE)


def block(*names: str, field: schema.Field = AMOUNT, value: object = 7) -> lake.Block:
    return lake.Block(
        rows=[row(name) for name in names],
        feature_fields=(field,),
        features=[(value,) for _ in names],
        answer_fields=(SCORE,),
        answers=[(0.5,) for _ in names],
    )


def made(version: int) -> progress.Progress:
    return progress.Progress(version=version, offsets={"a.spool": version * 10}, counts={"rows": version})


def test_a_log_that_is_not_there_is_empty(found) -> None:
    assert lake.TableState() == found.state("pricing")


def test_rows_and_the_place_they_make_are_there_together(found) -> None:
    found.append("pricing", [block("a", "b")], environment="production", progress=made(1))

    state = found.state("pricing")
    assert ["a:0", "b:0"] == found.ids("pricing")
    assert {"production": made(1)} == state.progress
    assert ((AMOUNT,), (SCORE,)) == (state.features, state.answer)


def test_the_same_append_twice_is_once_and_an_older_one_is_none(found) -> None:
    for version, name in ((1, "a"), (2, "b"), (2, "b"), (1, "a")):
        state = found.append("pricing", [block(name)], environment="production", progress=made(version))

    assert ["a:0", "b:0"] == found.ids("pricing")
    assert {"production": made(2)} == state.progress == found.state("pricing").progress


def test_environments_are_counted_apart(found) -> None:
    found.append("pricing", [block("a")], environment="production", progress=made(5))
    found.append("pricing", [block("b")], environment="integration", progress=made(1))

    assert {"production": made(5), "integration": made(1)} == found.state("pricing").progress
    assert ["a:0", "b:0"] == found.ids("pricing")


def test_a_new_field_joins_those_that_are_there_and_old_rows_lack_it(found) -> None:
    other = schema.Field(name="amount@fp64", kind=schema.Kind.DOUBLE)
    found.append("pricing", [block("a")], environment="production", progress=made(1))
    found.append(
        "pricing", [block("b", field=other, value=1.5), block("c")], environment="production", progress=made(2)
    )

    assert (AMOUNT, other) == found.state("pricing").features
    assert ["a:0", "b:0", "c:0"] == found.ids("pricing")


def test_a_field_that_became_another_type_meanwhile_is_a_conflict(found) -> None:
    found.append("pricing", [block("a")], environment="production", progress=made(1))
    odd = schema.Field(name="amount", kind=schema.Kind.TEXT)

    with pytest.raises(errors.ConflictError):
        found.append("pricing", [block("b", field=odd, value="x")], environment="production", progress=made(2))
    assert {"production": made(1)} == found.state("pricing").progress


def test_answers_since_a_time_are_told_once_for_all_their_rows(found) -> None:
    assert [] == list(found.answered("pricing", "production", 0.0))
    names = [field.name for field in schema.ENVELOPE]
    more = []
    for number, (at, place) in enumerate([(10, 0), (20, 0), (20, 1)]):
        values = dict(zip(names, row("a"), strict=True))
        values |= {"release": "r", "answer_number": number, "row": place, "time": (1_700_000_000 + at) * 1_000_000}
        more.append(tuple(values[name] for name in names))
    rows = lake.Block(
        rows=more, feature_fields=(AMOUNT,), features=[(7,)] * 3, answer_fields=(SCORE,), answers=[(0.5,)] * 3
    )
    found.append("pricing", [rows], environment="production", progress=made(1))

    assert [("a", "r", 0), ("a", "r", 1)] == list(found.answered("pricing", "production", 1_700_000_005.0))
    assert [("a", "r", 1)] == list(found.answered("pricing", "production", 1_700_000_020.0))
    assert [] == list(found.answered("pricing", "integration", 0.0))


def test_progress_without_rows_is_kept(found) -> None:
    found.append("pricing", [], environment="production", progress=made(1))

    assert ([], {"production": made(1)}) == (found.ids("pricing"), found.state("pricing").progress)


def test_the_view_gives_a_feature_once_whatever_types_it_had(log) -> None:
    other = schema.Field(name="amount@fp64", kind=schema.Kind.DOUBLE)
    log.append("pricing", [block("a"), block("b", field=other, value=1.5)], environment="production", progress=made(1))

    found = asking.ask(log.place("pricing"), "SELECT features, answer.score FROM predictions ORDER BY id")
    assert [({"amount": 7.0}, 0.5), ({"amount": 1.5}, 0.5)] == found.rows


def test_a_query_reads_nothing_but_the_log_and_says_when_it_is_none(log, tmp_path) -> None:
    log.append("pricing", [block("a")], environment="production", progress=made(1))
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")

    for sql in (f"SELECT * FROM '{tmp_path}/secret.csv'", "SELECT nothing FROM predictions", "what is it?"):
        with pytest.raises(errors.ConfigError) as raised:
            asking.ask(log.place("pricing"), sql)
        assert errors.Code.LOG_QUERY == raised.value.code
