"""
A Sigstore of one's own for tests: a certificate authority, its certificate log, a transparency log, and their root.

It follows the formats of Fulcio, of RFC 6962 and of Rekor (`dsse` 0.0.1
of v1, `hashedrekord` 0.0.2 of v2). It is not Fulcio and not Rekor.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import json
import pathlib
import struct
import subprocess
import tempfile
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from softlaunch.core import dsse_types, intoto

ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "https://github.com/org/tips/.github/workflows/ship.yml@refs/heads/main"
NAME = "rekor.test"
MINUTES = 10
_SCT = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_UTF8, _OCTETS = 0x0C, 0x04
_CLOCK_CONFIG = """\
[tsa]
default_tsa = clock
[clock]
serial = serial
signer_cert = clock.pem
signer_key = key.pem
certs = chain.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def der(key: Any) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def key_id(key: Any) -> bytes:
    return hashlib.sha256(der(key)).digest()


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def signed(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def tagged(tag: int, raw: bytes) -> bytes:
    """A value in DER; of less than 65536 bytes."""
    size = len(raw)
    head = bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + struct.pack("!H", size)
    return bytes([tag]) + head + raw


@dataclasses.dataclass(kw_only=True)
class Sigstore:
    """What signs here: authority, certificate log and transparency log."""

    root_key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=new_key)
    authority_key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=new_key)
    ct_key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=new_key)
    log_key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=new_key)
    time_key: ec.EllipticCurvePrivateKey = dataclasses.field(default_factory=new_key)
    leaves: list[bytes] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.began = datetime.datetime.now(datetime.UTC).replace(microsecond=0) - datetime.timedelta(days=30)
        self.root = self._authority("root", self.root_key, None)
        self.authority = self._authority("intermediate", self.authority_key, self.root)
        self.clock = self._clock()

    def _authority(
        self, name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Certificate | None
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")])
        signer = self.root_key
        usage = {"key_cert_sign": True, "crl_sign": True}
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject if issuer is not None else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.began)
            .not_valid_after(self.began + datetime.timedelta(days=3_650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), critical=True)
            .add_extension(_usage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA384())
        )

    def _clock(self) -> x509.Certificate:
        """The certificate of the timestamp authority."""
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test time")]))
            .issuer_name(self.root.subject)
            .public_key(self.time_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.began)
            .not_valid_after(self.began + datetime.timedelta(days=3_650))
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .sign(self.root_key, hashes.SHA256())
        )

    def timestamp(self, query: bytes) -> bytes:
        """The answer of a timestamp authority (RFC 3161), made by OpenSSL."""
        with tempfile.TemporaryDirectory() as scratch:
            place = pathlib.Path(scratch)
            (place / "query").write_bytes(query)
            (place / "clock.pem").write_bytes(pem(self.clock))
            (place / "chain.pem").write_bytes(pem(self.root))
            (place / "serial").write_text("01")
            (place / "key.pem").write_bytes(
                self.time_key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            (place / "ts.cnf").write_text(_CLOCK_CONFIG)
            subprocess.run(
                ["openssl", "ts", "-reply", "-config", "ts.cnf", "-queryfile", "query", "-out", "answer"],
                cwd=place,
                check=True,
                capture_output=True,
            )
            return (place / "answer").read_bytes()

    def certificate(
        self,
        public_key: ec.EllipticCurvePublicKey,
        *,
        subject: str = SUBJECT,
        issuer: str = ISSUER,
        at: datetime.datetime | None = None,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
    ) -> x509.Certificate:
        """What Fulcio issues: ten minutes for one identity, logged before it was issued."""
        began = at or datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        name = x509.UniformResourceIdentifier(subject) if "://" in subject else x509.RFC822Name(subject)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.authority.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(began)
            .not_valid_after(began + datetime.timedelta(minutes=MINUTES))
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V1, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(_ISSUER_V2, tagged(_UTF8, issuer.encode())), critical=False)
        )
        unlogged = builder.sign(self.authority_key, hashes.SHA256())
        stamp = self._certificate_timestamp(unlogged.tbs_certificate_bytes, began)
        return builder.add_extension(x509.UnrecognizedExtension(_SCT, tagged(_OCTETS, stamp)), critical=False).sign(
            self.authority_key, hashes.SHA256()
        )

    def _certificate_timestamp(self, unlogged: bytes, at: datetime.datetime) -> bytes:
        """RFC 6962: a list of one signed certificate timestamp of a certificate that is about to be issued."""
        moment = struct.pack("!Q", int(at.timestamp() * 1_000))
        entry = key_id(self.authority_key) + struct.pack("!I", len(unlogged))[1:] + unlogged
        signature = signed(self.ct_key, b"\x00\x00" + moment + b"\x00\x01" + entry + b"\x00\x00")
        stamp = b"\x00" + key_id(self.ct_key) + moment + b"\x00\x00" + b"\x04\x03" + struct.pack("!H", len(signature))
        stamp += signature
        inner = struct.pack("!H", len(stamp)) + stamp
        return struct.pack("!H", len(inner)) + inner

    def append(self, body: bytes, at: datetime.datetime) -> dict[str, Any]:
        """Takes an entry into the log; what Rekor v1 answers, without the UUID around it."""
        self.leaves.append(hashlib.sha256(b"\x00" + body).digest())
        index, size = len(self.leaves) - 1, len(self.leaves)
        root, proof = _root(self.leaves), _proof(index, self.leaves)
        note = f"{NAME} - 1\n{size}\n{text(root)}\n"
        signature = text(key_id(self.log_key)[:4] + signed(self.log_key, note.encode()))
        promised = {
            "body": text(body),
            "integratedTime": int(at.timestamp()),
            "logID": key_id(self.log_key).hex(),
            "logIndex": index,
        }
        promise = signed(self.log_key, json.dumps(promised, sort_keys=True, separators=(",", ":")).encode())
        return {
            **promised,
            "verification": {
                "inclusionProof": {
                    "checkpoint": f"{note}\n\u2014 {NAME} {signature}\n",
                    "hashes": [each.hex() for each in proof],
                    "logIndex": index,
                    "rootHash": root.hex(),
                    "treeSize": size,
                },
                "signedEntryTimestamp": text(promise),
            },
        }

    def bundle(
        self,
        payload: bytes,
        *,
        subject: str = SUBJECT,
        issuer: str = ISSUER,
        at: datetime.datetime | None = None,
        logged_after: datetime.timedelta = datetime.timedelta(seconds=2),
        payload_type: str = intoto.PAYLOAD_TYPE,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
    ) -> dict[str, Any]:
        """A bundle of version 0.3 around this payload, by somebody who had a certificate at that time."""
        began = at or datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        key = new_key()
        certificate = self.certificate(key.public_key(), subject=subject, issuer=issuer, at=began, purpose=purpose)
        signature = signed(key, dsse_types.pae(payload_type, payload))
        body = dsse_body(certificate, payload, signature)
        entry = self.append(body, began + logged_after)
        proof = entry["verification"]["inclusionProof"]
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": text(certificate.public_bytes(serialization.Encoding.DER))},
                "tlogEntries": [
                    {
                        "logIndex": str(entry["logIndex"]),
                        "logId": {"keyId": text(bytes.fromhex(entry["logID"]))},
                        "kindVersion": {"kind": "dsse", "version": "0.0.1"},
                        "integratedTime": str(entry["integratedTime"]),
                        "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
                        "inclusionProof": {
                            "logIndex": str(proof["logIndex"]),
                            "rootHash": text(bytes.fromhex(proof["rootHash"])),
                            "treeSize": str(proof["treeSize"]),
                            "hashes": [text(bytes.fromhex(each)) for each in proof["hashes"]],
                            "checkpoint": {"envelope": proof["checkpoint"]},
                        },
                        "canonicalizedBody": entry["body"],
                    }
                ],
            },
            "dsseEnvelope": {
                "payload": text(payload),
                "payloadType": payload_type,
                "signatures": [{"sig": text(signature)}],
            },
        }

    def trusted_root(self, path: pathlib.Path) -> pathlib.Path:
        """Writes what has to be trusted to verify by this Sigstore."""
        since = {"start": self.began.isoformat().replace("+00:00", "Z")}
        chain = [
            {"rawBytes": text(each.public_bytes(serialization.Encoding.DER))} for each in (self.authority, self.root)
        ]
        path.write_text(
            json.dumps(
                {
                    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                    "tlogs": [_log(f"https://{NAME}", self.log_key, since)],
                    "certificateAuthorities": [
                        {
                            "subject": {"organization": "test", "commonName": "test"},
                            "uri": "https://fulcio.test",
                            "certChain": {"certificates": chain},
                            "validFor": since,
                        }
                    ],
                    "ctlogs": [_log("https://ct.test", self.ct_key, since)],
                    "timestampAuthorities": [
                        {
                            "subject": {"organization": "test", "commonName": "test time"},
                            "uri": "https://time.test",
                            "certChain": {
                                "certificates": [
                                    {"rawBytes": text(each.public_bytes(serialization.Encoding.DER))}
                                    for each in (self.clock, self.root)
                                ]
                            },
                            "validFor": since,
                        }
                    ],
                }
            )
        )
        return path


