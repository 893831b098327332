"""A process whose wall clock is wrong, while its clock for durations is right, as on a machine without NTP.

libfaketime turns it, preloaded by the dynamic linker; its library comes built with the package of that name.
"""

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

import pytest

_LIBRARY: Final = "vendor/libfaketime/src/libfaketime.so.1"
# What the package is built for.
_MACHINES: Final = (("linux", "x86_64"),)


def variables(ahead_s: float) -> dict[str, str]:
    """Return what a process is started with that has its clock so far ahead; behind where it is negative."""
    if (sys.platform, platform.machine()) not in _MACHINES:
        _do_without("libfaketime is built for Linux on x86-64 only.")
    found = find_spec("libfaketime")
    assert found is not None, "it is a dependency of the tests"
    assert found.origin is not None
    return {
        "LD_PRELOAD": str(Path(found.origin).parent / _LIBRARY),
        "FAKETIME": f"{ahead_s:+f}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} No test is skipped here.")
    pytest.skip(reason)
