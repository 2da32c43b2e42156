"""A ``/proc`` and control groups of our own, whose figures a test sets in seconds."""

from __future__ import annotations

import shutil
from pathlib import Path

TICK = 0.01


class FakeProc:
    """The files that ``Machine`` reads, on a machine of four cores of which two may be used."""

    cores = (0, 1)

    def __init__(self, root: Path) -> None:
        self.root, self.cgroups = root / "proc", root / "cgroup"
        self.root.mkdir()
        self.process("self", cpu=0.0, threads={"10": 0.0})
        self.used(0.0, 0.0)
        self.load(0.0)

    def process(
        self, pid: str, cpu: float, threads: dict[str, float], children: tuple[str, ...] = ()
    ) -> None:
        """A process with its CPU time and, by thread, the seconds waited for a core."""
        folder = self.root / pid
        shutil.rmtree(folder, ignore_errors=True)
        ticks = round(cpu / TICK)
        fields = ["R", *["0"] * 10, str(ticks), "0", "0", "0", *["0"] * 30]
        folder.mkdir()
        (folder / "stat").write_text(f"10 (a name) of (all)) {' '.join(fields)}\n")
        (folder / "cgroup").write_text("0::/user/job\n")
        for number, (thread, waited) in enumerate(threads.items()):
            own = folder / "task" / thread
            own.mkdir(parents=True)
            (own / "schedstat").write_text(f"123 {round(waited * 1e9)} 7\n")
            (own / "children").write_text(" ".join(children) if number == 0 else "")

    def used(self, ours: float, elsewhere: float, steal: float = 0.0, running: int = 1) -> None:
        """CPU time of all processes on the usable cores, and on the others."""
        # Since the machine was started, there was some more.
        half, other, taken = (round((10.0 + s) / 2 / TICK) for s in (ours, elsewhere, steal))
        lines = [f"cpu  {2 * half} 0 0 9 9 0 0 0 0 0"]
        lines += [f"cpu{core} {half} 0 0 55 66 0 0 {taken} 3 0" for core in (0, 1)]
        lines += [f"cpu{core} 0 0 {other} 55 66 0 0 0 0 0" for core in (2, 3)]
        text = "\n".join([*lines, "intr 5", f"procs_running {running}"])
        (self.root / "stat").write_text(text + "\n")

    def load(self, load: float) -> None:
        (self.root / "loadavg").write_text(f"{load:.2f} 0.31 0.15 5/98 4910\n")

    def pressure(self, seconds: float) -> None:
        (self.root / "pressure").mkdir(exist_ok=True)
        some = f"some avg10=7.99 avg60=2.27 avg300=0.66 total={round(seconds * 1e6)}"
        (self.root / "pressure" / "cpu").write_text(f"{some}\nfull avg10=0.00 total=0\n")

    def throttled(self, seconds: float, group: str = "user") -> None:
        folder = self.cgroups / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.stat").write_text(f"usage_usec 5\nthrottled_usec {round(seconds * 1e6)}\n")
