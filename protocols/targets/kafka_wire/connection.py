"""One connection to a Kafka broker, to exactly the address that was looked up, from a broker that may lie.

aiokafka speaks the protocol. What is added here: the address is pinned while TLS still checks the
broker's name, an answer has an end, and a login does not cost what the broker likes it to cost.
"""

import asyncio
import os
import ssl
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, ScramAuthenticator

from protocols.targets.kafka_wire.settings import BrokerAddress, Identity, KafkaTargetSettings

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""The largest that is asked for is the description of one topic: 1,000 partitions are 50 kB."""

# A hundred times what Kafka asks for unless told otherwise; one second of one core.
_MAX_SCRAM_ITERATIONS: Final = 1_000_000
# Brokers give up a connection after ten minutes: to be quicker saves finding that out.
_IDLE_MS: Final = 9 * 60 * 1_000
_CLIENT_ID: Final = "tingbro"


class UnacceptableAnswer(ConnectionError):
    """What the broker says is no Kafka, or too much of it."""


class BrokerConnection(AIOKafkaConnection):  # type: ignore[misc]  # the library has no types
    """Made, then `connect`ed, then asked with `send`; `end` it, whatever happened."""

    _reader: Any

    def __init__(
        self, address: str, broker: BrokerAddress, settings: KafkaTargetSettings, context: Any
    ) -> None:
        """`address` is where to connect to, `broker.host` the name that TLS has to prove."""
        login = settings.login
        super().__init__(
            address,
            broker.port,
            client_id=_CLIENT_ID,
            # Whoever asks has a limit of its own, which has to be the first to end.
            request_timeout_ms=settings.timeout_s * 2_000,
            security_protocol=settings.security.upper(),
            ssl_context=None if context is None else _ContextForName.of(context, broker.host),
            max_idle_ms=_IDLE_MS,
            sasl_mechanism=None if login is None else login.mechanism.upper(),
            sasl_plain_username=None if login is None else login.username,
            sasl_plain_password=None if login is None else login.password,
        )
        self.address = address

    def end(self) -> "asyncio.Future[None] | None":
        """Close at once: what was not answered fails, and what was not sent is not sent.

        Returns:
            Done when the socket is closed; None if there is none.
        """
        is_open, closed = self._writer is not None, self.close()
        return closed if is_open else None

    def close(self, reason: Any = None, exc: BaseException | None = None) -> Any:
        """What the library does, without waiting for the broker's goodbye, which TLS asks for."""
        writer, closed = self._writer, super().close(reason, exc)
        if writer is not None:
            writer.transport.abort()
        return closed

    def authenticator_scram(self) -> "_ThriftyScram":
        return _ThriftyScram(
            loop=self._loop,
            sasl_plain_password=self._sasl_plain_password,
            sasl_plain_username=self._sasl_plain_username,
            sasl_mechanism=self._sasl_mechanism,
        )

    def _create_reader_task(self) -> Any:
        # The one place between making the reader and reading from it.
        self._reader = _BoundedReader(self._reader)
        return super()._create_reader_task()


class _BoundedReader:
    """Refuses to read what nobody has asked for: a length is followed by so much memory."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def at_eof(self) -> bool:
        return self._reader.at_eof()

    async def readexactly(self, size: int) -> bytes:
        if not 0 <= size <= MAX_ANSWER_BYTES:
            raise UnacceptableAnswer(f"An answer of {size} bytes.")
        return await self._reader.readexactly(size)


class _ThriftyScram(ScramAuthenticator):  # type: ignore[misc]  # the library has no types
    """The broker says how much work a login is, and all logins share a few threads."""

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        if not 0 < iterations <= _MAX_SCRAM_ITERATIONS:
            raise UnacceptableAnswer(f"A login of {iterations} iterations.")
        super().create_salted_password(salt, iterations)


class _ContextForName(ssl.SSLContext):
    """Stands for a shared context and checks for one name, whatever address is connected to."""

    _shared: ssl.SSLContext
    _name: str

    @classmethod
    def of(cls, shared: ssl.SSLContext, name: str) -> "_ContextForName":
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context._shared, context._name = shared, name
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # the signature is the base's
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self._shared.wrap_bio(incoming, outgoing, server_side, self._name, session)


def tls_context(settings: KafkaTargetSettings) -> ssl.SSLContext:
    """Return a context that trusts whom the settings name, and checks names; takes milliseconds.

    Raises:
        ssl.SSLError: the library does not take the certificates after all.
    """
    context = ssl.create_default_context(cadata=settings.authorities)
    if settings.identity is not None:
        _show(settings.identity, context)
    return context


def _show(identity: Identity, context: ssl.SSLContext) -> None:
    """The ssl module reads a key from files only: this one is in memory, and nobody else can open it."""
    descriptor = os.memfd_create("identity")
    try:
        os.write(descriptor, (identity.key + identity.certificates).encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
