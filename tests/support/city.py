"""A small world of its own in a running hub: an organization with one application."""

from dataclasses import dataclass
from typing import Final

from tests.support.hub_client import Device, HubClient

# Gives back what identifies the message, and nothing that changes from run to run.
ECHO: Final = "function decode(payload, metadata) { return {n: payload.n}; }"


@dataclass(frozen=True, slots=True)
class City:
    """Everything is made through the API, so that tests know no more than a user does."""

    client: HubClient
    organization_id: int
    application_id: int

    @classmethod
    async def found(cls, client: HubClient) -> "City":
        organization_id = await client.create_organization()
        return cls(client, organization_id, await client.create_application(organization_id))

    async def device(self) -> Device:
        return await self.client.create_device(self.application_id)

    async def decoder(self, source: str = ECHO) -> int:
        return await self.client.create_decoder(self.organization_id, source)

    async def target(self, url: str, **more: object) -> int:
        return await self.client.create_target(self.application_id, url, **more)

    async def connected_device(self, url: str, source: str | None = ECHO) -> Device:
        """A device whose messages go through a decoder of its own to a target of its own."""
        device = await self.device()
        decoder_id = None if source is None else await self.decoder(source)
        await self.client.connect([device], await self.target(url), decoder_id)
        return device

    async def settled(self, *, timeout_s: float = 20) -> None:
        """Return when all of this world's messages have come to their end."""
        await self.client.settled(self.organization_id, timeout_s=timeout_s)

    async def failed_jobs(self) -> int:
        books = await self.client.books(self.organization_id)
        return int(books["jobs"].get("failed", 0))
