"""A service whose builds are signed by the job's identity: shipped with a token, refused without one or by another."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import bring_lab
import flights_lab
import process_lab
import pytest
import sigstore_lab
import sigstore_server

pytestmark = pytest.mark.slow

SERVICE = """\
service: tips
model: {{python: tips.py:Model, inputs: {{bill: FP64}}}}
evidence: {{sign: keyless, trusted_root: {root}, signing_config: {services}}}
environments:
  production:
    replicas: 2
    strategy: recreate
    evidence:
      require: signed
      trusted_root: {root}
      identities:
        - {{issuer: {issuer}, subject: {subject}}}
"""
MODEL = """\
class Model:
    outputs = {"tip": "FP64"}

    def predict(self, rows):
        return [{"tip": row["bill"] * 0.1} for row in rows]
"""
JOB = ("--certificate-oidc-issuer", sigstore_lab.ISSUER, "--certificate-identity", sigstore_lab.SUBJECT)


@pytest.fixture
def sigstore(tmp_path) -> Iterator[sigstore_server.Server]:
    with sigstore_server.serving(tmp_path) as found:
        yield found


@pytest.fixture
def tips(sigstore) -> Iterator[bring_lab.Service]:
    with process_lab.laboratory() as machine:
        repository = machine.directory / "tips"
        repository.mkdir()
        flights_lab.git(repository, "init", "-q", "-b", "main")
        found = bring_lab.Service(
            machine=process_lab.ProcessLab(
                home=machine.home, port=machine.port, variables=dict(machine.variables), directory=repository
            ),
            name="tips",
        )
        found.write(
            "softlaunch.yaml",
            SERVICE.format(
                root=sigstore.trusted_root,
                services=sigstore.signing_config,
                issuer=sigstore_lab.ISSUER,
                subject=sigstore_lab.SUBJECT,
            ),
        )
        found.write("tips.py", MODEL)
        found.commit()
        yield found


def written(home: pathlib.Path) -> Iterator[pathlib.Path]:
    return (path for path in home.rglob("*") if path.is_file())


def test_a_release_is_launched_when_the_job_it_names_signed_it_and_no_other(tips, sigstore) -> None:
    machine = tips.machine
    ship = ("ship", "--env", "production")
    limit = bring_lab.BUILD_SECONDS_MAX
    variables = machine.variables

    refused = machine.command(*ship, timeout=limit)
    assert (2, "unsigned") == (refused.code, json.loads(refused.out)["code"])

    token = sigstore.token()
    variables["SIGSTORE_ID_TOKEN"] = token
    shipped = machine.command(*ship, timeout=limit)
    assert (0, "promoted") == (shipped.code, shipped.document["outcome"]), shipped.out
    del variables["SIGSTORE_ID_TOKEN"]
    assert [{"tip": 5.0}] == tips.answers({"bill": 50.0})

    verified = machine.command("verify", "main", *JOB, "--trusted-root", sigstore.trusted_root)
    assert (0, True) == (verified.code, verified.document["verified"])
    for each in verified.document["statements"]:
        assert sigstore_lab.SUBJECT == each["identity"]["subject"]
    assert 2 == machine.command("verify", "main").code  # there is no key to verify by

    leaks = [path for path in written(machine.home.root) if token.encode() in path.read_bytes()]
    assert [] == leaks

    variables["SIGSTORE_ID_TOKEN"] = sigstore.token(email="eve@example.com")
    own = ("--keyless", "--trusted-root", sigstore.trusted_root, "--signing-config", sigstore.signing_config)
    added = machine.command("attest", "main", "--load", str(machine.directory / "tips.py"), *own)
    assert (0, 1) == (added.code, len(added.document["statements"]))
    judged = machine.command("verify", "main", *JOB, "--trusted-root", sigstore.trusted_root)
    assert 1 == judged.code
    assert ["eve@example.com"] == [
        each["identity"]["subject"] for each in judged.document["statements"] if each["problem"]
    ]
