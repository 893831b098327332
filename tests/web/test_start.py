"""What the start of a hub does before it is ready, and leaves alone when it cannot get there."""

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocols.errors import PortUnavailable
from tests.support.hub_process import HubProcess
from web.listening import claimed_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_start_on_a_taken_port_makes_nothing_and_says_what_to_do(
    tmp_path: Path, taken_port: int
) -> None:
    hub = HubProcess(tmp_path, settings={"HTTP_PORT": str(taken_port), "ADMIN_PASSWORD": ""})
    hub.launch()
    assert hub.wait() == 3
    assert not hub.data_dir.exists()
    (complaint,) = hub.unexpected_lines()
    assert complaint.startswith(f"tingbro: 127.0.0.1:{taken_port} cannot be listened on")
    assert "TINGBRO_HTTP_PORT" in complaint


def test_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    directory = tmp_path / "file" / "data"
    hub = HubProcess(tmp_path / "hub", settings={"DATA_DIR": str(directory)})
    hub.launch()
    assert hub.wait() == 3
    (complaint,) = hub.unexpected_lines()
    assert f"{directory} cannot be made (Not a directory): check TINGBRO_DATA_DIR." in complaint


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid", "127.0.0.1:one"])
def test_server_that_is_not_there_is_named_without_the_password(tmp_path: Path, host: str) -> None:
    hub = HubProcess(tmp_path, settings={"DATABASE_URL": f"postgresql://u:very-secret@{host}/hub"})
    hub.launch()
    assert hub.wait() == 3
    said = "\n".join(hub.unexpected_lines())
    assert "It cannot be reached: check the URL and the network." in said
    assert host.partition(":")[0] in said
    assert "very-secret" not in said + hub.output()


def test_what_the_hub_keeps_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        kept = [hub.data_dir, *hub.data_dir.iterdir()]
        modes = {path.name: stat.S_IMODE(os.stat(path).st_mode) for path in kept}
    assert {"tingbro.db", "secret_key"} <= modes.keys()
    assert not {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


def test_ipv6_wildcard_takes_ipv4_too() -> None:
    with claimed_port("::", 0) as (claimed,):
        claimed.listen()
        address = ("127.0.0.1", claimed.getsockname()[1])
        with socket.create_connection(address, timeout=5):
            pass


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_host_that_is_not_here_is_refused_with_a_sentence(host: str) -> None:
    with pytest.raises(PortUnavailable, match=f"{host}:3000 cannot be listened on"):  # noqa: SIM117
        with claimed_port(host, 3000):
            pass
