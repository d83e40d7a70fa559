from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from softlaunch import errors
from softlaunch.core import release
from softlaunch.core.drift import binning, distances, live_codec, live_profile, profile, sketch

FP64, FP32, INT64, BYTES, BOOL = (
    release.Datatype.FP64, release.Datatype.FP32, release.Datatype.INT64, release.Datatype.BYTES, release.Datatype.BOOL
)  # fmt: skip
CHANCE = np.random.default_rng(61)
REFERENCE = CHANCE.normal(size=60_000)


def numeric(datatype=FP64, reference=REFERENCE) -> binning.Binning:
    found = profile.profile_numeric("x", reference)
    return binning.of_column(datatype, found, reference_row_count=len(reference))


def column(bins: binning.Binning, values) -> live_profile.Column:
    return live_profile.counted(bins.count(bins.values(values)))


def of_rows(bins: dict[str, binning.Binning], rows: list[tuple]) -> live_profile.LiveProfile:
    columns = {}
    if rows:
        for (name, each), values in zip(bins.items(), zip(*rows, strict=True), strict=True):
            key = live_profile.ColumnKey(part=live_profile.FEATURES, name=name, binning=each.digest)
            columns[key] = column(each, values)
    return live_profile.LiveProfile(row_count=len(rows), feature_row_count=len(rows), columns=columns)


BINS = {
    "amount": numeric(),
    "free": binning.of_column(FP64, None),
    "carrier": binning.of_column(
        BYTES, profile.profile_categories("carrier", ["AA", "UA", "DL", None] * 50), reference_row_count=200
    ),
    "note": binning.of_column(BYTES, None),
    "late": binning.of_column(BOOL, None),
}


def some_rows(count: int) -> list[tuple]:
    odd = [None, float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e300, 5]
    return [
        (
            odd[number % 8] if number % 5 == 0 else float(CHANCE.normal()),
            float(CHANCE.lognormal(sigma=5.0)),
            [None, "AA", "UA", "never seen", ""][int(CHANCE.integers(5))],
            f"note {CHANCE.integers(100)}" if number % 3 else None,
            [None, True, False][number % 3],
        )
        for number in range(count)
    ]


def test_a_thousand_random_splits_merge_to_the_same_bytes() -> None:
    rows = some_rows(60)
    whole = live_codec.encode(of_rows(BINS, rows))
    pool = [of_rows(BINS, [row]) for row in rows]
    for _ in range(1_000):
        order = CHANCE.permutation(len(rows))
        cuts = np.sort(CHANCE.integers(0, len(rows) + 1, size=int(CHANCE.integers(0, 4))))
        parts = np.split(order, cuts)
        # The greatest part is counted at once, the others in a tree of merges of merges of single rows.
        first, *others = sorted(parts, key=len, reverse=True)
        merged = [of_rows(BINS, [rows[place] for place in first])]
        merged += [of_rows(BINS, [rows[place] for place in part]) for part in others[1:]]
        merged += [live_profile.merge(pool[place] for place in others[0])] if others else []
        while len(merged) > 1:
            one, other = (merged.pop(int(CHANCE.integers(len(merged)))) for _ in range(2))
            merged.append(live_profile.merge([one, other]))

        assert whole == live_codec.encode(merged[0])


def test_bytes_tell_the_whole_profile() -> None:
    found = dataclasses.replace(of_rows(BINS, some_rows(50)), row_count=60, answer_row_count=3)

    assert found == live_codec.decode(live_codec.encode(found))
    assert live_profile.LiveProfile() == live_codec.decode(live_codec.encode(live_profile.merge([])))


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 300, -1])
def test_cut_bytes_are_refused(kept: int) -> None:
    whole = live_codec.encode(of_rows(BINS, some_rows(50)))

    with pytest.raises(errors.UnavailableError, match="cannot be read"):
        live_codec.decode(whole[:kept])


def test_bytes_that_are_none_of_a_profile_are_refused() -> None:
    whole = live_codec.encode(of_rows(BINS, some_rows(50)))
    for wrong in (b"SLP2" + whole[4:], whole + b"x", b"SLP1" + b"\x01\x05\x00\x00"):
        with pytest.raises(errors.UnavailableError, match="cannot be read"):
            live_codec.decode(wrong)


