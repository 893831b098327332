"""No container engine runs here; what can be wrong without one is looked for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from web.roles import Role
from web.settings import read_settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
# ${NAME}, ${NAME:-default} and ${NAME:?what to do}.
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<rule>[-?])(?P<text>[^}]*))?\}")
DOT_ENV = {
    "POSTGRES_PASSWORD": "hunter2",
    "TINGBRO_SECRET_KEY": "k" * 64,
    "TINGBRO_ADMIN_PASSWORD": "long enough",
}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = COMPOSE.read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(_VARIABLE.sub(_substitute, text))
    return loaded


def _substitute(found: re.Match[str]) -> str:
    default = found["text"] if found["rule"] == "-" else None
    value = DOT_ENV.get(found["name"], default)
    assert value is not None, f"{found['name']} is neither in .env nor has it a default"
    return value


@pytest.mark.parametrize("role", [Role.WEB, Role.WORKER, Role.MIGRATE])
def test_settings_of_each_process_are_accepted(compose: dict[str, Any], role: Role) -> None:
    service = compose["services"][role]
    assert service["command"] == [role]
    settings = read_settings(service["environment"], role)
    assert settings.kafka is not None
    assert settings.kafka.bootstrap_servers == ("kafka:9092",)
    assert settings.storage.database_url.endswith("@postgresql:5432/tingbro")


def test_fleet_has_a_web_process_and_two_workers(compose: dict[str, Any]) -> None:
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2
    assert compose["services"]["web"]["ports"] == ["3000:3000"]


def test_nothing_of_ours_starts_before_the_migration_is_done(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name in ("web", "worker"):
        waits_for = services[name]["depends_on"]
        assert waits_for == {"migrate": {"condition": "service_completed_successfully"}}
    assert services["migrate"]["depends_on"].keys() == {"postgresql", "kafka"}
    for name in services["migrate"]["depends_on"]:
        assert "healthcheck" in services[name]


def test_names_that_are_used_are_defined(compose: dict[str, Any]) -> None:
    services, volumes = compose["services"], compose["volumes"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        for volume in service.get("volumes", ()):
            assert volume.partition(":")[0] in volumes
    build = compose["services"]["web"]["build"]
    context = COMPOSE.parent / build["context"]
    assert (context / build["dockerfile"]).is_file()


def test_readme_has_every_variable_made_that_compose_asks_for() -> None:
    asked = {
        found["name"]
        for found in _VARIABLE.finditer(COMPOSE.read_text(encoding="utf-8"))
        if found["rule"] != "-"
    }
    made = re.findall(r'echo "(\w+)=', (ROOT / "deploy" / "README.md").read_text(encoding="utf-8"))
    assert asked == set(made) == DOT_ENV.keys()
