"""The web as one object: every route there is, and the server that answers them."""

import time
from collections.abc import Awaitable, Callable

from aiohttp.web import BaseRequest, StreamResponse
from prometheus_client import CollectorRegistry

from web import metrics, openapi, operators
from web.authentication import Authenticator
from web.dispatch import Dispatcher
from web.feed_cache import FeedCache
from web.ingest import Ingest
from web.login_throttle import LoginThrottle
from web.passwords import PasswordHasher
from web.resources import (
    api_key,
    application,
    auth,
    connection,
    data_target,
    data_target_operation,
    data_target_trial,
    device_batch,
    device_move,
    iot_device,
    message,
    open_data,
    organization,
    payload_decoder,
    redelivery,
    target_history,
    unacknowledged,
)
from web.routing import Route, RouteTable
from web.server import HubServer
from web.services import Services
from web.tokens import TokenSigner


def build_server(services: Services) -> HubServer:
    """Return the server, to be run by `aiohttp.web.ServerRunner`. Call it on the running loop."""
    settings = services.settings
    return HubServer(
        build_handler(services),
        head_timeout_s=settings.head_timeout_s,
        keep_alive_s=settings.keep_alive_s,
    )


def build_handler(
    services: Services,
) -> Callable[[BaseRequest], Awaitable[StreamResponse]]:
    """Return what answers every request. Does no I/O.

    Raises:
        TypeError: a route does not declare what it needs.
        ValueError: two routes are the same.
    """
    settings = services.settings
    registry = CollectorRegistry()
    ingest = Ingest(
        services.hub,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        clock=services.clock,
    )
    metrics.watch(registry, services.hub, ingest)
    signer = TokenSigner(settings.secret_key, settings.token_lifetime_s)
    return Dispatcher(
        services=services,
        table=RouteTable(build_routes(signer, registry, version=settings.version)),
        authenticator=Authenticator(services.database, signer, clock=services.clock),
        ingest=ingest,
        metrics=metrics.ApiMetrics(registry),
    )


def build_routes(signer: TokenSigner, registry: CollectorRegistry, *, version: str) -> list[Route]:
    """Every route but the devices' own, which is answered before any routing."""
    throttle = LoginThrottle(time.monotonic)
    described = [
        *auth.routes(signer=signer, hasher=PasswordHasher(), throttle=throttle),
        *organization.ROUTES,
        *application.ROUTES,
        *iot_device.ROUTES,
        *device_batch.ROUTES,
        *device_move.ROUTES,
        *payload_decoder.ROUTES,
        *data_target.ROUTES,
        *data_target_operation.ROUTES,
        *data_target_trial.routes(),
        *unacknowledged.ROUTES,
        *target_history.ROUTES,
        *redelivery.ROUTES,
        *connection.ROUTES,
        *message.ROUTES,
        *open_data.routes(FeedCache()),
        *api_key.ROUTES,
        *operators.routes(registry),
    ]
    return [*described, *openapi.routes(described, version=version)]
