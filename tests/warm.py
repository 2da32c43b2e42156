"""Commands and run servers of tests, forked from one process that has imported everything.

A fresh process spends five CPU seconds on imports before the command does anything. Here a process
of its own imports torch and the rest once, and forks for each request::

    test ──request, file descriptors──▶ warm process ──fork──▶ command, or server of runs
      ◀───────────── process id, then wait status ──────────────┘

What a test sees is the same: exit code, stdout, stderr, folder, environment, module path. Tests of
start-up itself (imports, signals, streams, kills) start real processes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ADDRESS = "DEPTHBENCH_WARM_PROCESS"
"""Environment variable with the socket of the warm process."""
_SIZE = struct.Struct("!q")
_REAL: list[Callable[..., None]] = []
"""How a run server starts by itself."""
_IMPORTS = (
    *("pandas", "scipy.stats", "matplotlib.pyplot", "matplotlib.backends.backend_agg"),
    *("benchmarks.cli.run", "benchmarks.cli.report", "benchmarks.cli.compare"),
    *("benchmarks.cli.show", "benchmarks.cli.rerun", "benchmarks.cli.publish"),
    *("benchmarks.cli.check", "benchmarks.cli.verify", "benchmarks.cli.reproduce"),
    *("benchmarks.cli.gate", "benchmarks.cli.pictures", "benchmarks.cli.list"),
    *("benchmarks.launch.server", "benchmarks.report.build", "benchmarks.report.card.document"),
    "benchmarks.conformance.checking",
)


def run(
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 280,
) -> subprocess.CompletedProcess[str]:
    """``python -m benchmarks ARGUMENTS``, run to its end; stdout and stderr apart.

    Args:
        arguments: of the command.
        cwd: its folder; by default this process's.
        env: its whole environment; by default this process's.
        timeout: seconds after which it is killed.
    """
    words = [str(argument) for argument in arguments]
    environment = dict(os.environ if env is None else env)
    if ADDRESS not in os.environ:
        return subprocess.run(
            [sys.executable, "-m", "benchmarks", *words],
            cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        request = {"argv": words, "cwd": str(cwd or Path.cwd()), "env": environment}
        with _ask(request, [out.fileno(), err.fileno()]) as answers:
            pid = _read(answers)
            if not select.select([answers], [], [], timeout)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout)
            status = os.waitstatus_to_exitcode(_read(answers))
        found = []
        for file in (out, err):
            file.seek(0)
            found.append(file.read().decode("utf-8", errors="replace"))
    return subprocess.CompletedProcess(words, status, *found)


class Process:
    """A process that the warm one has forked, as far as the harness uses ``subprocess.Popen``."""

    def __init__(self, pid: int) -> None:
        self.pid, self._watch = pid, os.pidfd_open(pid)

    def poll(self) -> int | None:
        """0 once it has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        if self._ended(timeout) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return 0

    def kill(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        return 0 if select.select([self._watch], [], [], timeout)[0] else None

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._watch)


def patch_fork_server() -> None:
    """Let run servers of this process be forked from the warm one."""
    from benchmarks.launch import local

    def start(self: local.ForkServer) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            env = {**os.environ, **local._ENVIRONMENT}
            request = {"path": sys.path, "preload": self._preload, "cwd": os.getcwd(), "env": env}
            with _ask(request, [theirs.fileno(), 2]) as answers:
                self._server = Process(_read(answers))  # type: ignore[assignment]
        self._control = ours

    if not _REAL:
        _REAL.append(local.ForkServer._start)
    local.ForkServer._start = start  # type: ignore[method-assign]


@contextlib.contextmanager
def real_fork_server() -> Iterator[None]:
    """Inside, run servers of this process are started as users' are."""
    from benchmarks.launch import local

    patched = local.ForkServer._start
    local.ForkServer._start = _REAL[0] if _REAL else patched  # type: ignore[method-assign]
    try:
        yield
    finally:
        local.ForkServer._start = patched  # type: ignore[method-assign]


def start() -> subprocess.Popen[bytes]:
    """Start the warm process of this test process and everything that it starts."""
    address = os.path.join(tempfile.mkdtemp(prefix="warm-"), "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(8)
    with listener:
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,  # its end tells the warm process to leave
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    os.environ[ADDRESS] = address
    return process


def _ask(request: Mapping[str, Any], files: Sequence[int]) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.environ[ADDRESS])
    payload = pickle.dumps(dict(request))
    socket.send_fds(client, [_SIZE.pack(len(payload))], list(files))
    client.sendall(payload)
    return client


def _read(answers: socket.socket) -> int:
    data = answers.recv(_SIZE.size, socket.MSG_WAITALL)
    assert len(data) == _SIZE.size, "the warm process has ended"
    return int(_SIZE.unpack(data)[0])


def _serve(listener: socket.socket) -> None:
    from benchmarks.launch.preload import preload_for_tasks
    from tasks.base import TASKS

    names = [entry.name for entry in TASKS.entries()]
    for name in (*preload_for_tasks(names), *_IMPORTS):
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _answer(client)
        client.close()


def _answer(client: socket.socket) -> NoReturn:
    head, files, _, _ = socket.recv_fds(client, _SIZE.size, 2)
    request = pickle.loads(_receive(client, _SIZE.unpack(head)[0]))
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    if "argv" not in request:
        client.sendall(_SIZE.pack(os.getpid()))
        _be_server(request, *files)
    pid = os.fork()
    if pid == 0:
        client.close()
        _be_command(request, *files)
    client.sendall(_SIZE.pack(pid))
    _, status = os.waitpid(pid, 0)
    client.sendall(_SIZE.pack(status))
    os._exit(0)


def _receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += client.recv(size - len(data))
    return data


def _place(request: Mapping[str, Any], out: int, err: int) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    os.dup2(out, 1)
    os.dup2(err, 2)
    for name, number in (("stdout", 1), ("stderr", 2)):
        raw = io.BufferedWriter(io.FileIO(number, "wb", closefd=False))
        stream = io.TextIOWrapper(raw, encoding="utf-8", line_buffering=number == 2)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _be_server(request: Mapping[str, Any], control: int, err: int) -> NoReturn:
    from benchmarks.launch.server import serve

    os.setsid()
    _place(request, err, err)
    sys.path[:] = request["path"]
    serve(control, request["preload"])
    os._exit(0)


def _be_command(request: Mapping[str, Any], out: int, err: int) -> NoReturn:
    from benchmarks.cli import main

    _place(request, out, err)
    first = request["env"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = list(dict.fromkeys([request["cwd"], *filter(None, first), *sys.path]))
    sys.argv = ["depthbench", *request["argv"]]
    patch_fork_server()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
