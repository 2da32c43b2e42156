"""Methods of every kind that the contract is made for: what each needs really happens."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import kinds
from contract.registering import REGISTERED

from benchmarks.budget import Budget
from benchmarks.conformance.checking import run_check
from benchmarks.conformance.finding import PASSED
from benchmarks.conformance.subject import Subject
from benchmarks.engine.building import build_run, prepared_model
from benchmarks.engine.evaluation import Rows, evaluate
from benchmarks.engine.session import TrainingSession
from benchmarks.engine.snapshot import InTraining
from benchmarks.engine.spent_rows import phase_rows, run_rows
from benchmarks.meters.session import RunMeters
from benchmarks.meters.train_operations import TrainOperations
from benchmarks.spec import RunSpec
from methods.base import METHODS, Method, Phase
from tasks.errors import UserError

KINDS = sorted(name for name in REGISTERED if name.startswith("kind_"))


def spec(method: str, epochs: float = 2, recipe: dict[str, Any] | None = None, **options: Any):
    arch = options.pop("arch", "cifar_resnet8")
    return RunSpec(
        suite="s",
        profile="smoke",
        task="classification",
        task_options={"dataset": "digits", "arch": arch},
        method=method,
        method_options=options,
        seed=0,
        budget=Budget.parse({"epochs": epochs}),
        recipe=recipe or {},
        device="cpu",
        threads=1,
    )


def trained(folder: Path, of: RunSpec) -> tuple[TrainingSession, RunMeters]:
    built = build_run(of)
    model = prepared_model(built, note=lambda text: None)
    meters = RunMeters(built.device, TrainOperations(seed=0))
    source = built.task.batches(built.recipe.batch_size, 0, built.device)
    batches = of.budget.total_batches(len(source), built.recipe.batch_size, 1)
    session = TrainingSession(
        built.task,
        built.method,
        model,
        built.recipe,
        batches,
        0,
        built.device,
        meters,
        folder,
        1,
        report=lambda event: None,
    )
    session.built = built
    session.run()
    return session, meters


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_and_resumed_run_equals_a_whole_one(name: str) -> None:
    finding = run_check(Subject(name, epochs=2), "resumes")
    assert finding.status == PASSED, finding


def test_a_teacher_is_validated_in_its_phase_and_counted_apart(tmp_path: Path) -> None:
    session, meters = trained(tmp_path, spec("kind_distillation", 4))
    first = [point for point in session.state.curve if point["phase"] == "teacher"]
    assert first[-1]["top1"] > 50  # the student has learnt nothing by then
    rows = {m.metric: m.value for m in run_rows(meters, session.model, session.held.companions)}
    teacher = sum(p.numel() for p in session.method._teacher.parameters())
    assert rows["params_companions"] == teacher
    assert rows["params"] == sum(p.numel() for p in session.model.parameters())
    saved = torch.load(session.checkpoint, weights_only=True)
    assert saved["companions"]["teacher"].keys() == session.method._teacher.state_dict().keys()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_backward_passes_make_one_update(tmp_path: Path, accumulate: int) -> None:
    session, _ = trained(tmp_path, spec("kind_sam", 1, {"accumulate": accumulate}))
    (result,) = session.state.finished
    assert result.optimizer_steps == -(-result.batches // accumulate)


def test_an_update_within_a_batch_is_counted(tmp_path: Path) -> None:
    session, _ = trained(tmp_path, spec("kind_two_updates", 1))
    (result,) = session.state.finished
    assert result.optimizer_steps == 2 * result.batches


def test_a_network_that_is_pruned_while_it_trains_has_its_shapes_everywhere(
    tmp_path: Path,
) -> None:
    session, _ = trained(tmp_path, spec("kind_pruning", 2))
    assert session.model.backbone.fc[0].out_features == 8
    saved = torch.load(session.checkpoint, weights_only=True)
    assert saved["structure"] == {"hidden": 8}
    # Opened again, from the prepared network of 24.
    again, _ = trained(tmp_path, spec("kind_pruning", 2))
    assert again.model.backbone.fc[0].out_features == 8
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, session.model.state_dict()[name])


def test_the_best_weights_may_have_another_structure(tmp_path: Path) -> None:
    session, meters = trained(tmp_path, spec("kind_pruning", 2, at=30))
    wide = build_run(spec("kind_pruning", 2))
    model = prepared_model(wide, note=lambda text: None)
    snapshot = InTraining(wide.method, model, torch.device("cpu")).take()
    assert snapshot.structure == {"hidden": 24}
    with session.held.restored(snapshot) as best:
        assert best.backbone.fc[0].out_features == 24
        assert torch.equal(best.backbone.fc[0].weight, model.backbone.fc[0].weight)
    assert session.model.backbone.fc[0].out_features == 8
    session.state.best, session.state.best_epoch = vars(snapshot), 99
    table = Rows(session.built, "run")
    evaluate(session.built, session.held, session.state, table, meters)
    assert table.value("top1", "test_best") < table.value("top1", "test")


def test_data_that_is_chosen_counts_as_what_is_trained_on(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path / "plain", spec("end_to_end", 2))
    chosen, meters = trained(tmp_path / "chosen", spec("kind_pruned_data", 2))
    images = plain.state.finished[0].samples
    assert chosen.state.finished[0].batches > 1.5 * plain.state.finished[0].batches
    assert images <= chosen.state.finished[0].samples < images + 64
    rows = {
        m.metric: m.value
        for _, m in phase_rows(chosen.built, meters, chosen.state, len(plain._source()))
    }
    assert rows["spent_epochs"] == pytest.approx(2, abs=0.1)


def test_smaller_images_cost_less(tmp_path: Path) -> None:
    session, meters = trained(tmp_path, spec("kind_progressive", 2))
    plain, reference = trained(tmp_path / "plain", spec("end_to_end", 2))
    found = {m.metric: m.value for m in run_rows(meters, session.model)}
    whole = {m.metric: m.value for m in run_rows(reference, plain.model)}
    assert found["train_flops"] < 0.9 * whole["train_flops"]
    assert session.state.finished[0].samples < plain.state.finished[0].samples + 64


def test_images_are_known_by_their_index(tmp_path: Path) -> None:
    session, _ = trained(tmp_path, spec("kind_selective", 1))
    images = session.task.train_samples()
    assert len(session.method._losses) > 0.9 * images
    assert set(session.method._losses) <= set(range(images))


def test_finish_is_a_phase_of_its_own(tmp_path: Path) -> None:
    session, meters = trained(tmp_path, spec("kind_swa", 2))
    rows = {(phase, m.metric): m for phase, m in meters.measurements()}
    assert rows["finish", "train_time"].value > 0
    statistics = session.method._mean.bn1 if hasattr(session.method._mean, "bn1") else None
    norm = statistics or next(
        m for m in session.method._mean.modules() if isinstance(m, torch.nn.BatchNorm2d)
    )
    assert int(norm.num_batches_tracked) == len(session._source())
    assert session.state.finish_done


def test_an_optimizer_is_carried_into_the_next_phase(tmp_path: Path) -> None:
    seen = []

    class Look(kinds.Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append(len(runner.optim_wrapper.optimizer.state))

    class Looking(kinds.TwoPhases):
        def hooks(self):
            return [Look()]

    for carry, number in ((True, 1), (False, 0)):
        seen.clear()
        METHODS._objects["looking"] = Looking
        session, _ = trained(tmp_path / str(carry), spec("looking", 1, carry=carry))
        first = session.state.finished[0].batches
        assert (seen[first] > 0) is bool(number)


def test_an_optimizer_of_other_shapes_is_not_carried(tmp_path: Path) -> None:
    class Reshaped(kinds.Pruning):
        def phases(self, model):
            yield Phase("wide", 0.5)
            self.restructure(model, {"hidden": 8})
            yield Phase("narrow", 0.5, carry_optimizer=True)

        def hooks(self):
            return []

    METHODS._objects["reshaped"] = Reshaped
    with pytest.raises(UserError, match=r"phase 'narrow' carries on an optimizer"):
        trained(tmp_path, spec("reshaped", 1))


def test_the_first_phase_has_no_optimizer_to_carry(tmp_path: Path) -> None:
    class First(Method):
        def prepare(self, model):
            return model

        def phases(self, model):
            yield Phase(carry_optimizer=True)

    METHODS._objects["first"] = First
    with pytest.raises(UserError, match="there is none"):
        trained(tmp_path, spec("first", 1))


def test_a_method_is_refused_on_a_family_that_it_is_not_for() -> None:
    class Images(Method):
        families = ("detection",)

        def prepare(self, model):
            return model

    METHODS._objects["images"] = Images
    with pytest.raises(UserError, match="images is for detection, not for classification"):
        build_run(spec("images"))


def test_no_method_imports_the_harness() -> None:
    root = Path(__file__).parents[2] / "methods"
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            imports = isinstance(node, ast.Import | ast.ImportFrom)
            names = [alias.name for alias in node.names] if imports else []
            names.append(getattr(node, "module", None) or "")
            assert not any(name.split(".")[0] == "benchmarks" for name in names), file
