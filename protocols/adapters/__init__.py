"""Adapters: how devices reach the hub, one file per protocol.

`Adapter` is the contract and its docstrings suffice to implement it. A module of this package that
defines a concrete subclass of it is a protocol; modules that define none serve the others.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from types import MappingProxyType

from protocols.adapters._contract import Adapter, AdapterLimits, Received
from protocols.messages import DeviceType

__all__ = ["Adapter", "AdapterLimits", "Received", "discover"]


@cache
def discover() -> MappingProxyType[DeviceType, type[Adapter]]:
    """Return every adapter there is, by the type of its devices."""
    adapters: dict[DeviceType, type[Adapter]] = {}
    for found in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(found.name)
        for member in vars(module).values():
            if (
                inspect.isclass(member)
                and issubclass(member, Adapter)
                and member.__module__ == module.__name__
                and not inspect.isabstract(member)
            ):
                if member.device_type in adapters:
                    raise TypeError(f"Two adapters for {member.device_type}: {member}.")
                adapters[member.device_type] = member
    return MappingProxyType(adapters)
