from __future__ import annotations

import numpy as np
import pytest

from softlaunch import errors
from softlaunch.controller.prediction_log import profiling
from softlaunch.core.drift import live_codec, live_profile, profile
from softlaunch.core.prediction_log import progress, schema
from softlaunch.ports import lake as lakes
from softlaunch.testing import lake as memory_lake
from softlaunch.testing import live_profiles as memory
from tests.unit.prediction_log import test_shipping as shipping_tests

HOUR = 1_000
X = schema.Field(name="x", kind=schema.Kind.DOUBLE)
ODD = schema.Field(name="flight%20no@bytes", kind=schema.Kind.TEXT)
LABEL = schema.Field(name="label", kind=schema.Kind.INT)


def row(number: int, *, hour: int = HOUR, arm: str | None = "stable", release: str = "0123456789ab"):
    values = {
        "id": f"{number}:0", "request_id": str(number), "row": 0, "release": release, "arm": arm,
        "time": hour * 3_600_000_000 + 7,
    }  # fmt: skip
    return tuple(values.get(field.name) for field in schema.ENVELOPE)


def block(rows, features=None, answers=None) -> lakes.Block:
    return lakes.Block(
        rows=rows,
        feature_fields=(X, ODD),
        features=features or [(float(number), f"f{number}") for number in range(len(rows))],
        answer_fields=(LABEL,),
        answers=answers or [(number % 2,) for number in range(len(rows))],
    )


@pytest.fixture
def store():
    return memory.MemoryProfiles()


def profiler(store, reference=None) -> profiling.Profiler:
    return profiling.Profiler(store, lambda _service, _digits: reference)


def kept(store, blocks, reference=None):
    found = profiler(store, reference)
    after = found.prepare("pricing", "production", blocks, progress.Progress(version=1))
    found.settle("pricing", "production", after)
    return dict(store.read("pricing").profiles)


def key(hour: int = HOUR, arm: str = "stable", release: str = "0123456789ab") -> live_profile.Key:
    return live_profile.Key(environment="production", release=release, arm=arm, hour=hour)


def columns(found: live_profile.LiveProfile) -> dict[str, live_profile.Column]:
    return {each.name: column for each, column in found.columns.items()}


def test_rows_are_counted_in_the_hour_and_arm_of_their_own(store) -> None:
    places = [(HOUR, "stable"), (HOUR - 30, "stable"), (HOUR, "candidate"), (HOUR, None), (HOUR, "stable")]
    rows = [row(number, hour=hour, arm=arm) for number, (hour, arm) in enumerate(places)]

    found = kept(store, [block(rows)])

    assert {
        key(): 2, key(HOUR - 30): 1, key(arm="candidate"): 1, key(arm=live_profile.UNKNOWN_ARM): 1
    } == {each: one.row_count for each, one in found.items()}  # fmt: skip
    assert (0.0, 4.0) == (columns(found[key()])["x"].minimum, columns(found[key()])["x"].maximum)
    assert 1.0 == columns(found[key(HOUR - 30)])["x"].maximum


def test_a_row_without_features_is_a_row_and_its_neighbours_are_counted(store) -> None:
    rows = [row(number, arm="stable" if number < 3 else "candidate") for number in range(5)]
    features = [(1.0, "a"), None, (None, "b"), None, (9.0, None)]
    answers = [(1,), (1,), None, None, (0,)]

    found = kept(store, [block(rows, features, answers)])

    stable, candidate = found[key()], found[key(arm="candidate")]
    assert (3, 2, 2) == (stable.row_count, stable.feature_row_count, stable.answer_row_count)
    assert (2, 1, 1) == (candidate.row_count, candidate.feature_row_count, candidate.answer_row_count)
    assert (1, 1) == (columns(stable)["x"].value_count, columns(stable)["x"].missing_count)
    assert 9.0 == columns(candidate)["x"].maximum
    assert 1 == columns(candidate)["flight no"].missing_count


def test_rows_of_an_app_are_counted_without_columns(store) -> None:
    rows = [row(number) for number in range(3)]
    app = lakes.Block(rows=rows, feature_fields=(), features=[None] * 3, answer_fields=(), answers=[None] * 3)

    found = kept(store, [app])[key()]

    assert (3, 0, {}) == (found.row_count, found.feature_row_count, dict(found.columns))


