from __future__ import annotations

import json
import random

import pytest

from softlaunch.core.stats import answers


def counted(given: list[str]) -> answers.AnswerCounts:
    counts = answers.AnswerCounts()
    for answer in given:
        counts.add(answer)
    return counts


def test_numbers_are_cut_at_their_quantiles() -> None:
    rng = random.Random(1)
    given = [f"n:{rng.gauss(0.0, 1.0):.4g}" for _ in range(20_000)]
    bins = counted(given).bins()
    shares = [0] * bins.bin_count
    for answer in given:
        shares[bins.bin_of(answer)] += 1

    # Cells are 1 % wide, so a bin is off by less than 1 % of 2.5 (the width at one deviation) times the density.
    assert [0.1, 0.15, 0.25, 0.25, 0.15, 0.1, 0.0] == pytest.approx([n / 20_000 for n in shares], abs=0.012)


def test_a_favourite_number_has_a_bin_of_its_own() -> None:
    bins = counted(["n:0"] * 50 + [f"n:{number}" for number in range(1, 51)]).bins()

    assert bins.bin_of("n:0") != bins.bin_of("n:1")
    assert bins.bin_of("n:0") != bins.bin_of("n:-1")


def test_a_constant_answer_has_neighbours() -> None:
    bins = counted(["n:0.5"] * 300).bins()

    assert 3 == len({bins.bin_of(answer) for answer in ("n:0.4", "n:0.5", "n:0.6")})


def test_classes_are_bins_and_the_rest_is_something_else() -> None:
    bins = counted(["c:cat"] * 5 + ["c:dog"] * 3 + ["n:1"]).bins()

    assert [0, 1, 2, 2, 2] == [bins.bin_of(answer) for answer in ("c:cat", "c:dog", "c:owl", "n:1", "n:nan")]
    assert ["cat", "dog", "something else"] == [bins.label(index) for index in range(bins.bin_count)]


def test_what_is_kept_is_bounded() -> None:
    counts = counted(
        [f"c:{number}" for number in range(10_000)] + [f"n:{10.0 ** (number % 300)}" for number in range(999)]
    )
    document = counts.to_json()

    assert 32 == len(document["classes"])
    assert len(document["cells"]) <= 25
    assert 10_999 == counts.count
    assert counts.bins().bin_count <= 13


def test_json_brings_back_equal_counts() -> None:
    counts = counted(["n:0.42", "n:-3", "n:0", "c:cat", "c:cat", ""])
    again = answers.AnswerCounts.from_json(json.loads(json.dumps(counts.to_json())))

    assert (5, counts.to_json()) == (again.count, again.to_json())


def test_labels_name_the_edges() -> None:
    bins = counted([f"n:{number}" for number in range(-50, 51)]).bins()

    assert bins.label(0).startswith("at most -")
    assert bins.label(bins.bin_count - 2).startswith("above ")
    assert all(bins.label(index) for index in range(bins.bin_count))