def test_counts_that_no_column_holds_are_refused() -> None:
    head = b"SLP1" + bytes([1, 1, 0, 1]) + b"\x00\x01x" + bytes(binning.DIGEST_BYTES) + b"\x00\x00\x00\x02"
    for counts in (b"\x80" * 40, b"\x80" * 9 + b"\x01\x01"):
        with pytest.raises(errors.UnavailableError, match="cannot be read"):
            live_codec.decode(head + counts)
    empty = head[:-1] + b"\x00" + bytes(sketch.PACKED_BYTES)
    assert [()] == [each.counts for each in live_codec.decode(empty).columns.values()]


def test_a_column_takes_at_most_4096_bytes_however_many_rows_it_counts() -> None:
    # A count of 7 bytes costs 2**42 rows where one of 6 costs 2**35: as many as ROWS_MAX pays for are of 7.
    dear, cheap = 1 << 42, 1 << 35
    dear_count = (live_profile.ROWS_MAX - binning.BIN_COUNT_MAX * cheap) // (dear - cheap)
    counts = [dear] * dear_count + [cheap] * (binning.BIN_COUNT_MAX - dear_count)
    assert sum(counts) <= live_profile.ROWS_MAX
    worst = live_profile.Column(
        counts=tuple(counts), missing_count=live_profile.ROWS_MAX, infinite_count=live_profile.ROWS_MAX,
        minimum=-1e308, maximum=1e308, registers=b"\xff" * sketch.PACKED_BYTES,
    )  # fmt: skip

    size = len(live_codec.encode_column(worst)) + binning.DIGEST_BYTES + 1

    assert 3_900 < size <= live_codec.COLUMN_BYTES_MAX


def test_more_rows_than_fit_are_refused() -> None:
    most = live_profile.LiveProfile(row_count=live_profile.ROWS_MAX)

    with pytest.raises(errors.InvariantError):
        live_profile.merge([most, live_profile.LiveProfile(row_count=1)])


def test_no_binning_has_more_bins_than_fit() -> None:
    assert [512, 512, 4, 256, 3] == [each.bin_count for each in BINS.values()]
    many = profile.profile_categories("x", [str(number % 300) for number in range(5_000)])
    assert 257 == binning.of_column(BYTES, many).bin_count


def test_missing_infinite_and_finite_values_are_counted_apart() -> None:
    found = column(BINS["amount"], [None, float("nan"), float("inf"), -float("inf"), -0.0, 3, 1.5])

    assert (2, 2, 3) == (found.missing_count, found.infinite_count, found.value_count)
    assert (0.0, 3.0) == (found.minimum, found.maximum)
    assert "0.0" == str(found.minimum)
    assert 3 == round(found.distinct_count)


def test_values_that_are_no_numbers_are_missing_and_their_neighbours_stay() -> None:
    found = column(BINS["amount"], [1.0, "much", 10**400, 2])

    assert (2, 2) == (found.value_count, found.missing_count)


def test_a_column_without_a_value_is_known_to_have_none() -> None:
    found = column(BINS["amount"], [None, None])

    assert (0, 2, None, None, 0.0) == (
        found.value_count, found.missing_count, found.minimum, found.maximum, found.distinct_count
    )  # fmt: skip


def test_categories_that_the_reference_does_not_name_are_other() -> None:
    found = column(BINS["carrier"], ["UA", "UA", "XX", None, "AA", 7])

    assert {"AA": 1, "UA": 2, "DL": 0} == dict(zip(BINS["carrier"].categories, found.counts, strict=False))
    assert (2, 1) == (found.counts[-1], found.missing_count)


def test_bools_are_counted_by_their_names() -> None:
    found = column(BINS["late"], [True, False, True, None])

    assert ((1, 2, 0), 1) == (found.counts, found.missing_count)


def test_bins_are_those_of_the_reference_joined() -> None:
    reference = profile.profile_numeric("x", REFERENCE)
    bins = BINS["amount"]

    assert len(reference.counts) > binning.BIN_COUNT_MAX == bins.bin_count
    assert set(bins.edges) <= set(reference.edges)
    assert sum(reference.counts) == sum(bins.reference_counts)
    counted = REFERENCE[profile.counting_half(len(REFERENCE))]
    assert bins.reference_counts == column(bins, counted).counts