def dsse_body(certificate: x509.Certificate, payload: bytes, signature: bytes) -> bytes:
    """The body of a log entry of the kind dsse, version 0.0.1, as Rekor writes it."""
    return json.dumps(
        {
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(payload + signature).hexdigest()},
                "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                "signatures": [{"signature": text(signature), "verifier": text(pem(certificate))}],
            },
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


def hashed_body(asked: dict[str, Any]) -> bytes:
    """The body of a log entry of the kind hashedrekord, version 0.0.2, as Rekor v2 writes it."""
    return json.dumps(
        {
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": asked["digest"]},
                    "signature": asked["signature"],
                }
            },
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()


def _usage(**given: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


def _log(url: str, key: ec.EllipticCurvePrivateKey, since: dict[str, str]) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {"rawBytes": text(der(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since},
        "logId": {"keyId": text(key_id(key))},
    }


def _split(size: int) -> int:
    """The largest power of two below."""
    return 1 << (size - 1).bit_length() - 1


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1: the hash of a tree of these leaves."""
    if len(leaves) == 1:
        return leaves[0]
    half = _split(len(leaves))
    return hashlib.sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def _proof(index: int, leaves: list[bytes]) -> list[bytes]:
    """RFC 6962, section 2.1.1: the path from that leaf up."""
    if len(leaves) == 1:
        return []
    half = _split(len(leaves))
    if index < half:
        return [*_proof(index, leaves[:half]), _root(leaves[half:])]
    return [*_proof(index - half, leaves[half:]), _root(leaves[:half])]
