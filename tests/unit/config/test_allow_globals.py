from __future__ import annotations

import pytest

from softlaunch.config import problems, service_file

FILE = "service: flight-delay\nmodel: {{path: model.joblib, allow_globals: {}}}\nenvironments: [production]\n"


def test_names_and_whole_modules_may_be_allowed() -> None:
    found = service_file.parse(FILE.format("[builtins.getattr, 'cloudpickle.*', a.b.C]"))

    assert ("builtins.getattr", "cloudpickle.*", "a.b.C") == found.model.allow_globals


@pytest.mark.parametrize("name", ["getattr", "'*'", "os.", "'os.*.path'", "'os system'"])
def test_what_names_nothing_in_a_module_is_refused_with_its_line(name: str) -> None:
    with pytest.raises(problems.ServiceFileError) as refused:
        service_file.parse(FILE.format(f"[{name}]"))

    assert "2:" in refused.value.message
    assert "names nothing in a module" in refused.value.message
