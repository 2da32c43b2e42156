"""Run functions in fresh processes of this machine, forked from a server with torch imported.

Every call has its own process: its own CUDA context, peak memory, thread pools and random state.
The parent needs none of the heavy imports, and pays for them once, in the server.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.engine.stopping import Stopped
from benchmarks.launch.server import (
    DEFERS,
    EVENT,
    FAILURE,
    INTEGER,
    RESULT,
    STOPPED,
    USER_ERROR,
)
from tasks.errors import UserError

TICK_SECONDS = 0.25
STEP_SECONDS = 600.0
"""How long a child that was asked to stop may take for its training step and a checkpoint."""
GRACE_SECONDS = 3.0
"""How long one that is not training may take before it is killed."""
CLOSE_SECONDS = 0.5
"""How long the server may take to notice that it is no longer needed: it does unless it imports."""

# The path comes first: with ``-c`` a stray ``tasks.py`` of the current folder would win otherwise.
_BOOTSTRAP = (
    "import sys; sys.path[:] = {path!r}; "
    "from benchmarks.launch.server import serve; serve({fd}, {preload!r})"
)

# torch's default check for a GPU initialises the driver, and no forked child could use CUDA then.
_ENVIRONMENT = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}

Event = dict[str, Any]


class RunFailed(Exception):  # noqa: N818 - it names an outcome, as a verdict does
    """The function did not return: it raised, exited or was killed. One line says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ForkServer:
    """Hands out one fresh process a call, one call at a time.

    The server starts importing when it is made, so that the parent can do other things meanwhile;
    it is started again when it has died. Use it as a context manager, or :meth:`close` it.

    Args:
        preload: names of modules that the server imports; those that cannot be are passed over.
    """

    def __init__(self, preload: Sequence[str]) -> None:
        self._preload = tuple(preload)
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._defers = False
        """Whether the process under way would finish a training step before it stops."""
        self._start()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def call(
        self,
        function: Callable[..., Any] | str,
        *args: Any,
        on_event: Callable[[Event], None] | None = None,
        log: Path | None = None,
        on_tick: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> Any:
        """Return ``function(*args, report)``, run in a fresh process.

        Args:
            function: importable by name in a new process, or ``"package.module:function"``, which
                the parent does not import.
            args: what it is given, picklable, before ``report``.
            on_event: called here with every mapping that the function gives to ``report``.
            log: file that the process's stdout and stderr are appended to, at descriptor level;
                None leaves both on this process's stderr.
            on_tick: called here about four times a second.
            on_stop: called here when the process was asked to stop, and may have to end its step.

        Raises:
            KeyboardInterrupt: this process, or the function's, was asked to stop. Its attribute
                ``at`` is a mapping with ``step`` and ``phase`` where a checkpoint was saved.
            UserError: the function raised it.
            RunFailed: it raised anything else (the traceback is in the log), exited or was killed.
        """
        # Pickled before anything starts, so that what cannot travel fails here and at once.
        payload = pickle.dumps((function, args))
        channel, pid = self._fork()
        outcome: tuple[str, Any] | None = None
        try:
            with contextlib.suppress(BrokenPipeError):  # it died already: its status says why
                channel.send((sys.path, None if log is None else str(Path(log).absolute())))
                channel.send_bytes(payload)
            for kind, content in self._messages(channel, on_tick):
                if kind == DEFERS:
                    self._defers = content
                elif kind != EVENT:
                    outcome = (kind, content)
                elif on_event is not None:
                    on_event(content)
            status = self._read_integer()
        except KeyboardInterrupt as stop:
            if on_stop is not None:
                on_stop()
            stop.at = self._end(pid, channel)  # type: ignore[attr-defined]
            raise
        except BaseException:
            self._end(pid, channel)
            raise
        finally:
            self._defers = False
            channel.close()
        return _outcome(outcome, status)

    def close(self) -> None:
        """End the server, and with it any process that it still runs."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:  # still importing
                self._server.kill()
                self._server.wait()
            self._server = None

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            bootstrap = _BOOTSTRAP.format(
                path=sys.path, fd=theirs.fileno(), preload=list(self._preload)
            )
            self._server = subprocess.Popen(
                [sys.executable, "-c", bootstrap],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **_ENVIRONMENT},
                stdout=2,  # stdout belongs to what the command prints
                start_new_session=True,  # Ctrl-C reaches the parent alone, which ends the child
            )
        self._control = ours

    def _fork(self) -> tuple[Connection, int]:
        """A new process: the channel to it, and its id."""
        if self._server is not None and self._server.poll() is not None:
            self.close()
        if self._control is None:
            self._start()
        assert self._control is not None
        ours, theirs = Pipe()
        try:
            with theirs:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            return ours, self._read_integer()
        except BaseException as error:
            # Half a request leaves the socket out of step: a new server begins afresh.
            ours.close()
            self.close()
            if isinstance(error, OSError):
                raise RunFailed("the process server ended before the run began") from error
            raise

    def _messages(self, channel: Connection, on_tick: Callable[[], None] | None) -> Any:
        """Everything that the child sends until it has ended."""
        assert self._control is not None
        sources: list[Any] = [channel, self._control]
        next_tick = time.monotonic() + TICK_SECONDS
        while True:
            ready = wait(sources, max(0.0, next_tick - time.monotonic()))
            if channel in ready:
                try:
                    yield channel.recv()
                except (EOFError, OSError):
                    sources.remove(channel)
            elif self._control in ready:
                return
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_SECONDS
                if on_tick is not None:
                    on_tick()

    def _read_integer(self) -> int:
        assert self._control is not None
        data = self._control.recv(INTEGER.size, socket.MSG_WAITALL)
        if len(data) < INTEGER.size:
            self.close()
            raise RunFailed("the process server was killed, and the run with it")
        number: int = INTEGER.unpack(data)[0]
        return number

    def _end(self, pid: int, channel: Connection) -> dict[str, Any]:
        """Ask the child to stop, kill it when it does not, and wait for its end.

        Returns:
            Where it has saved a checkpoint; empty if it has not.
        """
        at: dict[str, Any] = {}
        if self._control is None:
            return at
        try:
            # The child alone: it needs its readers of pictures until its step is done.
            for request in (lambda: os.kill(pid, signal.SIGTERM), lambda: _kill_group(pid)):
                if not wait([self._control], 0):
                    with contextlib.suppress(ProcessLookupError):
                        request()
                at |= self._farewell(channel)
                if wait([self._control], 0):
                    with contextlib.suppress(RunFailed):
                        self._read_integer()
                    return at
            self.close()
            return at
        except BaseException:  # a second Ctrl-C: no more patience
            self.close()
            raise

    def _farewell(self, channel: Connection) -> dict[str, Any]:
        """Wait for the child's end, as long as it may take; where it has saved a checkpoint."""
        assert self._control is not None
        at: dict[str, Any] = {}
        sources: list[Any] = [channel, self._control]
        began = time.monotonic()
        while time.monotonic() - began < (STEP_SECONDS if self._defers else GRACE_SECONDS):
            ready = wait(sources, TICK_SECONDS)
            if self._control in ready:
                break
            if channel in ready:
                try:
                    kind, content = channel.recv()
                except Exception:  # a message that the signal cut in two
                    sources.remove(channel)
                    continue
                if kind == DEFERS:
                    self._defers, began = content, time.monotonic()
                elif kind == STOPPED and content["batch"] is not None:
                    at = {"batch": content["batch"], "phase": content["phase"]}
        return at


def _kill_group(pid: int) -> None:
    os.killpg(pid, signal.SIGKILL)


def _outcome(outcome: tuple[str, Any] | None, status: int) -> Any:
    kind: str
    content: Any
    kind, content = outcome or ("", "")
    if kind == RESULT:
        return content
    if kind == USER_ERROR:
        raise UserError(content)
    if kind == FAILURE:
        raise RunFailed(content)
    if kind == STOPPED:
        stop = Stopped(content["number"])
        stop.at = {} if content["batch"] is None else content  # type: ignore[attr-defined]
        raise stop
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        names = {number.value: number.name for number in signal.Signals}
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        raise RunFailed(f"killed by {names.get(-code, f'signal {-code}')}{hint}")
    raise RunFailed(f"exited with code {code} and no result")
