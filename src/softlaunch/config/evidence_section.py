"""
The key `evidence:`, of the file (how statements are signed) and of an environment (what a release has to show).

Trusted keys are those of the home, or files outside of the repository: who may change a commit must not choose whose
signature it needs. Identities stand in the file itself, as the requirement does: protect the branch.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from softlaunch.config import fields, keys, problems
from softlaunch.core import evidence_policy, identities

_KEYS_MAX = 100
_IDENTITIES_MAX = 100
_THRESHOLD_MAX = 10
_OUTSIDE = ("/", "~/")
_OWN = ("trusted_root", "signing_config")


class _SignedBy(enum.StrEnum):
    KEY = "key"
    KEYLESS = "keyless"


def signing(field: fields.Field) -> identities.Keyless | None:
    """How builds are signed; None: by the key of the home."""
    section = fields.Section(field, keys.SIGNING)
    how = section.need("sign")
    found = how.choice(_SignedBy, stand_in=_SignedBy.KEYLESS) if how is not None else _SignedBy.KEYLESS
    if found is _SignedBy.KEY:
        section.only_with("sign: keyless", "trusted_root", "signing_config")
        return None
    places = {name: _outside(section.get(name), example=f"/etc/softlaunch/{name}.json") for name in _OWN}
    if bool(places["trusted_root"]) != bool(places["signing_config"]):
        field.wrong("Of your own Sigstore one of two files is named.", "Write `trusted_root` and `signing_config`.")
    return identities.Keyless(**places)


def read(field: fields.Field) -> evidence_policy.EvidenceSpec:
    """What a release has to show."""
    section = fields.Section(field, keys.EVIDENCE)
    require, named, threshold = section.get("require"), section.get("keys"), section.get("threshold")
    found = evidence_policy.EvidenceSpec(
        require=(
            require.choice(evidence_policy.Requirement, stand_in=evidence_policy.Requirement.SIGNED)
            if require is not None
            else evidence_policy.Requirement.NONE
        ),
        keys=named.texts("key", example="[ci]", count_max=_KEYS_MAX) if named is not None else (),
        threshold=threshold.integer(minimum=1, maximum=_THRESHOLD_MAX, stand_in=1) if threshold is not None else 1,
        people=_people(section),
    )
    if named is not None:
        for name in found.keys:
            if "/" in name and not name.startswith(_OUTSIDE):
                named.wrong(f"'{name}' lies inside the repository.", "Name a key of the home, or begin with / or ~/.")
        if not found.keys:
            named.wrong("No key is named.", "Name one, or remove `keys`: then every key of the home is trusted.")
        elif found.threshold > len(found.keys):
            named.wrong(f"{found.threshold} keys have to sign, and {len(found.keys)} are trusted.", "Name more.")
    if threshold is not None and found.threshold > 1 and found.people.identities:
        threshold.wrong(
            "A Sigstore bundle has one signature, so a threshold does not go with `identities`.", "Remove one of them."
        )
    return found


def _people(section: fields.Section) -> identities.Trust:
    listed, root = section.get("identities"), section.get("trusted_root")
    found = tuple(_identities(listed)) if listed is not None else ()
    if root is None:
        return identities.Trust(identities=found)
    path = _outside(root, example="/etc/softlaunch/trusted_root.json")
    if listed is None:
        root.wrong("`trusted_root` goes with `identities` only.", "Remove it, or write `identities`.")
    return identities.Trust(identities=found, trusted_root=path)


def _outside(field: fields.Field | None, *, example: str) -> str:
    """A path outside of the repository; empty when there is none."""
    path = field.text("a path", example=example) if field is not None else ""
    if field is not None and path and not path.startswith(_OUTSIDE):
        field.wrong(f"'{problems.show(path)}' lies inside the repository.", "Begin with / or ~/.")
    return path


def _identities(field: fields.Field) -> Iterator[identities.Identity]:
    example = "[{issuer: https://accounts.google.com, subject: ci@example.com}]"
    for number, item in enumerate(field.items("a list of identities", example=example)):
        if number == _IDENTITIES_MAX:
            field.wrong(f"There are more than {_IDENTITIES_MAX} identities.", "Keep fewer, or use a pattern.")
            return
        section = fields.Section(item, keys.IDENTITY)
        issuer, exact, pattern = section.need("issuer"), section.get("subject"), section.get("subject_regexp")
        section.one_of("subject", "subject_regexp")
        if pattern is not None:
            problem = identities.pattern_problem(pattern.scalar or "")
            if problem:
                pattern.wrong(f"As a pattern of subjects {problem}.", r"For example: '^.*@example\.com$'")
        yield identities.Identity(
            issuer=issuer.url(example="https://accounts.google.com") if issuer is not None else "",
            subject=exact.text("a subject", example="ci@example.com") if exact is not None else "",
            subject_regexp=pattern.scalar or "" if pattern is not None else "",
        )
