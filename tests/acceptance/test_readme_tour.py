"""The tour of the README, run as it is written: the commands are taken from the page itself."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.guards import LOOPBACK_SETTINGS
from tests.support.hub_process import ROOT, HubProcess, free_port

README = ROOT / "README.md"
_BLOCK = re.compile(r"^```bash terminal=(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TIMEOUT_S = 60


def commands(terminal: str) -> str:
    """All that the README has a reader paste into one terminal, in order."""
    text = README.read_text(encoding="utf-8")
    return "".join(body for name, body in _BLOCK.findall(text) if name == terminal)


def settings_given_to_the_hub() -> dict[str, str]:
    words = shlex.split(commands("hub"))
    assert words[-2:] == ["make", "run"]
    given = dict(word.split("=", 1) for word in words[:-2])
    return {name.removeprefix("TINGBRO_"): value for name, value in given.items()}


@contextmanager
def listening(port: int, record: Path) -> Iterator[None]:
    words = shlex.split(commands("listener"))
    assert words == [".venv/bin/tingbro", "listen", "--port", "9000"]
    with record.open("w") as output:
        listener = subprocess.Popen(
            [sys.executable, "-m", "web", "listen", "--port", str(port), "--json"],
            cwd=ROOT,
            stdout=output,
        )
        try:
            yield
        finally:
            listener.terminate()
            listener.wait(10)


def pushes(record: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    return [line for line in lines if "body" in line]


def test_readme_opens_with_two_commands_that_the_makefile_has() -> None:
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert blocks[:2] == ["make run\n", "make test\n"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "test", "check", "fmt", "bench", "clean"} <= set(targets)


async def test_tour_works_when_pasted(tmp_path: Path) -> None:
    # What a test's hub is given otherwise is taken away: the tour has to bring what it needs.
    settings = {
        "ADMIN_EMAIL": "",
        **dict.fromkeys(LOOPBACK_SETTINGS, ""),
        **settings_given_to_the_hub(),
    }
    listener_port, record = free_port(), tmp_path / "pushes"
    with (
        HubProcess(tmp_path / "hub", settings=settings) as hub,
        listening(listener_port, record),
    ):
        script = commands("tour")
        script = script.replace("http://localhost:3000", hub.url)
        script = script.replace("http://localhost:9000/", f"http://localhost:{listener_port}/")
        # Read from standard input, as a shell reads what is pasted: line by line.
        outcome = await asyncio.to_thread(
            subprocess.run,
            ["bash", "--noprofile", "--norc"],
            input=script,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert outcome.stderr == "", outcome.stderr
        assert outcome.stdout.count("204\n") == 2, outcome.stdout
        assert '"imbalance": 0' in outcome.stdout
        assert re.search(r'"failed": 1\b', outcome.stdout)
        assert '"path": "/hub/targets/1"' in outcome.stdout
        assert '"path": "/hub/devices/1"' in outcome.stdout
        assert "TypeError" in outcome.stdout  # what the broken decoder says
        async with asyncio.timeout(10):
            while len(pushes(record)) < 2:  # noqa: ASYNC110 - the listener is another process
                await asyncio.sleep(0.05)
    assert [push["json"] for push in pushes(record)] == [
        {"temperature": 22.6, "humidity": 41},
        {"temperature": 24, "humidity": 44},
    ]
    replayed = pushes(record)[1]["headers"]
    assert isinstance(replayed, dict)
    assert replayed["tingbro-replay"] == "1"
