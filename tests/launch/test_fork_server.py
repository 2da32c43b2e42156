"""The fork server: a fresh process a call, whatever happens in it reported in one line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest
import warm
from launch import launch_helpers as helpers

from benchmarks.launch.local import ForkServer, RunFailed
from benchmarks.launch.preload import PRELOAD
from tasks.errors import UserError

HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def real_server():
    with warm.real_fork_server():
        yield


@pytest.fixture(scope="module")
def server():
    with ForkServer(["launch.preloaded_by_server_alone", "no_such_module_anywhere"]) as running:
        yield running


def gone(pid: int, within: float = 5.0) -> bool:
    """Whether ``pid`` ends within so many seconds (a zombie has ended)."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_returns_the_result_of_a_function_given_by_object_or_by_name(server):
    assert server.call(helpers.add, 2, 3) == 5
    assert server.call("launch.launch_helpers:add", [1], [2]) == [1, 2]


def test_every_call_has_a_fresh_process_with_the_preload_in_it(server):
    first, second = server.call(helpers.identity), server.call(helpers.identity)
    assert first["pid"] != second["pid"]
    assert os.getpid() not in (first["pid"], first["parent"])
    assert first["parent"] == second["parent"]
    assert first["preloaded"]
    assert "launch.preloaded_by_server_alone" not in sys.modules


def test_events_arrive_in_order_and_none_is_lost(server):
    steps = []
    result = server.call(helpers.count, 500, on_event=lambda event: steps.append(event["batch"]))
    assert result == 500
    assert steps == list(range(500))


def test_a_user_error_crosses_the_process_boundary(server):
    with pytest.raises(UserError, match=r"^no data set at 'here'; download it first$"):
        server.call(helpers.user_mistake)


def test_an_exception_is_one_line_here_and_a_traceback_in_the_log(server, tmp_path):
    log = tmp_path / "log.txt"
    with pytest.raises(RunFailed) as failure:
        server.call(helpers.crash, log=log)
    assert failure.value.reason == "ValueError: bad value"
    assert "Traceback" in log.read_text()
    assert "in crash" in log.read_text()


def test_a_result_that_cannot_travel_is_a_failure_not_a_hang(server, tmp_path):
    with pytest.raises(RunFailed, match="lambda"):
        server.call(helpers.unpicklable, log=tmp_path / "log.txt")


@pytest.mark.parametrize(
    ("function", "argument", "reason"),
    [
        (helpers.kill_self, "SIGKILL", r"^killed by SIGKILL \(out of memory\?\)$"),
        (helpers.kill_self, "SIGSEGV", "^killed by SIGSEGV$"),
        (helpers.leave, 3, "^exited with code 3 and no result$"),
        (helpers.leave, 0, "^exited with code 0 and no result$"),
        (helpers.leave_at_once, 7, "^exited with code 7 and no result$"),
    ],
)
def test_a_death_is_named(server, function, argument, reason):
    with pytest.raises(RunFailed, match=reason):
        server.call(function, argument)
    assert server.call(helpers.add, 1, 1) == 2


