"""Where the hub's actors live. Paths are stable: operators see them and actors find each other by them."""

HUB = "/hub"
WRITER = "/hub/writer"
LEASES = "/hub/leases"
WAKE_UPS = "/hub/wake-ups"
TARGETS = "/hub/targets"
DECODERS = "/hub/decoders"
DEVICES = "/hub/devices"
ROUTER = "/hub/router"
DEFERRAL = "/hub/deferral"
REPLAY = "/hub/replay"
HOUSEKEEPING = "/hub/housekeeping"
JOURNAL = "/hub/journal"
FLEET = "/hub/fleet"


def target_path(target_id: int) -> str:
    """Return the path of one data target's actor."""
    return f"{TARGETS}/{target_id}"
