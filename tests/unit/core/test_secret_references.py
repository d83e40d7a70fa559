from __future__ import annotations

from softlaunch.core import secret_references

Kind = secret_references.SecretKind


def test_only_variables_that_are_not_set_are_missing() -> None:
    references = {
        key: secret_references.SecretReference(kind=kind, target=target)
        for key, kind, target in (
            ("B", Kind.ENV, "UNSET"),
            ("A", Kind.ENV, "ALSO"),
            ("C", Kind.ENV, "SET"),
            ("D", Kind.FILE, "/nowhere"),
            ("E", Kind.VAULT, "secret/data/x#y"),
        )
    }

    assert ("$ALSO (for A)", "$UNSET (for B)") == secret_references.missing(references, {"SET": ""})
    assert "vault secret/data/x#y" == str(references["E"])
