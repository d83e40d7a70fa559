"""`registry:` of softlaunch.yaml: a repository, and nothing that could be a password or a tag."""

from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file

THREE_LINES = "service: flight-delay\nmodel: model.joblib\nenvironments: [production]\n"


@pytest.mark.parametrize(
    "name",
    [
        "registry.example.com/flight-delay",
        "registry.example.com:8443/team/sub/flight_delay",
        "localhost/delay",
        "localhost:5000/delay",
        "127.0.0.1:5000/team/delay.v2",
        "[::1]:5000/delay",
        "build-server:5000/delay",
        "docker.io/ana/delay",
    ],
)
def test_a_repository_is_taken_as_it_stands(name) -> None:
    assert name == service_file.parse(f"{THREE_LINES}registry: '{name}'\n").registry
    assert service_file.parse(THREE_LINES).registry is None


@pytest.mark.parametrize(
    "name",
    [
        "https://registry.example.com/delay",
        "ana:s3cret@registry.example.com/delay",
        "registry.example.com/delay:v1",
        "registry.example.com/delay@sha256:" + "0" * 64,
        "registry.example.com/Delay",
        "registry.example.com",
        "registry.example.com/",
        "team/delay",
        "delay",
        "registry.example.com/../delay",
        "registry.example.com/a//b",
        "registry.example.com/-a",
        "--to=x.y/z",
    ],
)
def test_anything_else_is_a_mistake_that_does_not_show_it(name) -> None:
    with pytest.raises(problems.ServiceFileError) as raised:
        service_file.parse(f"{THREE_LINES}registry: '{name}'\n")

    (problem,) = raised.value.problems
    assert (4, "registry") == (problem.line, problem.path)
    assert "HOST/NAME" in problem.remedy
    assert "s3cret" not in str(raised.value)
