"""What everything that reads secrets keeps to."""

from __future__ import annotations

import http.server
import json
import threading
from typing import ClassVar

import pytest

from softlaunch import errors
from softlaunch.adapters.secrets import local_secrets, vault
from softlaunch.core import secret_references

VALUE, TOKEN = "correct horse battery", "hvs.the-token-of-the-test"
Kind = secret_references.SecretKind


class KeyValue(http.server.BaseHTTPRequestHandler):
    """Vault's key-value engine, version 2, as far as reading goes."""

    data: ClassVar = {"db": {"password": VALUE, "port": 5432}}
    sealed = False

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = self.path.removeprefix("/v1/secret/data/")
        if self.sealed:
            self._send(503, {"errors": ["Vault is sealed"]})
        elif self.path.startswith("/v1/moved/"):
            self.send_response(307)
            self.send_header("location", "http://127.0.0.1:1/v1/secret/data/db")
            self.send_header("content-length", "0")
            self.end_headers()
        elif self.headers.get("x-vault-token") != TOKEN or path == "forbidden":
            self._send(403, {"errors": [f"permission denied for {self.headers.get('x-vault-token')}"]})
        elif path in self.data:
            metadata = {"version": 1, "created_time": "2026-01-01T00:00:00Z", "destroyed": False}
            self._send(200, {"request_id": "1", "data": {"data": self.data[path], "metadata": metadata}})
        else:
            self._send(404, {"errors": []})

    def _send(self, status, document):
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture(scope="module")
def address():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeyValue) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def reader(variables):
    return local_secrets.LocalSecrets(variables, {Kind.VAULT: vault.VaultSecrets(variables)})


@pytest.fixture
def variables(address, tmp_path):
    (tmp_path / "secret").write_text(f"{VALUE}\n")
    return {"VAULT_ADDR": address, "VAULT_TOKEN": TOKEN, "KEPT": VALUE, "HOME": str(tmp_path)}


def reference(kind: Kind, tmp_path, target: str = "") -> secret_references.SecretReference:
    usual = {Kind.FILE: str(tmp_path / "secret"), Kind.ENV: "KEPT", Kind.VAULT: "secret/data/db#password"}
    return secret_references.SecretReference(kind=kind, target=target or usual[kind])


@pytest.mark.parametrize("kind", list(Kind))
def test_the_value_is_the_one_that_is_kept(variables, tmp_path, kind) -> None:
    assert reader(variables).read("API_KEY", reference(kind, tmp_path)) == VALUE


@pytest.mark.parametrize(
    ("kind", "target", "changes"),
    [
        (Kind.FILE, "/nowhere/at/all", {}),
        (Kind.ENV, "NOT_SET", {}),
        (Kind.VAULT, "secret/data/none#password", {}),
        (Kind.VAULT, "secret/data/db#none", {}),
        (Kind.VAULT, "secret/data/db#port", {}),
        (Kind.VAULT, "secret/data/forbidden#password", {}),
        (Kind.VAULT, "moved/data/db#password", {}),
        (Kind.VAULT, "", {"VAULT_TOKEN": "hvs.another-token"}),
        (Kind.VAULT, "", {"VAULT_TOKEN": ""}),
        (Kind.VAULT, "", {"VAULT_ADDR": ""}),
        (Kind.VAULT, "", {"VAULT_ADDR": "http://127.0.0.1:1"}),
        (Kind.VAULT, "", {"VAULT_ADDR": f"http://{TOKEN} .example.com"}),
    ],
)
def test_an_error_names_key_and_reference_and_no_value(variables, tmp_path, kind, target, changes) -> None:
    asked = reference(kind, tmp_path, target)

    with pytest.raises(errors.SoftlaunchError) as found:
        reader({**variables, **changes}).read("API_KEY", asked)

    assert found.value.code is errors.Code.SECRET_UNREADABLE
    assert f"API_KEY ({asked})" in found.value.message
    shown = "".join(map(str, (found.value, repr(found.value), repr(found.value.__cause__))))
    assert not any(value in shown for value in (VALUE, TOKEN, "hvs.another-token", "permission denied"))


def test_a_sealed_vault_is_a_neighbour_that_does_not_answer(variables, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(KeyValue, "sealed", True)

    with pytest.raises(errors.UnavailableError, match="503"):
        reader(variables).read("API_KEY", reference(Kind.VAULT, tmp_path))


@pytest.mark.parametrize("where", ["VAULT_TOKEN_FILE", "home"])
def test_the_token_may_lie_in_a_file(variables, tmp_path, where) -> None:
    path = tmp_path / (".vault-token" if where == "home" else "token")
    path.write_text(f"{TOKEN}\n")
    changes = {"VAULT_TOKEN": ""} | ({"VAULT_TOKEN_FILE": str(path)} if where != "home" else {})

    assert reader({**variables, **changes}).read("API_KEY", reference(Kind.VAULT, tmp_path)) == VALUE


@pytest.mark.parametrize("raw", [b"\xff\xfe" + VALUE.encode(), b"a\0b", b"x" * 200_000])
def test_a_file_that_is_no_text_is_refused_unseen(variables, tmp_path, raw) -> None:
    (tmp_path / "secret").write_bytes(raw)

    with pytest.raises(errors.ConfigError) as found:
        reader(variables).read("API_KEY", reference(Kind.FILE, tmp_path))

    assert VALUE not in str(found.value)
    assert found.value.__cause__ is None
