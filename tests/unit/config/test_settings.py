from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

import pytest

from softlaunch import errors
from softlaunch.config import settings
from softlaunch.core import units

DOCS = pathlib.Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_nothing_set_gives_the_defaults() -> None:
    assert settings.read({}) == settings.Settings()
    assert settings.read({"PATH": "/bin", "SOFTLAUNCH_API_PORT": "", "SOFTLAUNCH_INSTANCE": "x"}) == settings.Settings()


def test_every_setting_is_read() -> None:
    found = settings.read(
        {
            "SOFTLAUNCH_HOME": "/anywhere",
            "SOFTLAUNCH_API_PORT": "9000",
            "SOFTLAUNCH_PRODUCTION_PORT": "9001",
            "SOFTLAUNCH_ENVIRONMENT_PORT_FIRST": "9002",
            "SOFTLAUNCH_ENVOY": sys.executable,
            "SOFTLAUNCH_TICK": "250ms",
            "SOFTLAUNCH_ATTEMPT_LOG_MAX": "1GiB",
            "SOFTLAUNCH_BATCH_ROWS_MAX": "1024",
        },
    )

    assert found == settings.Settings(
        api_port=9000,
        production_port=9001,
        environment_port_first=9002,
        envoy=pathlib.Path(sys.executable),
        tick_seconds=0.25,
        attempt_log_bytes_max=2**30,
        batch_rows_max=1024,
    )


def test_every_field_of_settings_has_exactly_one_variable() -> None:
    fields = [setting.field for setting in settings.SETTINGS if setting.field is not None]

    assert sorted(field.name for field in dataclasses.fields(settings.Settings)) == sorted(fields)


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("SOFTLAUNCH_API_PORT", "http", "whole number between 1 and 65535"),
        ("SOFTLAUNCH_API_PORT", "0", "between 1 and 65535"),
        ("SOFTLAUNCH_PRODUCTION_PORT", "65536", "between 1 and 65535"),
        ("SOFTLAUNCH_PRODUCTION_PORT", "٣", "whole number"),
        ("SOFTLAUNCH_ENVOY", "envoy", "absolute path"),
        ("SOFTLAUNCH_ENVOY", "/nowhere/envoy", "file that exists"),
        ("SOFTLAUNCH_TICK", "1", "one number and one unit"),
        ("SOFTLAUNCH_TICK", "1ms", "between 10ms and 10s"),
        ("SOFTLAUNCH_ATTEMPT_LOG_MAX", "256MB", "MiB"),
        ("SOFTLAUNCH_ATTEMPT_LOG_MAX", "1KiB", "between 1MiB and 1TiB"),
        ("SOFTLAUNCH_BATCH_ROWS_MAX", "-1", "between 1 and 65536"),
    ],
)
def test_a_bad_value_is_refused_by_name_with_the_value_and_a_remedy(variable: str, value: str, remedy: str) -> None:
    with pytest.raises(errors.ConfigError, match=variable) as caught:
        settings.read({variable: value})

    assert repr(value) in caught.value.message
    assert remedy in caught.value.message


def test_a_misspelt_variable_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(errors.ConfigError, match="Did you mean SOFTLAUNCH_API_PORT"):
        settings.read({"SOFTLAUNCH_API_PRT": "1"})


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        settings.read({"SOFTLAUNCH_TICK": "x", "SOFTLAUNCH_BATCH_ROWS_MAX": "y", "SOFTLAUNCH_API_PORT": "8080"})

    assert all(word in caught.value.message for word in ("SOFTLAUNCH_TICK", "BATCH_ROWS_MAX", "are both 8080"))


def _rows() -> list[list[str]]:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def test_the_reference_page_lists_exactly_these_settings() -> None:
    expected = [[setting.variable, setting.kind, setting.default, setting.meaning] for setting in settings.SETTINGS]

    assert expected == [[row[0].strip("`"), row[1], row[2].strip("`"), row[3]] for row in _rows()]


def test_the_documented_defaults_are_the_real_ones() -> None:
    values = {
        setting.field: setting.read(setting.default)
        for setting in settings.SETTINGS
        if setting.field is not None and " " not in setting.default
    }

    assert settings.Settings() == settings.Settings(**values)
    assert units.format_bytes(settings.Settings().attempt_log_bytes_max) == "256MiB"


def test_the_page_mentions_the_internal_variables() -> None:
    assert set(settings.INTERNAL) <= set(re.findall(r"SOFTLAUNCH_\w+", DOCS.read_text(encoding="utf-8")))