def test_features_are_counted_in_the_bins_of_their_release_reference(store) -> None:
    values = np.arange(200.0)
    reference = profile.Profile(row_count=200, columns=(profile.profile_numeric("x", values),))
    rows = [row(number) for number in range(200)]

    found = kept(store, [block(rows)], reference)[key()]

    bins = store.read("pricing").binnings
    (compared,) = [each for each in found.columns if bins[each.binning].reference_counts]
    assert "x" == compared.name
    assert reference.columns[0].edges == bins[compared.binning].edges


def test_however_rows_are_split_into_batches_the_bytes_are_the_same(store) -> None:
    chance = np.random.default_rng(3)
    rows = [row(n, hour=HOUR + int(chance.integers(3)), arm=[None, "stable", "shadow"][n % 3]) for n in range(300)]
    features = [None if n % 7 == 0 else (float(chance.normal()), f"t{n % 9}") for n in range(300)]
    answers = [None if n % 5 == 0 else (n % 2,) for n in range(300)]
    whole = {each: live_codec.encode(found) for each, found in kept(store, [block(rows, features, answers)]).items()}
    for _ in range(30):
        order = chance.permutation(300)
        other = memory.MemoryProfiles()
        counting = profiler(other)
        for number, part in enumerate(np.split(order, np.sort(chance.integers(0, 300, size=4)))):
            if not len(part):
                continue
            made = block([rows[n] for n in part], [features[n] for n in part], [answers[n] for n in part])
            after = counting.prepare("pricing", "production", [made], progress.Progress(version=number))
            counting.settle("pricing", "production", after)

        assert whole == {each: live_codec.encode(found) for each, found in other.read("pricing").profiles}


def test_a_batch_of_no_rows_is_prepared_and_counts_nothing(store) -> None:
    assert {} == kept(store, [])


def test_the_same_counts_at_another_commit_have_another_mark(store) -> None:
    counting = profiler(store)
    marks = {
        counting.prepare("pricing", "production", [block([row(0)])], progress.Progress(version=version)).profiles
        for version in (1, 1, 2)
    }

    assert 2 == len(marks)


class Interrupted(memory_lake.MemoryLake):
    """Commits, and then its caller is killed; or is killed before."""

    def __init__(self) -> None:
        super().__init__()
        self.before = self.after = False

    def append(self, *positional, **named):
        if self.before:
            raise KeyboardInterrupt
        state = super().append(*positional, **named)
        if self.after:
            raise KeyboardInterrupt
        return state


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_shipper_killed_about_its_commit_counts_each_row_once(tmp_path, store, moment) -> None:
    lake = Interrupted()
    shipping_tests.write(tmp_path, ["a", "b"])

    def shipper():
        found = shipping_tests.shipper(tmp_path, lake)
        found._profiler = profiler(store)
        return found

    setattr(lake, moment, True)
    with pytest.raises(KeyboardInterrupt):
        shipper().turn(shipping_tests.NOW + 60.0, drain=True)
    setattr(lake, moment, False)
    shipping_tests.write(tmp_path, ["c"], digits="ba9876543210")
    again = shipper()
    while again.turn(shipping_tests.NOW + 60.0, drain=True):
        pass

    assert 3 == sum(found.row_count for _, found in store.read("pricing").profiles)
    assert 3 == len(shipping_tests.rows(lake))


def test_what_cannot_be_counted_now_is_not_shipped_now(tmp_path, store) -> None:
    class Full(memory.MemoryProfiles):
        full = True

        def prepare(self, *positional, **named):
            if self.full:
                raise errors.UnavailableError("The disk is full.", remedy="", code=errors.Code.LOG_UNAVAILABLE)
            super().prepare(*positional, **named)

    full, lake = Full(), memory_lake.MemoryLake()
    shipping_tests.write(tmp_path, ["a"])
    moving = shipping_tests.shipper(tmp_path, lake)
    moving._profiler = profiler(full)
    assert 0 == moving.turn(shipping_tests.NOW + 60.0, drain=True)
    assert [] == shipping_tests.rows(lake)

    full.full = False
    assert 1 == moving.turn(shipping_tests.NOW + 120.0, drain=True)
    assert 1 == sum(found.row_count for _, found in full.read("pricing").profiles)
