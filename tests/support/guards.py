"""Guards for tests, whose receivers are on this machine and speak plain HTTP."""

from ipaddress import ip_network
from typing import Final

from protocols.targets.guarding.guard import Guard, GuardRules

LOOPBACK_RULES: Final = GuardRules(allow_networks=(ip_network("127.0.0.0/8"),), allow_http=True)

LOOPBACK_SETTINGS: Final = {
    "TARGET_ALLOW_NETWORKS": "127.0.0.0/8",
    "TARGET_ALLOW_HTTP": "yes",
}
"""The same, for a hub in a process of its own; named without the prefix."""


def loopback_guard() -> Guard:
    return Guard(LOOPBACK_RULES)
