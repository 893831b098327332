"""The process that forks workers, because forking the hub itself would copy its threads and secrets.

It is started with an empty environment and nothing open but the channel to the hub, has no event
loop and imports little, so that a worker is a few milliseconds away. It forks on demand, reports
pids and exits, kills on demand (only it knows for sure that a pid still is the worker's), and ends
when the hub's side of the channel closes; its workers end with it.

Started by `ZygoteLink`; run as a module by a small bootstrap. `main` gets the channel's descriptor,
the hub's pid and the limits.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from types import FrameType

import msgspec

from protocols.decoders import sandbox
from protocols.decoders.frames import WorkerLimits, ZygoteReply, ZygoteRequest
from protocols.decoders.serving import work

_MESSAGE_BYTES = 4096
_CRASHED = 70


class Zygote:
    def __init__(self, channel: socket.socket, limits: WorkerLimits) -> None:
        self._channel = channel
        self._limits = limits
        self._workers: dict[int, int] = {}
        self._decoder = msgspec.msgpack.Decoder(ZygoteRequest)
        self._encoder = msgspec.msgpack.Encoder()
        self._wake, self._woken_by_signal = socket.socketpair()
        self._wake.setblocking(False)
        self._woken_by_signal.setblocking(False)

    def run(self) -> None:
        """Returns when the hub is gone, and in a forked worker when its work is done."""
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._woken_by_signal.fileno())
        # A hub that is killed closes the channel too, but resets it when it had not read everything.
        with contextlib.suppress(ConnectionError):
            self._serve()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._channel, self._wake], [], [])
            if self._wake in ready:
                self._wake.recv(_MESSAGE_BYTES)
                self._reap()
            if self._channel in ready and not self._obey():
                return

    def _obey(self) -> bool:
        """Handles one message; False when the channel has closed."""
        message, descriptors, _, _ = socket.recv_fds(self._channel, _MESSAGE_BYTES, 2)
        if not message:
            return False
        request = self._decoder.decode(message)
        if request.command == "fork":
            self._fork(request.worker, *descriptors)
        elif request.command == "kill":
            for pid, worker in self._workers.items():
                if worker == request.worker:
                    os.kill(pid, signal.SIGKILL)
        return True

    def _fork(self, worker: int, connection: int, progress: int) -> None:
        try:
            pid = os.fork()
        except OSError as exc:
            self._tell("failed", worker, exc.errno or 0)
        else:
            if pid == 0:
                self._become_worker(connection, progress)
            self._workers[pid] = worker
            self._tell("forked", worker, pid)
        os.close(connection)
        os.close(progress)

    def _become_worker(self, connection: int, progress: int) -> None:
        """Never returns: a worker must not come back into the zygote's loop."""
        code = _CRASHED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work(socket.socket(fileno=connection), progress, self._limits)
            code = 0
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._tell("exited", self._workers.pop(pid), os.waitstatus_to_exitcode(status))

    def _tell(self, event: str, worker: int, value: int) -> None:
        self._channel.send(self._encoder.encode(ZygoteReply(event, worker, value)))


def _ignore(signal_number: int, stack: FrameType | None) -> None:
    """A handler, unlike SIG_IGN, wakes the loop."""


def main() -> None:
    channel, hub_pid, limits = sys.argv[1:]
    # The terminal and service managers signal whole groups; the hub drains first, then closes us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sandbox.die_with_parent(int(hub_pid))
    os.environ.clear()
    os.chdir("/")
    gc.collect()
    gc.freeze()
    Zygote(socket.socket(fileno=int(channel)), msgspec.json.decode(limits, type=WorkerLimits)).run()
