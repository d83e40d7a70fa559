"""Releases and arms: what they are named, and what they are equal to."""

from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core import release

DIGEST = release.Digest("sha256:" + "3f1c" * 16)
ARM = release.arm(DIGEST, 2)


def test_an_arm_is_the_release_for_its_bytes_and_another_one_for_everybody_who_routes() -> None:
    assert (DIGEST.value, DIGEST) == (ARM.value, ARM.release)
    assert ARM not in {DIGEST, release.arm(DIGEST, 1)}
    assert ("3f1c3f1c3f1c", "3f1c3f1c3f1c_2") == (DIGEST.short, ARM.short)


def test_the_first_settings_have_the_plain_name() -> None:
    assert DIGEST == release.arm(DIGEST, 0) == release.arm(ARM, 0)
    assert release.exactly(DIGEST) != DIGEST
    assert (0, 2, 0) == tuple(map(release.settings_number, (DIGEST, ARM, release.exactly(DIGEST))))


@pytest.mark.parametrize("arm", [DIGEST, ARM, release.exactly(DIGEST)])
def test_what_is_written_down_is_read_again(arm: release.Digest) -> None:
    assert arm == release.parse(arm.text)
    assert arm.short == release.short(arm.text) == release.short(arm.short)


@pytest.mark.parametrize("text", ["", "sha256:12", f"{DIGEST.value}_", f"{DIGEST.value}_x", f"{DIGEST.value}_-1", "_1"])
def test_what_is_no_arm_is_refused(text: str) -> None:
    with pytest.raises(errors.InvariantError):
        release.parse(text)


@pytest.mark.parametrize("text", ["main", "v2_1", "feature_x", "unnamed", ""])
def test_other_names_stay_as_they_are(text: str) -> None:
    assert text == release.short(text)
