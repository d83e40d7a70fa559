from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file
from softlaunch.core import secret_references, spec_json

Kind = secret_references.SecretKind
YAML = """\
service: s
model: model.joblib
environments:
  production:
"""


def read(lines: str):
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    return service_file.parse(YAML + indented).environments[0]


def test_texts_and_what_is_kept_elsewhere_are_told_apart() -> None:
    found = read(
        "env: {LEVEL: debug, URL: $URL, A: {file: /run/a}, B: {env: BB}}\n"
        "secrets: {C: {vault: secret/data/x#field}, D: $DD, E: '${EE}'}"
    )

    assert {"LEVEL": "debug", "URL": "$URL"} == found.env
    assert {
        "A": secret_references.SecretReference(kind=Kind.FILE, target="/run/a"),
        "B": secret_references.SecretReference(kind=Kind.ENV, target="BB"),
        "C": secret_references.SecretReference(kind=Kind.VAULT, target="secret/data/x#field"),
        "D": secret_references.SecretReference(kind=Kind.ENV, target="DD"),
        "E": secret_references.SecretReference(kind=Kind.ENV, target="EE"),
    } == found.secrets
    assert found == spec_json.load_environment(spec_json.dump_environment(found))


@pytest.mark.parametrize(
    "lines",
    [
        "secrets: {A: hunter22}",
        "secrets: {A: hunter22$B}",
        "secrets: {A: [hunter22]}",
        "secrets: {A: {value: hunter22}}",
        "secrets: {A: {file: hunter22}}",
        "secrets: {A: {file: /a, env: B}}",
        "secrets: {A: {vault: hunter22}}",
        "secrets: {A: {vault: 'secret/data/../hunter22#x'}}",
        "secrets: {A: {vault: '/secret/data/x#y'}}",
        "secrets: {A: {env: 'hunter22 x'}}",
        "secrets: {SOFTLAUNCH_X: $hunter22}",
        "secrets: {'A B': $hunter22}",
        "env: {A: x}\nsecrets: {A: $hunter22}",
        "env: {A: [hunter22]}",
        "env: {A: {}}",
    ],
)
def test_a_secret_in_a_wrong_shape_is_refused_unseen(lines) -> None:
    with pytest.raises(problems.ServiceFileError) as found:
        read(lines)

    assert "hunter22" not in str(found.value)
