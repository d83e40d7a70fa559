from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file
from softlaunch.core import evidence_policy, identities

PERSON = "{issuer: https://accounts.google.com, subject: ann@example.com}"


def read(evidence: str) -> evidence_policy.EvidenceSpec:
    found = service_file.parse(
        f"service: a\nmodel: m.onnx\nenvironments: {{production: {{evidence: {{require: signed, {evidence}}}}}}}\n"
    )
    return found.environments[0].evidence


def mistakes(evidence: str) -> list[str]:
    with pytest.raises(problems.ServiceFileError) as caught:
        read(evidence)
    return [found.message for found in caught.value.problems]


def test_identities_are_read_and_no_key_is_trusted_beside_them() -> None:
    found = read(f"identities: [{PERSON}, {{issuer: https://gitlab.com, subject_regexp: '^https://gitlab.com/a/.*$'}}]")

    assert (
        identities.Identity(issuer="https://accounts.google.com", subject="ann@example.com"),
        identities.Identity(issuer="https://gitlab.com", subject_regexp="^https://gitlab.com/a/.*$"),
    ) == found.people.identities
    assert "" == found.people.trusted_root
    assert not found.keys_trusted


def test_keys_count_beside_identities_only_when_they_are_named() -> None:
    assert read(f"identities: [{PERSON}], keys: [ci]").keys_trusted
    assert read("threshold: 1").keys_trusted


def test_a_trusted_root_lies_outside_of_the_repository() -> None:
    assert "~/root.json" == read(f"identities: [{PERSON}], trusted_root: ~/root.json").people.trusted_root
    assert ["'root.json' lies inside the repository."] == mistakes(f"identities: [{PERSON}], trusted_root: root.json")
    assert ["`trusted_root` goes with `identities` only."] == mistakes("trusted_root: /root.json")


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ("{subject: ann@example.com}", "The key 'issuer' is missing."),
        ("{issuer: https://accounts.google.com}", "None of subject, subject_regexp stands here."),
        (f"{PERSON[:-1]}, subject_regexp: '^a$'}}", "`subject` and `subject_regexp` exclude each other."),
        ("{issuer: google, subject: ann@example.com}", "'google' is not an http or https URL."),
        (
            "{issuer: https://accounts.google.com, subject_regexp: '.*@example.com'}",
            "As a pattern of subjects it does not begin with ^ and end with $.",
        ),
        (
            "{issuer: https://accounts.google.com, subject_regexp: '^.*$'}",
            "As a pattern of subjects it also matches nothing at all.",
        ),
    ],
)
def test_half_an_identity_is_refused(listed, said) -> None:
    assert [said] == mistakes(f"identities: [{listed}]")


def test_a_threshold_does_not_go_with_identities() -> None:
    (said,) = mistakes(f"identities: [{PERSON}], keys: [a, b], threshold: 2")

    assert "one signature" in said
