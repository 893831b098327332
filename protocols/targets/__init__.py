"""Data targets: where decoded messages go, one file per kind.

`Target` is the contract and its docstrings suffice to implement it. A module of this package that
defines a concrete subclass of it is a kind; modules that define none serve the others.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from types import MappingProxyType

from protocols.targets._contract import (
    DECODED,
    Delivered,
    Outcome,
    Push,
    Target,
    TargetResources,
)
from protocols.targets.http.signing import (
    ROTATION_S,
    SigningAlgorithm,
    new_signing_secret,
    public_key_of,
)

__all__ = [
    "DECODED",
    "ROTATION_S",
    "Delivered",
    "Outcome",
    "Push",
    "SigningAlgorithm",
    "Target",
    "TargetResources",
    "discover",
    "new_signing_secret",
    "public_key_of",
]


@cache
def discover() -> MappingProxyType[str, type[Target]]:
    """Return every kind of target there is, by its `kind`."""
    kinds: dict[str, type[Target]] = {}
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(found.name)
        for member in vars(module).values():
            if (
                inspect.isclass(member)
                and issubclass(member, Target)
                and member.__module__ == module.__name__
                and not inspect.isabstract(member)
            ):
                if member.kind in kinds:
                    raise TypeError(f"{member} and {kinds[member.kind]} are both {member.kind!r}.")
                kinds[member.kind] = member
    return MappingProxyType(kinds)
