"""What a suite does about records that are not what was written: name them, and make them again."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.analysis.load import read_folder
from benchmarks.records.row import FAILED
from benchmarks.records.store import FINISHED, Store
from benchmarks.records.verification import DamagedError
from tasks.errors import UserError


def set_damaged_aside(store: Store, run_ids: Iterable[str]) -> list[str]:
    """Rename the folders of damaged runs, so that they are repeated; a sentence for each."""
    sentences = []
    for run_id in dict.fromkeys(run_ids):
        damage = store.damage(run_id)
        if damage:
            aside = store.set_aside(run_id)
            sentences.append(f"{damage}: the run is repeated, and set aside as {aside.name}")
    return sentences


def damage_of_folder(store: Store) -> list[str]:
    """What is wrong with plan and index, which are about to be written again."""
    if not store.rows_path.exists():
        return []
    try:
        read_folder(store.path, metrics=())
    except DamagedError as error:
        return [f"{error.what}: it is written again"]
    return []


def require_ended(store: Store, run_ids: Iterable[str]) -> None:
    """Raise ``UserError`` if a run that had ended was damaged since, and is not repeated."""
    for run_id in run_ids:
        if store.state(run_id) not in (FAILED, FINISHED):
            raise UserError(
                f"the records of {run_id} in {store.path} were changed while the suite ran, and "
                "the run was set aside: give the same command once more, which repeats it"
            )
