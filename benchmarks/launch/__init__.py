"""Where runs execute: processes forked on this machine, and the loop that drives a suite."""

from benchmarks.launch.local import ForkServer, RunFailed

__all__ = ["ForkServer", "RunFailed"]
