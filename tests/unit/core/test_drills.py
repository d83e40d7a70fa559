from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core import drills, spec


@pytest.mark.parametrize("name", drills.FaultName)
def test_what_is_written_is_read_again(name: drills.FaultName) -> None:
    planted = drills.fault(name, smoke=True)

    assert drills.load(drills.dump(planted)) == planted
    assert drills.dump(planted) == drills.dump(drills.load(drills.dump(planted)))


@pytest.mark.parametrize("name", drills.FaultName)
def test_every_fault_has_somebody_who_must_catch_it(name: drills.FaultName) -> None:
    known = {*spec.GuardrailName, drills.READINESS}

    assert drills.CATCHERS[name]
    assert set(drills.CATCHERS[name]) <= known
    for parameter in drills.PARAMETERS[name].values():
        assert parameter.minimum <= parameter.default <= parameter.maximum


def test_a_parameter_that_is_given_wins_over_its_default() -> None:
    planted = drills.fault("latency_tail", {"percent": 10})

    assert planted.values == {"percent": 10.0, "seconds": 0.5}


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("error_5xx", {}, "no fault 'error_5xx'"),
        ("nan", {"seconds": 1}, "no parameter 'seconds'"),
        ("nan", {"percent": 0}, "percent of the fault nan is 0"),
        ("nan", {"percent": float("nan")}, "is nan"),
        ("nan", {"percent": True}, "is True"),
        ("crash_loop", {"requests": 1e9}, "from 1 to 1e+06"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_what_can(name, parameters, words) -> None:
    with pytest.raises(errors.ConfigError, match=r".") as caught:
        drills.fault(name, parameters)

    assert caught.value.code is errors.Code.DRILL_FAULT
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"{", b"[]", b'{"schema":2,"fault":"nan"}', b'{"schema":1}', b'{"schema":1,"fault":1}']
)
def test_a_file_that_is_no_fault_is_refused(raw: bytes) -> None:
    with pytest.raises(errors.ConfigError):
        drills.load(raw)