def test_the_log_gets_what_c_code_and_subprocesses_write_and_is_appended_to(server, tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("earlier\n")
    server.call(helpers.speak, log=log)
    lines = log.read_text().splitlines()
    assert lines[0] == "earlier"
    assert set(lines[1:]) == {"from python", "to stderr", "from c", "from a subprocess"}


def test_ticks_come_while_the_child_is_silent(server):
    ticks = []
    assert server.call(helpers.nap, 1.2, on_tick=lambda: ticks.append(1)) == "slept"
    assert 3 <= len(ticks) <= 5


def test_what_a_child_leaves_behind_ends_with_it(server):
    assert gone(server.call(helpers.leave_a_grandchild))


@pytest.mark.parametrize("function", [helpers.nap, helpers.nap_stubbornly])
def test_an_interrupt_in_the_parent_ends_the_child_and_goes_on_up(server, function):
    pids = []

    def interrupt(event):
        pids.append(event["pid"])
        threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()

    with pytest.raises(KeyboardInterrupt):
        server.call(function, 60, on_event=interrupt)
    assert gone(pids[0], within=0.5)
    assert server.call(helpers.add, 1, 1) == 2


def test_an_error_in_a_callback_ends_the_child(server):
    pids = []

    def broken(event):
        pids.append(event["pid"])
        raise RuntimeError("display")

    with pytest.raises(RuntimeError, match="display"):
        server.call(helpers.nap, 60, on_event=broken)
    assert gone(pids[0], within=0.5)


def test_a_killed_server_fails_the_run_and_the_next_call_has_a_new_server():
    with ForkServer([]) as server:
        parent = server.call(helpers.identity)["parent"]
        pids = []

        def kill(event):
            pids.append(event["pid"])
            os.kill(parent, signal.SIGKILL)

        with pytest.raises(RunFailed, match="server was killed"):
            server.call(helpers.nap, 60, on_event=kill)
        assert gone(pids[0])
        assert server.call(helpers.identity)["parent"] != parent


def test_closing_ends_the_server():
    server = ForkServer([])
    parent = server.call(helpers.identity)["parent"]
    server.close()
    assert gone(parent, within=0.5)


def test_a_file_of_the_current_folder_does_not_take_a_package_s_place(tmp_path, monkeypatch):
    (tmp_path / "tasks.py").write_text("raise RuntimeError('the wrong tasks')")
    monkeypatch.chdir(tmp_path)
    root = str(HERE.parents[1])
    monkeypatch.setattr(sys, "path", [root, *(entry for entry in sys.path if entry)])
    with ForkServer(["tasks"]) as server:
        assert server.call(helpers.add, 1, 1) == 2


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_parent_is_killed_the_child_and_the_server_end_at_once(how):
    script = textwrap.dedent("""
        from launch import launch_helpers as helpers
        from benchmarks.launch.local import ForkServer
        server = ForkServer([])
        print(server.call(helpers.identity)["parent"], flush=True)
        say = lambda event: print(event["pid"], flush=True)
        server.call(helpers.nap_stubbornly, 60, on_event=say)
    """)
    path = os.pathsep.join([str(HERE.parent), str(HERE.parents[1])])
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        server, child = (int(parent.stdout.readline()) for _ in range(2))
        assert psutil.pid_exists(child)
        parent.send_signal(how)
        assert gone(child, within=1.0)
        assert gone(server, within=1.0)


def test_torch_works_in_a_child_and_a_fork_is_fast():
    pytest.importorskip("torch")
    with ForkServer(["torch"]) as server:
        server.call(helpers.identity)  # the first call waits for the imports
        began = time.perf_counter()
        server.call(helpers.identity)
        assert time.perf_counter() - began < 0.5
        for _ in range(2):
            found = server.call(helpers.torch_threads, 2)
            assert found["threads"] == 2
            assert not found["cuda"]
            assert found["product"] == pytest.approx(found["expected"], rel=1e-4)
            assert found["centre"] == 72.0


@pytest.mark.gpu
def test_a_child_can_use_the_gpu_after_the_server_imported_everything():
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no CUDA device")
    with ForkServer(PRELOAD) as server:
        assert server.call("launch.launch_helpers:gpu_sum", 8) == 8.0


DRIVER = """
static int ready;
int cuInit(unsigned flags) { ready = 1; return 0; }
int cuCtxGetCurrent(void **context) { *context = 0; return ready ? 0 : 3; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
@pytest.mark.parametrize("initialised", [True, False])
def test_a_process_is_not_forked_from_one_with_an_initialised_driver(
    tmp_path, monkeypatch, capfd, initialised
):
    """Where NVML cannot answer, torch initialises CUDA to count devices: no fork could use it."""
    (tmp_path / "cuda.c").write_text(DRIVER)
    library = tmp_path / "libcuda.so.1"
    build = ["cc", "-shared", "-fPIC", "-o", str(library), str(tmp_path / "cuda.c")]
    subprocess.run(build, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    modules = ["launch.preloaded_by_server_alone"]
    if initialised:
        modules.append("launch.initialises_cuda")
    with ForkServer(modules) as server:
        found = [server.call(helpers.identity) for _ in range(2)]
        steps: list[dict] = []
        assert server.call(helpers.count, 3, on_event=steps.append) == len(steps) == 3
        with pytest.raises(UserError, match="no data set at"):
            server.call(helpers.user_mistake)
    assert found[0]["parent"] == found[1]["parent"] != os.getpid()
    assert [each["preloaded"] for each in found] == 2 * [not initialised]
    assert capfd.readouterr().err.count("where NVML is absent") == initialised
