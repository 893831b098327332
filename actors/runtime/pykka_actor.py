"""`pykka.Actor` as the base of ours.

At run time it is pykka's own class. For the type checker it is a stand-in, because pykka declares
hooks that return None and attributes that can be assigned: an `async def on_start` in any subclass
would be an error against it.
"""

from typing import TYPE_CHECKING, Any

import pykka

__all__ = ["PykkaActor"]

if TYPE_CHECKING:

    class PykkaActor:
        def on_receive(self, message: Any) -> Any: ...
        def _handle_receive(self, message: Any) -> Any: ...
        def stop(self) -> None: ...

else:
    PykkaActor = pykka.Actor
