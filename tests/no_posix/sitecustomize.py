"""Takes from this package's code, in every interpreter that finds this file, what Windows lacks.

The standard library and other packages keep it: on Windows they have their own ways, which cannot be tried here.
`VIDEOMAE_NO_POSIX` names a folder, in which each such interpreter leaves a file.
"""

from __future__ import annotations

import builtins
import errno
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

PACKAGE = "videomae"
MODULES = {"crypt", "fcntl", "grp", "nis", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
# All that Python's documentation says Windows has.
SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"}
SIGNAL_FUNCTIONS = {"Signals", "Handlers", "signal", "getsignal", "raise_signal", "default_int_handler", "strsignal"}
NAMES = {
    "os": """
        O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC O_TMPFILE WEXITSTATUS WIFEXITED WIFSIGNALED WTERMSIG
        chown confstr ctermid eventfd fchdir fchmod fchown fdatasync fork forkpty getegid geteuid getgid
        getgroups getloadavg getpgid getpgrp getpriority getresuid getsid getuid killpg lchown lockf major
        memfd_create minor mkfifo mknod nice openpty pathconf pidfd_open pipe2 posix_fadvise posix_fallocate
        posix_spawn pread preadv pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity
        sched_yield sendfile setegid seteuid setgid setpgid setpriority setsid setuid splice statvfs sync
        sysconf sysconf_names tcgetpgrp uname wait wait3 wait4 waitid writev
    """,
    "select": "poll epoll kqueue EPOLLIN POLLHUP POLLIN",
    "signal": " ".join(set(dir(signal)) - SIGNALS - SIGNAL_FUNCTIONS),
    "socket": "AF_UNIX SCM_RIGHTS recv_fds send_fds socketpair",
    "time": "clock_gettime clock_getres tzset pthread_getcpuclockid",
}
INSTEAD = {"os": {"name": "nt"}, "sys": {"platform": "win32"}}
FORBIDDEN_IN_NAMES = set('<>:"|?*')
_is_looking = False


class _Without:
    """A module without some of its names."""

    __slots__ = ("_parts",)

    def __init__(self, module: ModuleType) -> None:
        gone = set(NAMES.get(module.__name__, "").split())
        object.__setattr__(self, "_parts", (module, gone, INSTEAD.get(module.__name__, {})))

    def __getattr__(self, name: str) -> Any:
        module, gone, instead = self._parts
        if name in gone:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r} on Windows")
        return instead[name] if name in instead else getattr(module, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._parts[0], name, value)


def _import(
    name: str,
    globals: dict[str, Any] | None = None,
    locals: Any = None,
    fromlist: Any = (),
    level: int = 0,
    *,
    plainly: Any = builtins.__import__,
) -> Any:
    asks = str((globals or {}).get("__package__") or (globals or {}).get("__name__", ""))
    if asks.partition(".")[0] != PACKAGE or level:
        return plainly(name, globals, locals, fromlist, level)
    if name in MODULES:
        raise ModuleNotFoundError(f"No module named {name!r} on Windows", name=name)
    module = plainly(name, globals, locals, fromlist, level)
    return _Without(module) if module.__name__ in {*NAMES, *INSTEAD} else module


def _is_ours(frame: FrameType | None) -> bool:
    """Whether this package's code asked, itself or through the standard library."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name == "tempfile":  # on Windows it lets the system delete its files
            return False
        if name not in sys.stdlib_module_names and frame.f_globals.get("__file__") != __file__:
            return name == PACKAGE
        frame = frame.f_back
    return False


def _is_open(path: str) -> bool:
    """Whether this process has the file open or mapped, so that Windows would neither delete nor replace it."""
    path = os.path.realpath(path)
    for number in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{number}") == path:
                return True
        except OSError:  # the one with which the folder was listed
            continue
    with open("/proc/self/maps") as maps:
        return any(line.rstrip("\n").endswith(f" {path}") for line in maps)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    global _is_looking
    if event not in ("open", "os.fork", "os.forkpty", "os.link", "os.symlink", "os.remove", "os.rename", "os.kill"):
        return
    if _is_looking or not _is_ours(sys._getframe().f_back):
        return
    _is_looking = True
    try:
        _refuse(event, arguments)
    finally:
        _is_looking = False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, _, flags = arguments
        if not isinstance(path, str | bytes):
            return
        path = os.fsdecode(path)
        if path.startswith(("/proc", "/sys", "/dev/shm")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if flags & (os.O_WRONLY | os.O_RDWR) and FORBIDDEN_IN_NAMES & set(path):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    elif event in ("os.remove", "os.rename"):
        paths = arguments[:2] if event == "os.rename" else arguments[:1]
        if any(os.path.isfile(path) and _is_open(os.fsdecode(path)) for path in paths):
            raise PermissionError(errno.EACCES, f"{event}: another handle has the file open", str(paths))
    else:
        raise OSError(errno.ENOSYS, f"Windows has no {event}")


Path(os.environ["VIDEOMAE_NO_POSIX"], str(os.getpid())).touch()
builtins.__import__ = _import
sys.addaudithook(_audit)
multiprocessing.set_start_method("spawn")
