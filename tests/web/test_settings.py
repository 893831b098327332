import stat
from ipaddress import ip_network
from pathlib import Path

import pytest

from protocols.errors import InvalidSettings
from protocols.targets.guarding.guard import GuardRules
from web.secret_key import load_or_create_secret_key
from web.settings import LogFormat, read_settings
from web.variables import PREFIX, VARIABLES, page

SETTINGS_PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def problems_of(**variables: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        read_settings({PREFIX + name: value for name, value in variables.items()})
    return caught.value.problems


def test_empty_environment_gives_a_hub_that_devices_can_reach() -> None:
    settings = read_settings({})
    assert (settings.http.host, settings.http.port) == ("0.0.0.0", 3000)
    assert settings.http.base_url == "http://localhost:3000"
    assert settings.storage.database_url == "sqlite:///data/tingbro.db"
    assert settings.log.format is LogFormat.AUTO
    assert settings.decoder_workers >= 2
    assert settings.secret_key is None
    assert settings.targets == GuardRules()
    assert settings.administrator.password is None


def test_every_value_given_is_used(tmp_path: Path) -> None:
    certificate, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    certificate.touch()
    key.touch()
    settings = read_settings(
        {
            "TINGBRO_DATA_DIR": "/var/lib/tingbro",
            "TINGBRO_HTTP_HOST": "127.0.0.1",
            "TINGBRO_HTTP_PORT": "8080",
            "TINGBRO_BASE_URL": "https://hub.example.org/",
            "TINGBRO_DATABASE_URL": "sqlite:////srv/hub.db",
            "TINGBRO_PROCESS_NAME": "hub-1",
            "TINGBRO_SECRET_KEY": "k" * 32,
            "TINGBRO_TLS_CERTIFICATE": str(certificate),
            "TINGBRO_TLS_KEY": str(key),
            "TINGBRO_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1",
            "TINGBRO_TARGET_ALLOW_NETWORKS": "10.20.0.0/16,fd00::/8",
            "TINGBRO_TARGET_ALLOW_HTTP": "yes",
            "TINGBRO_TARGET_ALLOW_PORTS": "443, 8000-8999",
            "TINGBRO_ADMIN_EMAIL": "anna@example.org",
            "TINGBRO_ADMIN_PASSWORD": "long enough",
            "TINGBRO_LOG_LEVEL": "DEBUG",
            "TINGBRO_LOG_FORMAT": "json",
            "TINGBRO_MAX_BODY_BYTES": "4096",
            "TINGBRO_DECODER_WORKERS": "1",
            "TINGBRO_RAW_RETENTION_DAYS": "90",
            "TINGBRO_SHUTDOWN_TIMEOUT_S": "25",
            "HOME": "/root",
        }
    )
    assert settings.data_dir == Path("/var/lib/tingbro")
    assert settings.http.host == "127.0.0.1"
    assert settings.http.port == 8080
    assert settings.http.base_url == "https://hub.example.org"
    assert settings.http.tls is not None
    assert settings.http.tls.key == key
    assert settings.http.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("192.0.2.1/32"))
    assert settings.http.max_body_bytes == 4096
    assert settings.targets.allow_networks == (ip_network("10.20.0.0/16"), ip_network("fd00::/8"))
    assert settings.targets.allow_http
    assert settings.targets.allow_ports == ((443, 443), (8000, 8999))
    assert settings.storage.database_url == "sqlite:////srv/hub.db"
    assert settings.process_name == "hub-1"
    assert settings.storage.raw_retention_days == 90
    assert settings.administrator.email == "anna@example.org"
    assert settings.administrator.password == "long enough"
    assert settings.log.level == "debug"
    assert settings.log.format is LogFormat.JSON
    assert settings.decoder_workers == 1
    assert settings.shutdown_timeout_s == 25
    assert settings.secret_key == "k" * 32


def test_all_mistakes_are_reported_together() -> None:
    problems = problems_of(
        HTTP_PORT="eighty",
        LOG_LEVEL="loud",
        DECODER_WORKERS="0",
        TRUSTED_PROXIES="10.0.0.0/8,everyone",
        ADMIN_EMAIL="nobody",
        BASE_URL="hub.example.org",
    )
    assert len(problems) == 6
    for name in ("HTTP_PORT", "LOG_LEVEL", "DECODER_WORKERS", "PROXIES", "EMAIL", "BASE_URL"):
        assert any(name in problem for problem in problems), name


