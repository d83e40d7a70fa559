"""
Files that let a serverless platform run the image of a release: the same bytes that were tested, named by digest.

Nothing is built for Lambda and Cloud Run: Lambda overrides what the image starts, Cloud Run takes it as it is. Azure
Functions wants its own host in the image: it gets a Dockerfile that copies the release's folder out of ours.
"""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Callable, Mapping

from softlaunch import errors
from softlaunch.ports import images

_OURS = "/softlaunch/"
_NAME = re.compile(r"[^a-z0-9-]+")
_INTERPRETER = re.compile(r"python(3\.\d+)$")
_ARCHITECTURES: Mapping[str, str] = {"amd64": "x86_64", "arm64": "arm64"}
"""As Lambda spells them."""
_LISTEN = "--listen"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    memory_mb: int = 1024
    timeout_seconds: int = 30
    concurrency: int = 8
    """Requests at once in one instance of Cloud Run. Guesses, all of them: a load test knows better."""
    replicas_max: int = 10


def files(platform: str, image: images.Description, reference: str, limits: Limits) -> dict[str, str]:
    """
    Text by file name.

    Args:
        platform: lambda, cloud-run or azure-functions.
        image: The image.
        reference: Where it was pushed, with neither tag nor digest.
        limits: What one instance may use.

    Raises:
        ConfigError: there is no such platform, or the reference can be none.
    """
    writer = _WRITERS.get(platform)
    if writer is None:
        raise errors.ConfigError(
            f"There is no serverless platform {platform!r}.",
            remedy=f"Choose one of {', '.join(_WRITERS)}.",
            code=errors.Code.BAD_OPTION,
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", reference):
        raise errors.ConfigError(
            f"{reference!r} is no place of an image.",
            remedy="Name the registry and repository it was pushed to, as HOST/NAME.",
            code=errors.Code.BAD_OPTION,
        )
    return writer(image, f"{reference}@{image.digest}", limits)


def _lambda(image: images.Description, reference: str, limits: Limits) -> dict[str, str]:
    command = [image.command[0], "-m", "softlaunch.serving.lambda_handler", *_without_listen(image.command[3:])]
    return {
        "template.yaml": textwrap.dedent(
            f"""\
            # CloudFormation: one function with a URL of its own, callable by those whom IAM allows.
            # Lambda takes images of ECR only: push the image there first.
            AWSTemplateFormatVersion: "2010-09-09"
            Description: {_quoted(f"softlaunch: {image.service}, release {image.release.short}")}
            Resources:
              Role:
                Type: AWS::IAM::Role
                Properties:
                  AssumeRolePolicyDocument:
                    Version: "2012-10-17"
                    Statement:
                      - Effect: Allow
                        Principal: {{Service: lambda.amazonaws.com}}
                        Action: sts:AssumeRole
                  ManagedPolicyArns:
                    - !Sub "arn:${{AWS::Partition}}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
              Function:
                Type: AWS::Lambda::Function
                Properties:
                  FunctionName: {_quoted(_name(image.service))}
                  PackageType: Image
                  Code:
                    ImageUri: {_quoted(reference)}
                  ImageConfig:
                    EntryPoint: {json.dumps(command)}
                  Architectures: [{_ARCHITECTURES[image.architecture]}]
                  MemorySize: {limits.memory_mb}
                  Timeout: {limits.timeout_seconds}
                  Role: !GetAtt Role.Arn
                  Tags:
                    - Key: softlaunch-release
                      Value: {_quoted(image.release.value)}
              Url:
                Type: AWS::Lambda::Url
                Properties:
                  TargetFunctionArn: !GetAtt Function.Arn
                  AuthType: AWS_IAM
            Outputs:
              Url:
                Value: !GetAtt Url.FunctionUrl
            """
        )
    }


def _cloud_run(image: images.Description, reference: str, limits: Limits) -> dict[str, str]:
    return {
        "service.yaml": textwrap.dedent(
            f"""\
            # gcloud run services replace service.yaml
            apiVersion: serving.knative.dev/v1
            kind: Service
            metadata:
              name: {_quoted(_name(image.service))}
              labels:
                softlaunch-release: {_quoted(image.release.short)}
            spec:
              template:
                metadata:
                  annotations:
                    autoscaling.knative.dev/maxScale: {_quoted(str(limits.replicas_max))}
                spec:
                  containerConcurrency: {limits.concurrency}
                  timeoutSeconds: {limits.timeout_seconds}
                  containers:
                    - image: {_quoted(reference)}
                      ports:
                        - name: http1
                          containerPort: 8080
                      resources:
                        limits:
                          cpu: "1"
                          memory: {limits.memory_mb}Mi
                      startupProbe:
                        httpGet: {{path: /v2/health/ready, port: 8080}}
                        periodSeconds: 1
                        failureThreshold: 120
                      livenessProbe:
                        httpGet: {{path: /v2/health/live, port: 8080}}
                        periodSeconds: 10
            """
        )
    }


def _azure(image: images.Description, reference: str, limits: Limits) -> dict[str, str]:
    interpreter = image.command[0]
    found = _INTERPRETER.search(interpreter)
    if found is None:
        raise errors.InvariantError(f"The image's interpreter {interpreter!r} names no version.")
    if not interpreter.startswith(_OURS):
        interpreter = f"/usr/local/bin/python{found[1]}"  # where Microsoft's image has it
    arguments = [*_without_listen(image.command[1:]), _LISTEN, "127.0.0.1:$FUNCTIONS_CUSTOMHANDLER_PORT"]
    host = {
        "version": "2.0",
        "functionTimeout": f"{limits.timeout_seconds // 3600:02}:{limits.timeout_seconds // 60 % 60:02}"
        f":{limits.timeout_seconds % 60:02}",
        "extensions": {"http": {"routePrefix": ""}},
        "customHandler": {
            "description": {"defaultExecutablePath": interpreter, "arguments": arguments},
            "enableForwardingHttpRequest": True,
        },
    }
    function = {
        "bindings": [
            {
                "type": "httpTrigger",
                "direction": "in",
                "name": "request",
                "authLevel": "function",
                "methods": ["get", "post"],
                "route": "{*path}",
            },
            {"type": "http", "direction": "out", "name": "response"},
        ]
    }
    variables = {name: image.variables[name] for name in sorted(image.variables) if name.startswith("PYTHON")}
    variables.pop("PYTHON_VERSION", None)
    variables |= {
        "AzureWebJobsScriptRoot": "/home/site/wwwroot",
        "AzureFunctionsJobHost__Logging__Console__IsEnabled": "true",
        "FUNCTIONS_WORKER_RUNTIME": "custom",
    }
    lines = [
        "# The Functions host, and beside it the release as it was tested.",
        f"FROM {reference} AS release",
        f"FROM mcr.microsoft.com/azure-functions/python:4-python{found[1]}",
        *(f"ENV {name}={_quoted(value)}" for name, value in variables.items()),
        f"COPY --from=release {_OURS} {_OURS}",
        "COPY host.json /home/site/wwwroot/",
        "COPY predict/ /home/site/wwwroot/predict/",
    ]
    return {
        "Dockerfile": "\n".join(lines) + "\n",
        "host.json": json.dumps(host, indent=2) + "\n",
        "predict/function.json": json.dumps(function, indent=2) + "\n",
    }


_WRITERS: Mapping[str, Callable[[images.Description, str, Limits], dict[str, str]]] = {
    "lambda": _lambda,
    "cloud-run": _cloud_run,
    "azure-functions": _azure,
}


def _without_listen(words: tuple[str, ...]) -> list[str]:
    place = words.index(_LISTEN)
    return [*words[:place], *words[place + 2 :]]


def _quoted(text: str) -> str:
    """YAML's and Docker's double-quoted text are JSON's, as far as these characters go."""
    return json.dumps(text, ensure_ascii=False)


def _name(service: str) -> str:
    return _NAME.sub("-", service.lower()).strip("-")
