"""How the interpreter is set for a process that serves."""

import gc
import sys
from typing import Final

# The thread that writes gives the interpreter's lock up at every statement and gets it back only
# when the loop's thread is made to let go: by default after 5 ms, which is longer than a commit.
_SWITCH_INTERVAL_S: Final = 0.0005
# Messages die young, so the oldest generation, whose collection stops everything for a quarter of
# a second at 100,000 actors, is rarely worth a look.
_GC_THRESHOLDS: Final = (50_000, 20, 100)


def share_lock() -> None:
    """Let threads wait less long for the interpreter's lock. Call it first."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)


def settle_heap() -> None:
    """Take what is there now for permanent. Call it once everything has started."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
