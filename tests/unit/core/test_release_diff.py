"""What is different between two releases, part by part."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softlaunch.core import release, release_diff
from softlaunch.core.drift import profile

CONTENT = release.ReleaseContent(
    service="demo",
    runtime=release.Runtime.ONNX,
    model_file="model/model.onnx",
    python_target=None,
    signature=release.Signature(inputs=(), outputs=()),
    lock_file="requirements.lock",
    profile_file="profile.json",
    smoke_file=None,
)
AGE = release.Column(name="age", datatype=release.Datatype.INT64)


def changes(found: tuple[release_diff.Change, ...]) -> list[tuple]:
    return [(each.name, each.before, each.after) for each in found]


@given(st.lists(st.sampled_from(["a\n", "b\n", "c\n", ""]), max_size=8), st.lists(st.sampled_from(["a\n", "b\n", "d"])))
def test_added_and_removed_lines_are_what_makes_one_file_the_other(one, other) -> None:
    before, after = "".join(one), "".join(other)
    found = release_diff.compare_file("x.py", before.encode(), after.encode())

    assert after.count("\n") + (not after.endswith("\n") and after != "") == (
        before.count("\n") + (not before.endswith("\n") and before != "") + found.added_lines - found.removed_lines
    )


def test_git_applies_the_patch(tmp_path: pathlib.Path) -> None:
    before, after = b"one\ntwo\x0c\nthree\n--- a\n", b"one\n2\x0c\nthree\n+++ b"
    (tmp_path / "x.py").write_bytes(before)
    found = release_diff.compare_file("x.py", before, after)

    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=found.patch.encode(), check=True)

    assert after == (tmp_path / "x.py").read_bytes()
    assert (2, 2) == (found.added_lines, found.removed_lines)


@pytest.mark.parametrize(
    ("before", "after", "kind", "binary"),
    [
        (None, b"a\n", "added", False),
        (b"a\n", None, "removed", False),
        (b"a\n", b"b\n", "changed", False),
        (b"a\n", b"a\n", "mode", False),
        (b"\0", b"\1\0", "changed", True),
        (b"\xff", b"\xfe", "changed", True),
        (b"a\n" * 30_000, b"b\n" * 30_000, "changed", True),
    ],
)
def test_what_became_of_a_file(before, after, kind, binary) -> None:
    found = release_diff.compare_file("x", before, after)

    assert (kind, binary) == (found.kind, found.binary)


def test_packages_that_came_went_and_changed_are_told_by_their_normal_names() -> None:
    before = b"""\
# made by uv
numpy==2.0.1 \\
    --hash=sha256:aa
Old_Package[extra]==1 ; python_version < '3.12'
tool @ https://example.com/tool.whl
--require-hashes
"""
    after = b"numpy==2.1.0 --hash=sha256:bb\npandas==2.2.0\ntool @ https://example.com/tool.whl\n"

    assert [
        ("numpy", "2.0.1", "2.1.0"),
        ("old-package", "1", None),
        ("pandas", None, "2.2.0"),
    ] == changes(release_diff.compare_packages(before, after))


def test_the_same_versions_with_other_hashes_are_not_the_same() -> None:
    found = release_diff.compare_packages(b"numpy==2 --hash=sha256:aa\n", b"numpy==2 --hash=sha256:bb\n")

    assert ["the same versions with other hashes"] == [each.note for each in found]
    assert () == release_diff.compare_packages(b"numpy==2\n", b"numpy==2\n")
    assert [("numpy", None, "2")] == changes(release_diff.compare_packages(None, b"numpy==2\n"))


def test_columns_that_came_went_and_changed_and_their_order() -> None:
    fare = release.Column(name="fare", datatype=release.Datatype.FP64, nullable=True)
    before = release.Signature(inputs=(AGE, fare), outputs=(release.Column(name="p", datatype=release.Datatype.FP32),))
    after = release.Signature(
        inputs=(fare, dataclasses.replace(AGE, datatype=release.Datatype.FP64)),
        outputs=(release.Column(name="p", datatype=release.Datatype.FP32, minimum=0.0, maximum=1.0),),
    )

    assert [
        ("input age", "INT64", "FP64"),
        ("order of inputs", "age, fare", "fare, age"),
        ("output p", "FP32", "FP32, >= 0, <= 1"),
    ] == changes(release_diff.compare_signatures(before, after))
    assert () == release_diff.compare_signatures(before, before)


def test_gates_are_told_with_their_difference() -> None:
    old, new = (release.GateResult(name="auc", passed=True, value=value, threshold=">= 0.7") for value in (0.75, 0.875))
    extra = release.GateResult(name="rmse", passed=True, value=1.0, threshold="<= 2")

    found = release_diff.compare_gates([old, extra], [new])

    assert [("auc", 0.125), ("rmse", None)] == [(each.name, each.difference) for each in found]
    assert () == release_diff.compare_gates([old], [old])


def test_of_the_features_that_moved_the_farthest_comes_first() -> None:
    random = np.random.default_rng(3)
    base = random.normal(size=2_000)
    before, after = (
        profile.Profile(
            row_count=2_000,
            columns=(
                profile.profile_numeric("little", base + little),
                profile.profile_numeric("much", base + much),
                profile.profile_numeric("still", base),
                profile.profile_categories("word", ["a"] * (1_000 + words) + ["b"] * (1_000 - words)),
            ),
        )
        for little, much, words in ((0.0, 0.0, 0), (0.1, 3.0, 500))
    )

    found = release_diff.compare_profiles(before, after)

    assert ["much", "word", "little"] == [each.name for each in found]
    assert ["kolmogorov_smirnov", "total_variation", "kolmogorov_smirnov"] == [each.statistic for each in found]


def test_a_feature_that_is_only_on_one_side_or_of_another_kind_is_told_so() -> None:
    values = np.arange(100.0)
    before = profile.Profile(
        row_count=100, columns=(profile.profile_numeric("gone", values), profile.profile_numeric("kind", values))
    )
    after = profile.Profile(row_count=100, columns=(profile.profile_categories("kind", ["a"] * 100),))

    assert [("gone", "only before", None), ("kind", "numbers on one side, categories on the other", None)] == [
        (each.name, each.note, each.distance) for each in release_diff.compare_profiles(before, after)
    ]


def test_missing_values_alone_are_a_change() -> None:
    values = np.arange(100.0)
    gaps = values.copy()
    gaps[::4] = np.nan
    before, after = (
        profile.Profile(row_count=100, columns=(profile.profile_numeric("x", each),)) for each in (values, gaps)
    )

    (found,) = release_diff.compare_profiles(before, after)

    assert (0.0, 0.25) == (found.missing_before, found.missing_after)


def test_every_field_of_a_release_s_description_is_told_of_somewhere() -> None:
    other = dataclasses.replace(
        CONTENT, runtime=release.Runtime.SKLEARN, model_file="model/model.joblib", ready_path="/x"
    )

    assert [
        ("model_file", "model/model.onnx", "model/model.joblib"),
        ("ready_path", "", "/x"),
        ("runtime", "onnx", "sklearn"),
    ] == changes(release_diff.compare_runtimes(CONTENT, other))
    told = {"signature", "gates", "lock_file", "profile_file", "smoke_file"}
    names = {field.name for field in dataclasses.fields(release.ReleaseContent)}
    differing = {name: f"not {name}" for name in names - told}
    assert names - told == {
        each.name for each in release_diff.compare_runtimes(CONTENT, dataclasses.replace(CONTENT, **differing))
    }
