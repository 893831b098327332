import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from web.__main__ import ExitCode, main
from web.version import VERSION

ROOT = Path(__file__).parents[2]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "web", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_help_shows_examples_and_exit_codes() -> None:
    outcome = run("--help")
    assert outcome.returncode == ExitCode.DONE
    for expected in ("tingbro up", "tingbro check", "tingbro listen", "exit codes:"):
        assert expected in outcome.stdout


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys, web.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'aiohttp', 'sqlalchemy', 'structlog', 'asyncio', 'pykka'} & set(sys.modules)))"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert outcome.stdout.splitlines()[-1] == "[]"


def test_command_that_does_not_exist_is_a_usage_error() -> None:
    outcome = run("upp")
    assert outcome.returncode == ExitCode.USAGE
    assert "invalid choice" in outcome.stderr


def test_help_of_the_processes_of_a_fleet_says_what_they_need() -> None:
    for command in ("web", "worker"):
        outcome = run(command, "--help")
        assert outcome.returncode == ExitCode.DONE
        assert "TINGBRO_KAFKA_BOOTSTRAP_SERVERS" in outcome.stdout
        assert "`tingbro migrate`" in outcome.stdout


@pytest.mark.parametrize("command", ["web", "worker"])
def test_process_of_a_fleet_without_postgresql_and_kafka_ends_with_usage(
    command: str, tmp_path: Path
) -> None:
    outcome = run(command, TINGBRO_DATA_DIR=str(tmp_path / "data"))
    assert outcome.returncode == ExitCode.USAGE
    assert "TINGBRO_DATABASE_URL must be a postgresql:// address" in outcome.stderr
    assert "TINGBRO_KAFKA_BOOTSTRAP_SERVERS must be set" in outcome.stderr
    assert "TINGBRO_SECRET_KEY must be set" in outcome.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["up", "migrate"])
def test_kafka_beside_sqlite_ends_with_usage(command: str, tmp_path: Path) -> None:
    outcome = run(
        command,
        TINGBRO_DATA_DIR=str(tmp_path / "data"),
        TINGBRO_KAFKA_BOOTSTRAP_SERVERS="kafka:9092",
    )
    assert outcome.returncode == ExitCode.USAGE
    assert "TINGBRO_KAFKA_BOOTSTRAP_SERVERS" in outcome.stderr
    assert not (tmp_path / "data").exists()


def test_copy_says_what_it_copied_and_what_to_do_then(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("migrate", TINGBRO_DATABASE_URL=f"sqlite:///{tmp_path / name}.db")
    outcome = run(
        "copy",
        "--from",
        f"sqlite:///{tmp_path / 'a.db'}",
        "--to",
        f"sqlite:///{tmp_path / 'b.db'}",
    )
    assert outcome.returncode == ExitCode.DONE, outcome.stderr
    assert "the books agree" in outcome.stdout
    assert "never again on the source" in outcome.stdout


@pytest.mark.parametrize(
    ("source", "code", "sentence"),
    [
        ("sqlite:///nowhere/hub.db", ExitCode.FAILED, "There is no database at nowhere/hub.db."),
        ("mysql://hub:hunter2@db/hub", ExitCode.USAGE, "mysql database URL is not understood"),
    ],
)
def test_copy_from_what_is_no_database_fails_with_a_sentence(
    source: str, code: ExitCode, sentence: str, tmp_path: Path
) -> None:
    target = f"sqlite:///{tmp_path / 'b.db'}"
    run("migrate", TINGBRO_DATABASE_URL=target)
    outcome = run("copy", "--from", source, "--to", target)
    assert outcome.returncode == code
    assert sentence in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "hunter2" not in outcome.stderr + outcome.stdout


@pytest.mark.parametrize("command", ["up", "check", "migrate"])
def test_wrong_settings_are_all_named_before_anything_happens(command: str, tmp_path: Path) -> None:
    outcome = run(
        command,
        TINGBRO_DATA_DIR=str(tmp_path / "data"),
        TINGBRO_HTTP_PORT="no",
        TINGBRO_LOG_LEVL="info",
    )
    assert outcome.returncode == ExitCode.USAGE
    assert "TINGBRO_HTTP_PORT" in outcome.stderr
    assert "Did you mean TINGBRO_LOG_LEVEL?" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (tmp_path / "data").exists()


def test_check_of_a_machine_that_can_run_the_hub_ends_with_zero(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    outcome = run(
        "check",
        TINGBRO_DATA_DIR=str(tmp_path),
        TINGBRO_HTTP_HOST="127.0.0.1",
        TINGBRO_HTTP_PORT=str(port),
    )
    assert outcome.returncode == ExitCode.DONE, outcome.stdout
    assert "MISSING" not in outcome.stdout.upper()


def test_check_names_a_port_in_use_and_ends_with_its_own_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outcome = run(
            "check",
            TINGBRO_DATA_DIR=str(tmp_path),
            TINGBRO_HTTP_HOST="127.0.0.1",
            TINGBRO_HTTP_PORT=str(port),
        )
    assert outcome.returncode == ExitCode.ENVIRONMENT
    assert f"missing  HTTP port: 127.0.0.1:{port}" in outcome.stdout


def test_reset_without_a_database_fails_with_a_hint(tmp_path: Path) -> None:
    outcome = run("admin", "reset-password", "a@example.org", TINGBRO_DATA_DIR=str(tmp_path))
    assert outcome.returncode == ExitCode.FAILED
    assert "TINGBRO_DATA_DIR" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_migrate_says_what_it_did(tmp_path: Path) -> None:
    outcome = run("migrate", TINGBRO_DATA_DIR=str(tmp_path / "data"))
    assert outcome.returncode == ExitCode.DONE, outcome.stderr
    assert "has schema" in outcome.stdout
    assert (tmp_path / "data" / "tingbro.db").exists()


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == ExitCode.DONE
    assert capsys.readouterr().out == f"tingbro {VERSION}\n"


def test_help_answers_at_once() -> None:
    started_s = time.perf_counter()
    run("--help")
    # A wish of 0.2 s; ten times that only fails when something heavy crept in.
    assert time.perf_counter() - started_s < 2
