import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from web.roles import Role
from web.settings import read_settings

UNIT = Path(__file__).parents[2] / "deploy" / "tingbro.service"


@pytest.fixture
def values() -> dict[str, list[str]]:
    """Every setting of the unit, with all its values."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    assert parser.sections() == ["Unit", "Service", "Install"]
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_systemd_finds_nothing_wrong_with_the_unit(
    tmp_path: Path, values: dict[str, list[str]]
) -> None:
    """Where systemd is not installed, the unit has been parsed to get here."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        assert values["ExecStart"]
        return
    copy = tmp_path / UNIT.name
    # The command has to be there for systemd to be content; the clone in /opt is not.
    (start,) = values["ExecStart"]
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(start, "/bin/true"))
    outcome = subprocess.run(
        [verify, "verify", str(copy)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_settings_of_the_unit_are_accepted(values: dict[str, list[str]]) -> None:
    environment = dict(one.split("=", 1) for one in values["Environment"])
    settings = read_settings(environment, Role.UP)
    assert str(settings.data_dir) == "/var/lib/tingbro"
    assert values["StateDirectory"] == ["tingbro"]


def test_unit_runs_as_its_own_user_and_gives_up_what_it_does_not_need(
    values: dict[str, list[str]],
) -> None:
    assert values["User"] == ["tingbro"]
    assert values["ProtectSystem"] == ["strict"]
    assert values["CapabilityBoundingSet"] == [""]
    assert values["NoNewPrivileges"] == ["yes"]


def test_unit_leaves_the_decoder_workers_what_they_lock_themselves_in_with(
    values: dict[str, list[str]],
) -> None:
    (namespaces,) = values["RestrictNamespaces"]
    assert namespaces.split() == ["user", "net"]
    calls = {call for value in values["SystemCallFilter"] for call in value.split()}
    assert {"landlock_create_ruleset", "landlock_restrict_self"} <= calls
    # How a hub looks at the time that its workers take.
    assert not {"ProtectProc", "ProcSubset"} & values.keys()


def test_mistake_in_the_settings_is_not_tried_again_for_ever(
    values: dict[str, list[str]],
) -> None:
    assert values["Restart"] == ["always"]
    assert values["RestartPreventExitStatus"] == ["2"]
