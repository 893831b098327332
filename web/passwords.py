"""Passwords: hashing with argon2id, off the event loop and a few at a time."""

import asyncio
import secrets
from collections.abc import Callable
from typing import TypeVar

import argon2

from protocols.errors import HubFull

# argon2-cffi's defaults are RFC 9106's second recommendation: 64 MiB and tens of milliseconds each.
# Two at a time keep an onslaught of logins below 128 MiB and leave the loop its core.
T = TypeVar("T")

_AT_ONCE = 2
_WAITING_LIMIT = 32
# 20 characters of 31, without the look-alikes 0 o 1 l i: 99 bits.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GENERATED_LENGTH = 20


class PasswordHasher:
    """Hashes and verifies. One for the process: it is what bounds the memory they take."""

    def __init__(self, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0
        self._decoy: str | None = None

    async def hash(self, password: str) -> str:
        """Raises: HubFull when too many wait already."""
        return await self._run(self._hash, password)

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether it is the password. None, for no such account, takes as long to say no.

        Raises: HubFull when too many wait already.
        """
        return await self._run(self._verify, password_hash, password)

    async def _run(self, work: Callable[..., T], *arguments: object) -> T:
        if self._waiting >= _WAITING_LIMIT:
            raise HubFull("Too many people are logging in at once.")
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(work, *arguments)
        finally:
            self._waiting -= 1

    def _hash(self, password: str) -> str:
        return self._hasher.hash(password)

    def _verify(self, password_hash: str | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = self._hasher.hash(secrets.token_urlsafe())
        try:
            self._hasher.verify(password_hash or self._decoy, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return password_hash is not None


def generate_password() -> str:
    """A password that can be read out and typed: groups of five, no look-alikes."""
    characters = "".join(secrets.choice(_ALPHABET) for _ in range(_GENERATED_LENGTH))
    return "-".join(characters[start : start + 5] for start in range(0, len(characters), 5))
