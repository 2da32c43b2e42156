"""The server half of :mod:`benchmarks.launch.local`: imports once, then forks on request.

Three processes and two sockets::

    parent ──control──▶ server ──fork──▶ child (its own process group)
       ▲                                   │
       └────────── channel: events, result ┘

The control socket carries the child's end of a new channel to the server, and two integers back:
the child's process id, then its wait status. When the parent dies the kernel closes the control
socket and the server kills the child; when the server dies the kernel kills the child.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from benchmarks.engine.stopping import PROCESS, SIGNALS, StopRun
from benchmarks.launch.streams import secure_streams
from tasks.errors import UserError

INTEGER = struct.Struct("!q")
"""How process ids and wait statuses travel over the control socket."""

RESULT, EVENT, USER_ERROR, FAILURE = "result", "event", "user_error", "failure"
STOPPED, DEFERS = "stopped", "defers"

_PR_SET_PDEATHSIG = 1
_CUDA_NOT_INITIALIZED = 3

# The path comes first: with ``-c`` a stray ``tasks.py`` of the current folder would win otherwise.
_FRESH = (
    "import sys; sys.path[:] = {path!r}; "
    "from benchmarks.launch.server import fresh_child; fresh_child({fd})"
)
_NOTE = (
    "the driver of the GPU was initialised before the runs, as where NVML is absent or the GPU is "
    "a MIG instance: each run imports torch afresh, which takes some seconds"
)


def serve(control_fd: int, preload: Sequence[str]) -> None:
    """Import ``preload``, then fork one child a request until the parent hangs up."""
    secure_streams()
    # They are for the parent, which ends the run; here they come where all processes get them.
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    for name in preload:
        # A module that is absent or broken is reported by the run that needs it, not from here.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    fresh = cuda_initialised()  # in a forked process CUDA would fail then
    if fresh:
        print(f"note: {_NOTE}", file=sys.stderr, flush=True)
    gc.collect()
    gc.freeze()  # collections in a child would otherwise copy every page of the imports
    control = socket.socket(fileno=control_fd)
    wake, wake_end = socket.socketpair()
    wake.setblocking(False)
    wake_end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_end.fileno(), warn_on_full_buffer=False)
    while True:
        message, fds, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for unused in (control, wake, wake_end):
                unused.close()
            if fresh:
                os.set_inheritable(fds[0], True)
                code = _FRESH.format(path=sys.path, fd=fds[0])
                os.execv(sys.executable, [sys.executable, "-c", code])
            _child(Connection(fds[0]))
        os.close(fds[0])
        _own_group(pid)
        if not _send(control, pid):
            _kill_group(pid)
        status = _wait(pid, control, wake)
        _kill_group(pid)  # whatever the child left behind, such as data loader workers
        if status is None or not _send(control, status):
            return


def _wait(pid: int, control: socket.socket, wake: socket.socket) -> int | None:
    """The child's wait status; None when the parent hung up first, with the child killed."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        ready, _, _ = select.select([control, wake], [], [])
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                wake.recv(4096)
        if control in ready:  # the parent never writes while a child runs: it is gone
            _kill_group(pid)
            os.waitpid(pid, 0)
            return None


def _send(control: socket.socket, number: int) -> bool:
    try:
        control.sendall(INTEGER.pack(number))
    except OSError:
        return False
    return True


def _own_group(pid: int) -> None:
    """Give ``pid`` its own process group, so that it can be ended with all its descendants."""
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def cuda_initialised() -> bool:
    """Whether this process has initialised the driver of CUDA."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        return bool(
            driver.cuCtxGetCurrent(ctypes.byref(ctypes.c_void_p())) != _CUDA_NOT_INITIALIZED
        )
    except (OSError, AttributeError):  # no driver
        return False


def fresh_child(fd: int) -> NoReturn:
    """A child that shares nothing with the server, whose channel is ``fd``."""
    secure_streams()
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    _child(Connection(fd))


def _child(channel: Connection) -> NoReturn:
    _own_group(os.getpid())
    if sys.platform == "linux":
        server = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:
            os._exit(1)
    code = 0
    log = None
    try:
        sys.path[:], log = channel.recv()
        if log is not None:
            _redirect(log)
        function, args = channel.recv()
        PROCESS.listen(lambda defers: channel.send((DEFERS, defers)))
        if isinstance(function, str):
            function = resolve(function)

        def report(event: dict[str, Any]) -> None:
            channel.send((EVENT, event))

        channel.send((RESULT, function(*args, report)))
    except UserError as error:
        if log is not None:  # without one, the parent's own message is enough
            print(f"error: {error}", file=sys.stderr)
        channel.send((USER_ERROR, str(error)))
    except StopRun as stop:
        code = 128 + stop.number
        channel.send((STOPPED, {"number": stop.number, "batch": stop.batch, "phase": stop.phase}))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        traceback.print_exc()
        channel.send((FAILURE, one_line(error)))
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # Handlers registered at import belong to the server, so they do not run here.
        os._exit(code)


def _redirect(log: str) -> None:
    """Append everything that is written from here on, C libraries included, to ``log``."""
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    # A log is read while it runs, and must be whole after a kill.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    sys.stderr.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def resolve(name: str) -> Callable[..., Any]:
    """The function behind ``"package.module:function"``."""
    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return function


def one_line(error: BaseException, limit: int = 300) -> str:
    """``ValueError: what it said``, on one line of at most ``limit`` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(":")
    return text if len(text) <= limit else text[: limit - 1] + "…"
