"""Check every run of a suite before the first one starts, and name it by all that decides it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.engine.building import Built, build_run
from benchmarks.engine.fingerprint import fingerprint
from benchmarks.launch.trial import Trial, try_run
from benchmarks.launch.warm_start import in_order, source_of
from benchmarks.records.identity.run_id import run_id
from benchmarks.records.row import stored_metrics
from benchmarks.spec import RunSpec, method_defaults
from tasks.base import BatchSource
from tasks.crash import crash_sentence
from tasks.errors import UserError


def plan_runs(
    specs: Sequence[dict[str, Any]],
    report: Callable[[dict[str, Any]], None],
    estimate: bool = False,
    finished: Container[str] = (),
) -> list[dict[str, Any]]:
    """Build every distinct task and method once, and give each run its id.

    Args:
        specs: run specifications as mappings.
        report: takes ``{"event": "planning", "run": n, "part": part}`` as a part of a run (see
            :func:`.build_run`; empty for the whole) begins to be checked, and
            ``{"event": "planned", "done": n, "of": n}`` when it is done.
        estimate: time a few training steps for each distinct run.
        finished: ids of runs that nothing is tried or timed for.

    Returns:
        One mapping a run: ``run_id``, ``label``, ``spec``, ``fingerprint``, ``headline``,
        ``task`` (its family), ``dataset``, ``arch``, ``batches`` (None where only meters end the
        run), ``expected_batches`` and ``seconds`` (estimates, or None) and
        ``batches_per_epoch``.

    Raises:
        UserError: a run cannot work, or code of its method or task raises; names the run. Nothing
            has been trained yet.
    """
    checked: dict[str, tuple[Built, dict[str, Any], BatchSource]] = {}
    tried: dict[str, Trial] = {}
    taken: dict[tuple[Any, ...], int] = {}
    plans: list[dict[str, Any]] = []
    ordered = in_order([RunSpec.from_dict(mapping) for mapping in specs])
    for number, spec in ((place + 1, spec) for place, spec in ordered):
        full = spec.to_dict()
        key = repr({**full, "seed": None})

        def check(part: str, number: int = number) -> None:
            report({"event": "planning", "run": number, "part": part})

        check("")
        with _naming(spec):
            if key not in checked:
                built = build_run(spec, check)
                check("")
                source = built.task.batches(built.recipe.batch_size, spec.seed, built.device)
                checked[key] = (built, fingerprint(built), source)
            built, facts, source = checked[key]
            init = None
            if spec.init_from:
                init = source_of(spec, plans)
                facts = {**facts, "init_from": init["run_id"], "weights": init["weights"]}
            defaults = method_defaults(spec.method)
            identity = run_id(full, facts, built.task.dataset, built.task.arch, defaults)
            if key not in tried and identity not in finished:
                tried[key] = try_run(built, source, estimate)
            trial = tried.get(key, Trial())
            batches = total_batches(built, len(source), trial.updates)
            expected = trial.batches(spec.budget, batches)
        plans.append(
            {
                "run_id": identity,
                "label": built.label,
                "spec": full,
                "fingerprint": facts,
                "headline": built.task.headline,
                "metrics": stored_metrics({**built.task.metrics, **built.method.metrics}),
                "task": built.task.family,
                "dataset": built.task.dataset,
                "arch": built.task.arch,
                **({} if init is None else {"init_from": init}),
                "batches": batches,
                "expected_batches": expected,
                "batches_per_epoch": len(source),
                "seconds": trial.time_of(expected),
            }
        )
        rows = (built.task.dataset, built.task.arch, built.label, spec.seed)
        if taken.setdefault(rows, number) != number:
            raise UserError(
                f"runs {taken[rows]} and {number} of the plan are both called {built.label} with "
                f"seed {spec.seed}: give one of the methods a 'label'"
            )
        report({"event": "planned", "done": len(plans), "of": len(specs)})
    order = [place for place, _ in ordered]
    return [plans[order.index(place)] for place in range(len(plans))]


@contextmanager
def _naming(spec: RunSpec) -> Iterator[None]:
    """Name the run in whatever its method, its task or the harness raises."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{spec.called}: {error}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{spec.called}: {crash_sentence(error)}") from error


def total_batches(built: Built, batches_per_epoch: int, updates: float = 1.0) -> int | None:
    """Batches that the counted units of the run's budget pay for; None without any.

    Args:
        built: the run's parts.
        batches_per_epoch: batches in one epoch.
        updates: optimizer updates that the method makes where the recipe asks for one.
    """
    recipe = built.recipe
    images = min(recipe.batch_size, built.task.train_samples())
    return built.spec.budget.total_batches(batches_per_epoch, images, recipe.accumulate / updates)
