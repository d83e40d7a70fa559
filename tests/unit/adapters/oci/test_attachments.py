from __future__ import annotations

import hashlib
import json

import pytest

from softlaunch import errors
from softlaunch.adapters.oci import layout
from softlaunch.adapters.oci import registry as oci
from softlaunch.core import release, release_json

CONTENT = release.ReleaseContent(
    service="tips",
    runtime=release.Runtime.PYTHON,
    model_file=None,
    python_target="tips.py:Model",
    signature=release.Signature(inputs=(), outputs=()),
    lock_file=None,
    profile_file=None,
    smoke_file=None,
)


@pytest.fixture
def pushed(tmp_path):
    directory = tmp_path / "unpacked"
    (directory / "code").mkdir(parents=True)
    (directory / "code" / "tips.py").write_text("class Model: ...\n")
    (directory / "release.json").write_bytes(release_json.dump_content(CONTENT))
    registry = oci.OciRegistry(tmp_path / "registry")
    return tmp_path / "registry", registry.push(directory)


def refer(root, digest):
    return oci.OciRegistry(root).refer(
        digest, artifact_type="application/vnd.x", media_type="text/plain", payload=b"hello", annotations={}
    )


def test_a_referrer_that_hangs_on_the_fallback_tag_is_found(pushed) -> None:
    root, digest = pushed
    referrer = refer(root, digest)
    index = json.loads((root / "index.json").read_bytes())
    hanging = index["manifests"].pop()
    raw = json.dumps({"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": [hanging]}).encode()
    (root / "blobs" / "sha256" / hashlib.sha256(raw).hexdigest()).write_bytes(raw)
    index["manifests"].append(
        {
            "mediaType": layout.INDEX,
            "digest": f"sha256:{hashlib.sha256(raw).hexdigest()}",
            "size": len(raw),
            "annotations": {layout.NAME_ANNOTATION: digest.value.replace(":", "-")},
        }
    )
    (root / "index.json").write_text(json.dumps(index))

    found = oci.OciRegistry(root).referrers(digest)

    assert [(referrer, b"hello")] == [(each.digest, each.payload) for each in found]


@pytest.mark.parametrize("which", ["manifest", "payload"])
def test_a_referrer_whose_bytes_were_changed_is_refused(pushed, which) -> None:
    root, digest = pushed
    referrer = refer(root, digest)
    name = referrer.value[7:] if which == "manifest" else hashlib.sha256(b"hello").hexdigest()
    (root / "blobs" / "sha256" / name).write_bytes(b"other")

    with pytest.raises(errors.UnavailableError) as refused:
        oci.OciRegistry(root).referrers(digest)

    assert errors.Code.REGISTRY_DAMAGED is refused.value.code


def test_a_changed_blob_of_the_release_is_found(pushed) -> None:
    root, digest = pushed
    blob = oci.OciRegistry(root).check(digest)[-1]
    path = root / "blobs" / "sha256" / blob.value[7:]
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(errors.UnavailableError):
        oci.OciRegistry(root).check(digest)
