"""What the handlers need, made by the composition root and handed to `build_server`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network

from protocols.targets import TargetResources
from storage.database import Database
from storage.sealing import SecretBox
from web.hub_port import HubPort

KIBIBYTE = 1024


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """How the web behaves. `secret_key` signs the tokens: whoever knows it is every user."""

    secret_key: str = field(repr=False)
    version: str = "0"
    base_url: str = "http://localhost:3000"
    """Where the hub is reached from outside, without a slash at the end."""

    max_body_bytes: int = 1024 * KIBIBYTE
    body_timeout_s: float = 30.0
    """From the end of the head to the end of the body."""
    head_timeout_s: float = 15.0
    """From the connection to the end of the first request's head."""
    keep_alive_s: float = 75.0
    """Longer than the 60 s after which common proxies drop an idle connection."""

    token_lifetime_s: int = 9 * 3600
    """A working day; there is no refresh."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    database: Database
    hub: HubPort
    target_resources: TargetResources
    """For checking a data target's settings as its own kind reads them; nothing is sent."""
    settings: WebSettings
    box: SecretBox
    """Seals and opens the secrets of data targets."""
    clock: Callable[[], datetime] = utc_now
