import socket
from pathlib import Path

import pytest

from web import check as check_module
from web.check import Finding, Verdict, check
from web.settings import read_settings


def findings_of(data_dir: Path, **variables: str) -> dict[str, Finding]:
    environment = {f"TINGBRO_{name}": value for name, value in variables.items()}
    settings = read_settings(
        {"TINGBRO_DATA_DIR": str(data_dir), "TINGBRO_HTTP_HOST": "127.0.0.1", **environment}
    )
    return {finding.subject: finding for finding in check(settings)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_everything_is_good_on_a_machine_that_can_run_the_hub(tmp_path: Path) -> None:
    findings = findings_of(tmp_path, HTTP_PORT=str(free_port()))
    assert not [f for f in findings.values() if f.verdict is Verdict.MISSING]
    assert {"Python", "SQLite", "data directory", "disk space", "HTTP port"} <= findings.keys()


def test_hub_on_a_server_needs_no_sqlite_and_no_fast_disk(
    tmp_path: Path, postgresql_url: str
) -> None:
    findings = findings_of(tmp_path, HTTP_PORT=str(free_port()), DATABASE_URL=postgresql_url)
    assert findings.keys().isdisjoint({"SQLite", "disk speed"})
    assert findings["database"].verdict is Verdict.GOOD


def test_checking_leaves_nothing_in_the_data_directory(tmp_path: Path) -> None:
    findings_of(tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_port_in_use_is_missing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        finding = findings_of(tmp_path, HTTP_PORT=str(port))["HTTP port"]
    assert finding.verdict is Verdict.MISSING
    assert str(port) in finding.sentence


def test_data_directory_that_cannot_be_made_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    findings = findings_of(tmp_path / "file" / "data")
    assert findings["data directory"].verdict is Verdict.MISSING
    assert findings["disk speed"].verdict is Verdict.MISSING


def test_little_disk_space_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_module, "LEAST_FREE_BYTES", 1 << 62)
    assert findings_of(tmp_path)["disk space"].verdict is Verdict.MISSING


def test_absent_mosquitto_is_a_note_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name, path: None)
    assert findings_of(tmp_path)["mosquitto"].verdict is Verdict.NOTE
