"""What a window's energy is worth: its rows, with notes on what limits them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.records.row import Measurement

COUNTER_STEP = 0.1
"""Seconds between two updates of the energy counter (20 to 100 ms, by device)."""
SHORTEST_WINDOW = 1.0
"""Seconds; shorter windows have no energy row."""
LONG_WINDOW = 10.0
"""Seconds; shorter windows carry their quantisation error in the row."""
DIVERGENCE = 0.05
"""Relative difference of counter and integral that is flagged."""

METRICS = ("energy_gpu_counter", "energy_gpu_integrated", "energy_gpu_error", "energy_idle")


@dataclass
class Account:
    """Energy of one window in one phase.

    ``counter`` and ``integrated`` are joules and hold only what could be measured: where the
    problem beside one is not empty, part of it is missing and the value must not be shown.
    ``gap_seconds`` are those in which power was not sampled, and ``gap_joules`` what the integral
    has for them.
    """

    seconds: float = 0.0
    stretches: int = 0
    counter: float = 0.0
    integrated: float = 0.0
    counter_problem: str = ""
    integrated_problem: str = ""
    gap_seconds: float = 0.0
    gap_joules: float = 0.0


def summed(first: Account, second: Account) -> Account:
    """Two accounts as one."""
    return Account(
        seconds=first.seconds + second.seconds,
        stretches=first.stretches + second.stretches,
        counter=first.counter + second.counter,
        integrated=first.integrated + second.integrated,
        counter_problem=first.counter_problem or second.counter_problem,
        integrated_problem=first.integrated_problem or second.integrated_problem,
        gap_seconds=first.gap_seconds + second.gap_seconds,
        gap_joules=first.gap_joules + second.gap_joules,
    )


def gap_error(account: Account, watts: tuple[float, float] | None) -> float:
    """Joules by which the integral may be wrong for lack of samples.

    Args:
        account: of a window.
        watts: the least and the most that the device may have drawn; None where not known.
    """
    if not account.gap_seconds or watts is None:
        return 0.0
    low, high = (each * account.gap_seconds for each in watts)
    return max(high - account.gap_joules, account.gap_joules - low, 0.0)


def quantisation(joules: float, seconds: float, stretches: int) -> float:
    """Joules that the counter's steps may have cost or given at the ends of windows."""
    return stretches * COUNTER_STEP * joules / seconds


def too_short(seconds: float, stretches: int) -> str:
    """Why windows of this length have no energy; empty where they have."""
    length = seconds / max(1, stretches)
    if length >= SHORTEST_WINDOW:
        return ""
    return f"windows of {length:.2g} s are too short for the counter: 1 s at least"


def account_rows(
    account: Account,
    condition: str,
    notes: Sequence[str],
    power_note: str,
    idle_watts: float | None,
    watts: tuple[float, float] | None = None,
) -> list[Measurement]:
    """The rows of one window.

    Args:
        account: its energy.
        condition: ends the metrics' names: nothing for training, ``@WINDOW`` for others.
        notes: on the device.
        power_note: how its power is read.
        idle_watts: sampled before the run, if it was.
        watts: the least and the most that the device may have drawn; None where not known.
    """
    reason = too_short(account.seconds, account.stretches)
    if reason:
        return [Measurement(metric + condition, None, reason) for metric in METRICS]
    counter = None if account.counter_problem else account.counter
    integrated = None if account.integrated_problem else account.integrated
    notes = ["device energy, not wall power", *notes]
    if counter and integrated and abs(counter - integrated) > DIVERGENCE * counter:
        share = abs(counter - integrated) / counter
        notes.append(f"counter and integrated power differ by {share:.1%}")
    best = counter if counter is not None else integrated
    error, error_note = None, "neither counter nor power could be read"
    counter_notes, integral_notes = list(notes), [*notes, power_note]
    if best is not None:
        steps = quantisation(best, account.seconds, account.stretches)
        if account.seconds / max(1, account.stretches) < LONG_WINDOW:
            counter_notes.append(f"quantisation error up to {steps:.3g} J")
        error = steps
        error_note = f"{account.stretches} windows, counter steps of {COUNTER_STEP} s"
        if account.gap_seconds and integrated is not None:
            gap = gap_error(account, watts)
            error += gap
            missing = f"power was not sampled for {account.gap_seconds:.1f} s"
            integral_notes.append(f"{missing}: error up to {gap:.3g} J")
            error_note += f" ({steps:.3g} J); {missing} ({gap:.3g} J, of the integral alone)"
    return [
        Measurement(
            f"energy_gpu_counter{condition}",
            counter,
            account.counter_problem if counter is None else "; ".join(counter_notes),
        ),
        Measurement(
            f"energy_gpu_integrated{condition}",
            integrated,
            account.integrated_problem if integrated is None else "; ".join(integral_notes),
        ),
        Measurement(f"energy_gpu_error{condition}", error, error_note),
        Measurement(
            f"energy_idle{condition}",
            None if idle_watts is None else idle_watts * account.seconds,
            "idle draw was not sampled before the run"
            if idle_watts is None
            else f"{idle_watts:.3g} W before the run",
        ),
    ]
