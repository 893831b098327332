"""What a worker process can still do."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from protocols.decoders import DecoderPool

# Asked this way, the kernel tells which Landlock it has, if any.
LANDLOCK_CREATE_RULESET = 444

IS_ROOT = os.geteuid() == 0


def status_of(pid: int) -> dict[str, str]:
    lines = read(f"/proc/{pid}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def read(path: str) -> str:
    return Path(path).read_text()


def targets_of_links(folder: str) -> list[str]:
    return sorted(os.readlink(each) for each in Path(folder).iterdir())


async def test_worker_has_no_rights(pool: DecoderPool) -> None:
    for pid in pool.worker_pids:
        status = status_of(pid)
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapEff"], 16) == 0
        assert "0" not in status["Uid"].split()
        assert status["Threads"] == "1"
        assert read(f"/proc/{pid}/oom_score_adj").strip() == "1000"


async def test_worker_keeps_to_its_resource_limits(pool: DecoderPool) -> None:
    text = read(f"/proc/{pool.worker_pids[0]}/limits")
    limits = {line[:26].strip(): line[26:].split()[:2] for line in text.splitlines()}
    assert limits["Max address space"] == ["2147483648"] * 2
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max processes"] == ["0", "0"]


@pytest.mark.skipif(not IS_ROOT, reason="only root may look into an undumpable process")
async def test_worker_has_no_environment_files_or_network(pool: DecoderPool) -> None:
    for pid in pool.worker_pids:
        assert read(f"/proc/{pid}/environ").strip("\0") == ""
        opened = targets_of_links(f"/proc/{pid}/fd")
        kinds = [name.partition(":")[0] for name in opened]
        assert kinds == [*["/dev/null"] * 3, f"/proc/{pid}/statm", "socket"]
        assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")


async def test_zygote_has_loaded_what_workers_need_and_nothing_that_talks(
    pool: DecoderPool,
) -> None:
    assert pool.zygote_pid is not None
    mapped = read(f"/proc/{pool.zygote_pid}/maps")
    assert "_quickjs" in mapped
    assert "_ssl" not in mapped


PROBE = """
import os, socket
from protocols.decoders import sandbox
inside = socket.socket()
sandbox.enter(address_space_bytes=1 << 31, parent_pid=os.getppid())

def attempt(name, action):
    try:
        action()
    except OSError:
        print(name, "refused")
    else:
        print(name, "allowed")

attempt("read", lambda: open("/etc/hostname"))
attempt("list", lambda: os.listdir("/etc"))
attempt("write", lambda: open("/tmp/decoder-escape", "w"))
attempt("fork", os.fork)
attempt("connect", lambda: inside.connect(("127.0.0.1", 9)))
"""


def test_what_takes_over_the_process_finds_no_files_and_no_processes() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROBE], stdout=subprocess.PIPE, text=True, check=True, timeout=20
    )
    found = dict(line.split() for line in ran.stdout.splitlines())
    assert found["fork"] == "refused"
    assert found["connect"] == "refused"
    if ctypes.CDLL(None).syscall(LANDLOCK_CREATE_RULESET, None, 0, 1) >= 1:
        assert [found["read"], found["list"], found["write"]] == ["refused"] * 3
