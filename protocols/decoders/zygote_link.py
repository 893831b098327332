"""The hub's side of the zygote: starts it, asks it for workers, hears of their ends."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import msgspec

from protocols.decoders.frames import WorkerLimits, ZygoteReply, ZygoteRequest

# The package's __init__ brings the pool, asyncio and logging with it. The zygote needs none of it,
# and every worker would carry it, so the package is registered without running its __init__.
_BOOTSTRAP = """
import json, sys, types
sys.path[:] = json.loads(sys.argv.pop(1))
package = types.ModuleType("protocols.decoders")
package.__path__ = [sys.argv.pop(1)]
sys.modules["protocols.decoders"] = package
from protocols.decoders.zygote import main
main()
"""
_MESSAGE_BYTES = 4096
_STOP_TIMEOUT_S = 2.0


class ZygoteListener(Protocol):
    """Called on the loop. After `zygote_gone` nothing more is called for that zygote."""

    def worker_forked(self, worker: int, pid: int) -> None: ...

    def worker_exited(self, worker: int, exit_code: int | None) -> None:
        """`exit_code` is -n for signal n, and None when the worker could not be forked."""

    def zygote_gone(self) -> None: ...


class ZygoteLink:
    """One zygote process. Used from the loop's thread, which must be the one that stays alive:
    the kernel kills the zygote when the thread that started it ends."""

    def __init__(self, listener: ZygoteListener, limits: WorkerLimits) -> None:
        self._listener = listener
        self._limits = limits
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ZygoteReply)
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Raises: OSError when no process can be started."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                self._process = self._spawn(theirs.fileno())
            except OSError:
                ours.close()
                raise
        self._channel = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    def fork(self, worker: int, connection: socket.socket, progress: int) -> bool:
        """Asks for a worker that gets these two descriptors; they stay the caller's to close."""
        return self._send(ZygoteRequest("fork", worker), [connection.fileno(), progress])

    def kill(self, worker: int) -> None:
        self._send(ZygoteRequest("kill", worker), [])

    def stop(self) -> None:
        """Ends the zygote and with it every worker. The listener is not called."""
        process = self._process
        self._detach()
        if process is not None:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)

    def _spawn(self, descriptor: int) -> subprocess.Popen[bytes]:
        limits = msgspec.json.encode(self._limits).decode()
        here = str(Path(__file__).parent)
        path = msgspec.json.encode(sys.path).decode()
        arguments = [path, here, str(descriptor), str(os.getpid()), limits]
        return subprocess.Popen(
            [sys.executable, "-I", "-c", _BOOTSTRAP, *arguments],
            env={},
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _send(self, request: ZygoteRequest, descriptors: list[int]) -> bool:
        """False when the zygote is gone or does not listen; its end is reported on its own."""
        if self._channel is None:
            return False
        message = self._encoder.encode(request)
        try:
            socket.send_fds(self._channel, [message], descriptors)
        except OSError:
            return False
        return True

    def _read(self) -> None:
        while self._channel is not None:
            try:
                message = self._channel.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.stop()
                self._listener.zygote_gone()
                return
            self._hear(self._decoder.decode(message))

    def _hear(self, reply: ZygoteReply) -> None:
        if reply.event == "forked":
            self._listener.worker_forked(reply.worker, reply.value)
        else:
            exit_code = reply.value if reply.event == "exited" else None
            self._listener.worker_exited(reply.worker, exit_code)

    def _detach(self) -> None:
        if self._channel is not None:
            asyncio.get_running_loop().remove_reader(self._channel.fileno())
            self._channel.close()
        self._channel = None
        self._process = None
