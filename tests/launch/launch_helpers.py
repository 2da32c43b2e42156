"""Functions that the tests of the fork server run in its children."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

from tasks.errors import UserError


def add(a, b, report):
    return a + b


def identity(report):
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "preloaded": "launch.preloaded_by_server_alone" in sys.modules,
    }


def count(n, report):
    for i in range(n):
        report({"event": "progress", "batch": i, "payload": "x" * 5000})
    return n


def user_mistake(report):
    raise UserError("no data set at 'here'; download it first")


def crash(report):
    raise ValueError("bad\n   value")


def unpicklable(report):
    return lambda: None


def leave(code, report):
    raise SystemExit(code)


def leave_at_once(code, report):
    os._exit(code)


def kill_self(name, report):
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(30)


def speak(report):
    print("from python")
    print("to stderr", file=sys.stderr)
    libc = ctypes.CDLL(None)
    libc.puts(b"from c")
    libc.fflush(None)
    subprocess.run(["echo", "from a subprocess"], check=True)


def nap(seconds, report):
    report({"event": "pid", "pid": os.getpid()})
    time.sleep(seconds)
    return "slept"


def nap_stubbornly(seconds, report):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return nap(seconds, report)


def leave_a_grandchild(report):
    grandchild = subprocess.Popen(["sleep", "60"])
    report({"event": "pid", "pid": grandchild.pid})
    return grandchild.pid


def torch_threads(threads, report):
    import torch

    initialised = torch.cuda.is_initialized()
    torch.set_num_threads(threads)
    a = torch.arange(400.0 * 400).reshape(400, 400) / 1e5
    product = (a @ a).sum().item()
    images = torch.ones(4, 8, 32, 32)
    features = torch.nn.functional.conv2d(images, torch.ones(16, 8, 3, 3), padding=1)
    return {
        "cuda": initialised,
        "threads": torch.get_num_threads(),
        "product": product,
        "expected": (a.double() @ a.double()).sum().item(),
        "centre": features[0, 0, 16, 16].item(),
    }


def gpu_sum(n, report):
    import torch

    return float(torch.ones(n, device="cuda").sum())