def test_float32_values_fall_where_the_reference_has_them_whatever_its_own_precision() -> None:
    values = np.round(CHANCE.uniform(0, 1, 4_000), 2)
    for reference in (values, values.astype(np.float32).astype(np.float64)):
        bins = numeric(FP32, reference)
        exact = [float(value) for value in values]
        single = [float(value) for value in values.astype(np.float32)]

        assert column(bins, exact).counts == column(bins, single).counts
        counting = [exact[place] for place in np.flatnonzero(profile.counting_half(len(values)))]
        assert bins.reference_counts == column(bins, counting).counts
    assert 1 == column(bins, [1e39]).infinite_count


def test_a_reference_of_the_other_kind_is_not_compared_with() -> None:
    text = profile.profile_categories("x", ["a", "b"] * 20)
    assert () == binning.of_column(INT64, text).reference_counts
    assert binning.Kind.HASHED is binning.of_column(BYTES, profile.profile_numeric("x", REFERENCE)).kind


def test_binnings_are_read_again_and_told_apart_by_their_digest() -> None:
    for bins in BINS.values():
        again = binning.load(bins.document())
        assert (bins, bins.digest) == (again, again.digest)
    assert len({bins.digest for bins in BINS.values()}) == len(BINS)
    for wrong in (b"{}", b"[]", b"no", b'{"kind":"other"}', b'{"kind":"hashed","more":1}'):
        with pytest.raises(errors.UnavailableError):
            binning.load(wrong)


@pytest.mark.parametrize("count", [1, 10, 300, 2_500, 20_000, 300_000])
def test_distinct_counts_are_within_five_standard_errors(count: int) -> None:
    registers = sketch.empty()
    sketch.add(registers, sketch.hash_numbers(np.arange(count, dtype=np.float64)))
    texts = sketch.empty()
    sketch.add(texts, sketch.hash_texts(str(number) for number in range(min(count, 20_000))))

    tolerance = 5 * 1.04 / math.sqrt(sketch.REGISTER_COUNT)
    assert abs(sketch.estimate(registers) / count - 1) < tolerance
    assert abs(sketch.estimate(texts) / min(count, 20_000) - 1) < tolerance


def test_a_sketch_keeps_the_longest_run_of_zeros() -> None:
    registers = sketch.empty()
    sketch.add(registers, np.array([0, 1 << 53, (1 << 54) + (1 << 53), (1 << 54) + 2, 1], dtype=np.uint64))

    assert [sketch.RANK_MAX, 53] == registers[:2].tolist()
    assert registers.tolist() == sketch.unpack(sketch.pack(registers)).tolist()
    assert 0.0 == sketch.estimate(sketch.empty())
    registers[5:900] = sketch.RANK_MAX
    assert sketch.estimate(registers) > 1_000
    full = np.full(sketch.REGISTER_COUNT, sketch.RANK_MAX, dtype=np.uint8)
    assert sketch.estimate(full) > 1e15


def test_equal_samples_are_about_as_far_apart_as_chance_has_it() -> None:
    bins = BINS["amount"]
    found = [
        distances.between_counts(column(bins, CHANCE.normal(size=3_000)).counts, bins.reference_counts, ordered=True)
        for _ in range(60)
    ]
    # Of 60 chi-squares of 19 degrees the mean's standard error is 4.2 %.
    assert found[0].psi_by_chance == pytest.approx(np.mean([each.psi for each in found]), rel=0.25)


def test_distances_are_those_of_the_distributions() -> None:
    bins = BINS["amount"]
    live = CHANCE.normal(0.5, size=40_000)
    found = distances.between_counts(column(bins, live).counts, bins.reference_counts, ordered=True)
    # Two normals half a standard deviation apart: KS is 2 Phi(1/4) - 1, symmetric KL is 1/4; groups lose some of it.
    assert found.ks == pytest.approx(math.erf(0.25 / math.sqrt(2)), abs=0.012)
    assert 0.22 < found.psi < 0.26
    assert 0.0 < found.js < 0.1

    apart = distances.between_counts([5, 0], [0, 9], ordered=False)
    assert (1.0, None) == (apart.js, apart.ks)
    assert math.isfinite(apart.psi)
    same = distances.between_counts([10, 20, 0], [100, 200, 0], ordered=True)
    assert (0.0, 0.0) == (same.js, same.ks)
    assert distances.between_counts([0, 0], [1, 2], ordered=True) is None
    assert distances.between_counts([1, 2], [0, 0], ordered=True) is None
