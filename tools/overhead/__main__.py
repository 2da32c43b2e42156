"""``python -m tools.overhead [--rounds N] [--output FILE]``: measure and print a page."""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.launch.local import ForkServer
from benchmarks.launch.preload import PRELOAD
from benchmarks.records.manifest import environment, now


def main() -> None:
    """Measure every case and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tools.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs (default 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads")
    parser.add_argument("--output", type=Path, help="write the page here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ForkServer(PRELOAD) as server:
        lines = header(options)
        for case in cases(Path(folder), options.threads):
            lines += compare_loops(server, case, options.rounds)
        lines += compare_data(server, options)
    page = "\n".join(lines) + "\n"
    print(page)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(page, encoding="utf-8")


def cases(folder: Path, threads: int) -> list[dict[str, Any]]:
    """Digits, and random pixels of CIFAR-10's size: speed does not depend on what they show."""
    random = np.random.default_rng(0)
    for split, count in (("train", 2560), ("test", 200)):
        pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.save(folder / f"{split}_images.npy", pixels)
        np.save(folder / f"{split}_labels.npy", np.arange(count) % 10)
    cifar = {
        "dataset": {"name": "npy", "root": str(folder)},
        "arch": "cifar_resnet20",
        "augment": {"pad": 4, "flip": True},
    }
    digits = {"dataset": "digits", "arch": "cifar_resnet26"}
    return [
        {"name": "digits, cifar_resnet26", "task": digits, "steps": 200, "threads": threads},
        {"name": "3x32x32, cifar_resnet20", "task": cifar, "steps": 40, "threads": threads},
    ]


def header(options: argparse.Namespace) -> list[str]:
    """What was measured, where and when."""
    facts = environment()
    packages = facts["packages"]
    return [
        "# What the harness costs",
        "",
        "The same network, batches, optimizer and schedule, trained in a plain PyTorch loop and",
        "through depthbench with all hooks, meters and checkpoints on. Every run has a process of",
        f"its own; the two alternate, and the order too ({options.rounds} pairs).",
        "Ratios are depthbench over plain, pair by pair: median (lowest to highest).",
        "",
        f"Measured {now()} by `python -m tools.overhead --rounds {options.rounds}"
        f" --threads {options.threads}` on {facts['system']}, {os.cpu_count()} cores, Python"
        f" {facts['python']}, torch {packages.get('torch')}, mmengine {packages.get('mmengine')},"
        f" commit {facts['git']['commit']}{' (dirty)' if facts['git']['dirty'] else ''}.",
        "",
        "| case | plain, steps/s | depthbench, steps/s | speed ratio | peak memory ratio |",
        "|---|---|---|---|---|",
    ]


def compare_loops(server: ForkServer, case: dict[str, Any], rounds: int) -> list[str]:
    """One line: both loops in turn, ``rounds`` times."""
    loops = {"plain": "plain_loop", "harness": "harness_loop"}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in loops}
    for number in range(rounds):
        for name in sorted(loops, reverse=bool(number % 2)):
            path = f"tools.overhead.loops:{loops[name]}"
            found[name].append(server.call(path, case, log=Path(os.devnull)))
    speed = ratios(found["harness"], found["plain"], "steps_per_second")
    peak = ratios(found["harness"], found["plain"], "peak")
    rates = {n: statistics.median(f["steps_per_second"] for f in found[n]) for n in loops}
    return [
        f"| {case['name']} | {rates['plain']:.1f} | {rates['harness']:.1f} "
        f"| {spread(speed)} | {spread(peak)} |"
    ]


def compare_data(server: ForkServer, options: argparse.Namespace) -> list[str]:
    """The data path alone against a DataLoader."""
    path = "tools.overhead.data_path:data_paths"
    pairs = [server.call(path, {"threads": options.threads}) for _ in range(options.rounds)]
    memory = statistics.median(pair["memory"] for pair in pairs)
    loader = statistics.median(pair["loader"] for pair in pairs)
    return [
        "",
        "The data path alone, 3x32x32 images, pad 4, crop, flip, normalise, batch 128: batches in",
        "memory against torchvision's v2 transforms in a Dataset with a DataLoader of two workers.",
        "",
        "| in memory, images/s | DataLoader, images/s | ratio |",
        "|---|---|---|",
        f"| {memory:,.0f} | {loader:,.0f} "
        f"| {spread([pair['memory'] / pair['loader'] for pair in pairs])} |",
    ]


def ratios(tops: list[dict[str, float]], bottoms: list[dict[str, float]], key: str) -> list[float]:
    """Pair by pair."""
    return [top[key] / bottom[key] for top, bottom in zip(tops, bottoms, strict=True)]


def spread(values: list[float]) -> str:
    """Median (lowest to highest)."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
