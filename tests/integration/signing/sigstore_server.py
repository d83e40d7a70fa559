"""
The test Sigstore on HTTP, on this machine alone: certificates, log, OpenID tokens. See sigstore_lab.

It checks what it is asked as the real services do, as far as a test needs: the token's signature, issuer, audience and
time; that the request was made by the holder of the key; that the logged signature is of the logged payload.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.server
import json
import pathlib
import threading
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import jwt
import sigstore_lab
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from softlaunch.core import dsse_types

REQUEST_TOKEN = "request-token-of-the-job"


class Server:
    """What answers, and what it was asked."""

    def __init__(self, sigstore: sigstore_lab.Sigstore, directory: pathlib.Path) -> None:
        self.sigstore = sigstore
        self.directory = directory
        self.provider_key = sigstore_lab.new_key()
        self.paths: list[str] = []
        self.broken: dict[str, tuple[int, bytes]] = {}
        """What is answered to a path in place of the truth."""
        self.log_version = 1
        self.timed = False
        """Whether the signing configuration names the timestamp authority."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def trusted_root(self) -> str:
        return str(self.sigstore.trusted_root(self.directory / "trusted_root.json"))

    @property
    def signing_config(self) -> str:
        path = self.directory / "signing_config.json"
        service = {
            "url": self.url,
            "majorApiVersion": 1,
            "validFor": {"start": "2022-04-13T20:06:15.000Z"},
            "operator": "test",
        }
        path.write_text(
            json.dumps(
                {
                    "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
                    "caUrls": [service],
                    "oidcUrls": [service],
                    "rekorTlogUrls": [{**service, "majorApiVersion": self.log_version}],
                    "tsaUrls": [{**service, "url": f"{self.url}/time"}] if self.timed else [],
                    "rekorTlogConfig": {"selector": "ANY"},
                    "tsaConfig": {"selector": "ANY"},
                }
            )
        )
        return str(path)

    def token(self, *, audience: str = "sigstore", seconds: float = 600, **claims: Any) -> str:
        """What an OpenID provider gives a job."""
        now = int(time.time())
        said = {"iss": sigstore_lab.ISSUER, "sub": "repo:org/tips:ref:refs/heads/main", "aud": audience, "iat": now}
        said |= {
            "exp": now + int(seconds),
            "job_workflow_ref": sigstore_lab.SUBJECT.removeprefix("https://github.com/"),
        }
        return jwt.encode({**said, **claims}, self.provider_key, algorithm="ES256")

    def certify(self, token: str, asked: dict[str, Any]) -> dict[str, Any]:
        said = jwt.decode(token, self.provider_key.public_key(), algorithms=["ES256"], audience="sigstore")
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        if not request.is_signature_valid:
            raise ValueError("The request is not by the key that it names.")
        key = request.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        workflow = said.get("job_workflow_ref")
        subject = said.get("email", f"https://github.com/{workflow}")
        made = self.sigstore.certificate(key, subject=subject, issuer=said["iss"])
        chain = [made, self.sigstore.authority, self.sigstore.root]
        return {
            "signedCertificateEmbeddedSct": {"chain": {"certificates": [sigstore_lab.pem(c).decode() for c in chain]}}
        }

    def log(self, asked: dict[str, Any]) -> dict[str, Any]:
        content = asked["spec"]["proposedContent"]
        envelope = json.loads(content["envelope"])
        payload = base64.b64decode(envelope["payload"])
        signature = base64.b64decode(envelope["signatures"][0]["sig"])
        certificate = x509.load_pem_x509_certificate(base64.b64decode(content["verifiers"][0]))
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(signature, dsse_types.pae(envelope["payloadType"], payload), ec.ECDSA(hashes.SHA256()))
        body = sigstore_lab.dsse_body(certificate, payload, signature)
        return {"0" * 80: self.sigstore.append(body, datetime.datetime.now(datetime.UTC).replace(microsecond=0))}

    def log_hashed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Rekor v2: the digest of what was signed, and no time."""
        found = asked["hashedRekordRequestV002"]
        raw = found["signature"]["verifier"]["x509Certificate"]["rawBytes"]
        key = x509.load_der_x509_certificate(base64.b64decode(raw)).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(
            base64.b64decode(found["signature"]["content"]),
            base64.b64decode(found["digest"]),
            ec.ECDSA(utils.Prehashed(hashes.SHA256())),
        )
        entry = self.sigstore.append(
            sigstore_lab.hashed_body(found), datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        )
        proof = entry["verification"]["inclusionProof"]
        return {
            "logIndex": str(entry["logIndex"]),
            "logId": {"keyId": sigstore_lab.text(bytes.fromhex(entry["logID"]))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "integratedTime": "0",
            "inclusionProof": {
                "logIndex": str(proof["logIndex"]),
                "rootHash": sigstore_lab.text(bytes.fromhex(proof["rootHash"])),
                "treeSize": str(proof["treeSize"]),
                "hashes": [sigstore_lab.text(bytes.fromhex(each)) for each in proof["hashes"]],
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": entry["body"],
        }


class _Handler(http.server.BaseHTTPRequestHandler):
    lab: Server

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path != "/token":
            self._answer(404, b"{}")
        elif self.headers.get("Authorization") != f"bearer {REQUEST_TOKEN}":
            self._answer(401, b"{}")
        else:
            (audience,) = urllib.parse.parse_qs(url.query)["audience"]
            self._answer(200, json.dumps({"value": self.lab.token(audience=audience)}).encode())

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/time":
            self._answer(201, self.lab.sigstore.timestamp(raw))
            return
        asked = json.loads(raw)
        try:
            if self.path == "/api/v2/signingCert":
                token = self.headers["Authorization"].removeprefix("Bearer ")
                found = self.lab.certify(token, asked)
            elif self.path == "/api/v2/log/entries":
                found = self.lab.log_hashed(asked)
            else:
                assert self.path == "/api/v1/log/entries"
                found = self.lab.log(asked)
        except (jwt.InvalidTokenError, ValueError) as error:
            # As Fulcio does, with more than it would say: nobody may show this.
            said = f"error for {self.headers['Authorization']}: {error}"
            self._answer(401, json.dumps({"code": 16, "message": said}).encode())
            return
        self._answer(201, json.dumps(found).encode())

    def _answer(self, status: int, body: bytes) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.lab.paths.append(path)
        status, body = self.lab.broken.get(path, (status, body))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def serving(directory: pathlib.Path) -> Iterator[Server]:
    found = Server(sigstore_lab.Sigstore(), directory)
    handler = type("Handler", (_Handler,), {"lab": found})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        found.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