def test_misspelt_variable_is_a_mistake_with_a_suggestion() -> None:
    (problem,) = problems_of(HTTP_PROT="8080")
    assert "TINGBRO_HTTP_PROT" in problem
    assert "Did you mean TINGBRO_HTTP_PORT?" in problem


@pytest.mark.parametrize("port", ["0", "65536", "-1", "1_000", "٣٠٠٠", "3000.0"])
def test_port_outside_its_range_or_odd_notation_is_refused(port: str) -> None:
    (problem,) = problems_of(HTTP_PORT=port)
    assert "whole number from 1 to 65535" in problem


@pytest.mark.parametrize("ports", ["0", "443-", "443,,80", "-", "1-2-3", "٨٠", "443-65536", "9-8"])
def test_ports_in_another_notation_are_refused(ports: str) -> None:
    (problem,) = problems_of(TARGET_ALLOW_PORTS=ports)
    assert "such as 443,8000-8999" in problem


@pytest.mark.parametrize(
    "url",
    ["mysql://u:hunter2@h/db", "postgres:hunter2", "sqlite:///", "postgresql://", "tingbro.db"],
)
def test_database_url_of_another_kind_is_refused_without_repeating_it(url: str) -> None:
    (problem,) = problems_of(DATABASE_URL=url)
    assert "hunter2" not in problem
    assert "sqlite:///path" in problem
    assert "postgresql://" in problem


def test_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    certificate = tmp_path / "chain.pem"
    certificate.touch()
    (problem,) = problems_of(TLS_CERTIFICATE=str(certificate))
    assert problem.startswith("TINGBRO_TLS_KEY must be given together")


def test_certificate_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    assert len(problems_of(TLS_CERTIFICATE=missing, TLS_KEY=missing)) == 2


@pytest.mark.parametrize(
    ("name", "value"), [("SECRET_KEY", "short"), ("ADMIN_PASSWORD", "1234567")]
)
def test_short_secret_is_refused_without_repeating_it(name: str, value: str) -> None:
    (problem,) = problems_of(**{name: value})
    assert value not in problem


def test_empty_value_counts_as_not_set() -> None:
    assert read_settings({"TINGBRO_HTTP_PORT": " "}).http.port == 3000


def test_secrets_are_not_in_the_text_of_the_settings() -> None:
    settings = read_settings(
        {
            "TINGBRO_SECRET_KEY": "s3cr3t" * 6,
            "TINGBRO_ADMIN_PASSWORD": "pa55word!",
            "TINGBRO_DATABASE_URL": "postgresql://hub:hunter2@db/tingbro",
            "TINGBRO_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
            "TINGBRO_KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
            "TINGBRO_KAFKA_SASL_MECHANISM": "plain",
            "TINGBRO_KAFKA_SASL_USERNAME": "hub",
            "TINGBRO_KAFKA_SASL_PASSWORD": "0p3n-sesame",
        }
    )
    assert "s3cr3t" not in repr(settings)
    assert "pa55word!" not in repr(settings)
    assert "hunter2" not in repr(settings)
    assert "0p3n-sesame" not in repr(settings)


def test_every_declared_variable_is_read() -> None:
    values = {f"{PREFIX}{variable.name}": "?" for variable in VARIABLES}
    values[f"{PREFIX}DATA_DIR"] = "/elsewhere"
    values[f"{PREFIX}HTTP_HOST"] = "192.0.2.7"
    with pytest.raises(InvalidSettings) as caught:
        read_settings(values)
    named = {
        variable.name
        for variable in VARIABLES
        if any(variable.name in problem for problem in caught.value.problems)
    }
    takes_any_text = {"DATA_DIR", "HTTP_HOST", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"}
    assert {variable.name for variable in VARIABLES} - named == takes_any_text


def test_settings_page_is_the_one_made_from_the_code() -> None:
    assert SETTINGS_PAGE.read_text(encoding="utf-8") == page()


def test_secret_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    key = load_or_create_secret_key(data_dir)
    assert len(key) >= 32
    assert load_or_create_secret_key(data_dir) == key
    assert stat.S_IMODE((data_dir / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in data_dir.iterdir()] == ["secret_key"]


def test_damaged_secret_key_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("oops\n")
    with pytest.raises(InvalidSettings, match="remove the file"):
        load_or_create_secret_key(tmp_path)
