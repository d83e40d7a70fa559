"""Which packages an image holds, what a base is called, and what serverless platforms are told."""

from __future__ import annotations

import dataclasses
import json

import pytest

from softlaunch import errors
from softlaunch.controller import imaging, serverless
from softlaunch.core import release
from softlaunch.ports import images

CONTENT = release.ReleaseContent(
    service="Flight Delay",
    runtime=release.Runtime.ONNX,
    model_file="model/model.onnx",
    python_target=None,
    signature=release.Signature(inputs=(), outputs=()),
    lock_file="requirements.lock",
    profile_file=None,
    smoke_file=None,
)
LOCK = b"scikit-learn==1.5.0\nnumpy==2.0.0\n"
IMAGE = images.Description(
    digest=release.Digest("sha256:" + "12" * 32),
    service="Flight Delay",
    release=release.Digest("sha256:" + "ab" * 32),
    architecture="amd64",
    command=(
        "/usr/bin/python3.11",
        "-m",
        "softlaunch.serving",
        "--release",
        "/softlaunch/release",
        "--digest",
        "sha256:" + "ab" * 32,
        "--listen",
        "0.0.0.0:$PORT",
    ),
    variables={"PATH": "/bin", "PYTHONPATH": "/softlaunch/site:/softlaunch/server", "PYTHON_VERSION": "3.11.9"},
)
REFERENCE = "registry.example.com/flight-delay"


def files(platform: str, **changes) -> dict[str, str]:
    return serverless.files(platform, dataclasses.replace(IMAGE, **changes), REFERENCE, serverless.Limits())


def loaded(text: str):
    from ruamel.yaml import YAML

    tags = YAML()  # the round-trip loader keeps CloudFormation's tags
    return tags.load(text)


def test_a_compiled_model_takes_nothing_of_its_training_along() -> None:
    lock, names, note = imaging.requirements(CONTENT, LOCK)

    assert lock is None
    assert {"granian", "msgspec", "numpy", "onnxruntime", "protobuf", "uvloop"} == set(names)
    assert "" == note


def test_a_model_that_is_not_compiled_keeps_its_lock() -> None:
    lock, names, _ = imaging.requirements(dataclasses.replace(CONTENT, runtime=release.Runtime.SKLEARN), LOCK)

    assert lock == LOCK
    assert {"scikit-learn", "granian"} <= set(names)


def test_own_code_without_a_lock_is_told_what_it_will_not_find() -> None:
    content = dataclasses.replace(CONTENT, runtime=release.Runtime.ASGI)

    assert "no lock file" in imaging.requirements(content, None)[2]
    assert "" == imaging.requirements(content, LOCK)[2]


@pytest.mark.parametrize("changes", [{"runtime": release.Runtime.ATTACHED}, {"drill": "errors"}])
def test_attached_urls_and_fire_drills_are_no_images(changes) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        imaging.requirements(dataclasses.replace(CONTENT, **changes), None)

    assert errors.Code.IMAGE_RELEASE is raised.value.code


def test_a_base_is_a_directory_only_when_it_is_written_as_one(tmp_path) -> None:
    (tmp_path / "oci-layout").write_text("{}")

    assert imaging.base_of("python:3.11-slim") is None
    assert imaging.base_of("registry.example.com:5000/python@sha256:" + "0" * 64) is None
    assert images.BaseKind.LAYOUT is imaging.base_of(str(tmp_path)).kind
    assert images.BaseKind.ROOTFS is imaging.base_of(f"rootfs:{tmp_path}").kind
    assert release.Digest("sha256:" + "0" * 64) == imaging.base_of(f"oci:{tmp_path}@sha256:{'0' * 64}").digest


@pytest.mark.parametrize("text", ["rootfs:/no/such/place", "./no-such-place", "oci:/tmp@sha256:12"])
def test_a_base_that_is_not_there_is_refused(text) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        imaging.base_of(text)

    assert errors.Code.IMAGE_BASE is raised.value.code


def test_lambda_starts_the_handler_of_the_tested_image() -> None:
    found = loaded(files("lambda")["template.yaml"])

    function = found["Resources"]["Function"]["Properties"]
    assert f"{REFERENCE}@{IMAGE.digest}" == function["Code"]["ImageUri"]
    assert [
        "/usr/bin/python3.11",
        "-m",
        "softlaunch.serving.lambda_handler",
        "--release",
        "/softlaunch/release",
        "--digest",
        "sha256:" + "ab" * 32,
    ] == function["ImageConfig"]["EntryPoint"]
    assert ("flight-delay", ["x86_64"]) == (function["FunctionName"], function["Architectures"])
    assert "AWS_IAM" == found["Resources"]["Url"]["Properties"]["AuthType"]


def test_lambdas_arguments_are_those_of_the_handler() -> None:
    from softlaunch.serving import settings

    entry = loaded(files("lambda")["template.yaml"])["Resources"]["Function"]["Properties"]["ImageConfig"]["EntryPoint"]

    assert "ab" * 6 == settings.parse([*entry[3:], "--socket", "/tmp/s", "--instance", "x"]).digest


def test_cloud_run_gets_the_image_its_port_and_its_probes() -> None:
    found = loaded(files("cloud-run")["service.yaml"])

    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert f"{REFERENCE}@{IMAGE.digest}" == container["image"]
    assert 8080 == container["ports"][0]["containerPort"] == container["startupProbe"]["httpGet"]["port"]
    assert "/v2/health/ready" == container["startupProbe"]["httpGet"]["path"]


def test_azure_functions_forwards_every_path_to_the_model_server(monkeypatch) -> None:
    from softlaunch.serving import settings

    found = files("azure-functions")

    host = json.loads(found["host.json"])
    handler = host["customHandler"]
    assert ("", True) == (host["extensions"]["http"]["routePrefix"], handler["enableForwardingHttpRequest"])
    assert "/usr/local/bin/python3.11" == handler["description"]["defaultExecutablePath"]
    monkeypatch.setenv("FUNCTIONS_CUSTOMHANDLER_PORT", "34567")
    assert 34567 == settings.parse(handler["description"]["arguments"][2:]).socket.port
    assert "{*path}" == json.loads(found["predict/function.json"])["bindings"][0]["route"]
    assert f"FROM {REFERENCE}@{IMAGE.digest} AS release" in found["Dockerfile"]
    assert 'ENV PYTHONPATH="/softlaunch/site:/softlaunch/server"' in found["Dockerfile"]
    assert "ENV PYTHON_VERSION" not in found["Dockerfile"]


def test_an_interpreter_that_was_put_in_stays_where_it_is() -> None:
    command = ("/softlaunch/python/bin/python3.11", *IMAGE.command[1:])

    host = json.loads(files("azure-functions", command=command)["host.json"])

    assert "/softlaunch/python/bin/python3.11" == host["customHandler"]["description"]["defaultExecutablePath"]


@pytest.mark.parametrize(("platform", "reference"), [("heroku", REFERENCE), ("lambda", "x\ny"), ("lambda", "-x")])
def test_another_platform_and_what_is_no_reference_are_refused(platform, reference) -> None:
    with pytest.raises(errors.ConfigError) as raised:
        serverless.files(platform, IMAGE, reference, serverless.Limits())

    assert errors.Code.BAD_OPTION is raised.value.code
