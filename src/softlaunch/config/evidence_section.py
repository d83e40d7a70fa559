"""
The key `evidence:` of an environment.

Trusted keys are those of the home, or files outside of the repository: who may change a commit must not choose whose
signature it needs.
"""

from __future__ import annotations

from softlaunch.config import fields, keys
from softlaunch.core import evidence_policy

_KEYS_MAX = 100
_THRESHOLD_MAX = 10


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
    )
    if named is not None:
        for name in found.keys:
            if "/" in name and not name.startswith(("/", "~/")):
                named.wrong(f"'{name}' lies inside the repository.", "Name a key of the home, or begin with / or ~/.")
        if not found.keys:
            named.wrong("No key is named.", "Name one, or remove `keys`: then every key of the home is trusted.")
        elif found.threshold > len(found.keys):
            named.wrong(f"{found.threshold} keys have to sign, and {len(found.keys)} are trusted.", "Name more.")
    return found
