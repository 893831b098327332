"""What a worker gives up before it sees the first script.

Every step is taken if the kernel and the process's rights permit it and skipped silently if not:
limits and no_new_privs always work on Linux; dropping to nobody and leaving the network take root or
user namespaces; Landlock (no file can be opened) takes Linux 5.13. The order matters: files are
prepared before they are out of reach, and the death signal is set after the user changes, which
clears it.
"""

import contextlib
import ctypes
import os
import pwd
import resource
import signal
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPSET_VERSION_3 = 0x20080522
# The same numbers on every architecture.
_SYS_LANDLOCK_CREATE_RULESET = 444
_SYS_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_VERSION = 1
# The file and network rights that each version of the Landlock ABI knows.
_LANDLOCK_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_LANDLOCK_NET_BITS = 2
_LANDLOCK_SCOPE_BITS = 2
_OVERFLOW_ID = 65534

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """The kernel kills this process when the thread that forked it ends, whatever it is doing then."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)


def close_all_but(descriptors: tuple[int, ...]) -> None:
    """Closes every descriptor but these; standard input, output and error become /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    start = 3
    for kept in sorted(descriptors):
        os.closerange(start, kept)
        start = kept + 1
    os.closerange(start, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def return_memory() -> None:
    """Gives freed memory back to the kernel."""
    _libc.malloc_trim(0)


def enter(*, address_space_bytes: int, parent_pid: int) -> None:
    """Gives up everything a script could misuse if it took over the process. There is no way back."""
    os.environ.clear()
    _volunteer_for_oom_killer()
    if os.geteuid() == 0:
        _libc.unshare(_CLONE_NEWNET)
        _become_nobody()
    else:
        _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    # A new user namespace brings capabilities with it, and root may not have become nobody.
    _drop_capabilities()
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    die_with_parent(parent_pid)
    _limit_resources(address_space_bytes)
    _forbid_files()


def _volunteer_for_oom_killer() -> None:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def _become_nobody() -> None:
    try:
        entry = pwd.getpwnam("nobody")
        user_id, group_id = entry.pw_uid, entry.pw_gid
    except KeyError:
        user_id = group_id = _OVERFLOW_ID
    with contextlib.suppress(OSError):
        os.setgroups([])
    with contextlib.suppress(OSError):
        os.setresgid(group_id, group_id, group_id)
    with contextlib.suppress(OSError):
        os.setresuid(user_id, user_id, user_id)


def _drop_capabilities() -> None:
    header = struct.pack("=II", _CAPSET_VERSION_3, 0)
    _libc.capset(header, bytes(24))


def _limit_resources(address_space_bytes: int) -> None:
    for which, limit in (
        (resource.RLIMIT_AS, address_space_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_NPROC, 0),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (limit, limit))


def _forbid_files() -> None:
    """A Landlock ruleset that handles every right and grants none."""
    version = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return
    rights = (1 << _LANDLOCK_FILE_BITS[min(version, max(_LANDLOCK_FILE_BITS))]) - 1
    fields = [rights]
    if version >= 4:
        fields.append((1 << _LANDLOCK_NET_BITS) - 1)
    if version >= 6:
        fields.append((1 << _LANDLOCK_SCOPE_BITS) - 1)
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    ruleset = _libc.syscall(_SYS_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset >= 0:
        _libc.syscall(_SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
        os.close(ruleset)
