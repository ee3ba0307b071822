# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""DLinkTrainer: what is logged, the two stages, which model is kept, what resuming and accumulating change, files."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from safetensors.torch import load_file
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from transformers import TrainingArguments


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import arguments, same, toy_dataset, toy_student, toy_studio, toy_teacher, weights  # noqa: E402

from dlink_hf import (  # noqa: E402
    DLinkStudioModel,
    DLinkTrainer,
    EEGFeatureExtractor,
    MiCForEEGClassification,
)
from dlink_hf.data import split_by_subject  # noqa: E402
from dlink_hf.distillation.losses import spectral_magnitude_loss, spectral_phase_loss  # noqa: E402
from dlink_hf.evaluation.predict import evaluate_model  # noqa: E402
from dlink_hf.training.base_trainer import balanced_class_weights  # noqa: E402


ROOT = Path(__file__).resolve().parents[2]
TERMS = {
    "route_loss",
    "magnitude_mimic_loss",
    "phase_mimic_loss",
    "magnitude_compressed_loss",
    "phase_compressed_loss",
    "router_task_loss",
    "router_balance_loss",
    "router_entropy",
    "router_weight_1",
    "router_weight_2",
}
SECOND_STAGE_TERMS = {"task_loss", "kd_loss"}


@pytest.fixture(scope="module")
def train_set():
    return toy_dataset(["S1", "S2", "S3", "S4"])


@pytest.fixture(scope="module")
def eval_set():
    return toy_dataset(["S5", "S6"], seed=1)


def fit(studio, folder, train_set, eval_set=None, resume=None, **fields) -> DLinkTrainer:
    trainer = DLinkTrainer(studio, arguments(folder, **fields), train_dataset=train_set, eval_dataset=eval_set)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def steps(trainer: DLinkTrainer) -> list[dict]:
    """The log entries of training steps."""
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def evaluations(trainer: DLinkTrainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "eval_loss" in entry]


def routed_unevenly(studio: DLinkStudioModel) -> DLinkStudioModel:
    """A fresh router weighs all layers alike; here it does not."""
    torch.manual_seed(3)
    with torch.no_grad():
        studio.router.score.weight.normal_(std=1.5)
    return studio


# --- what is logged ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mimic_epochs", [0, 1])
def test_the_first_step_logs_every_term_as_computed_by_hand(mimic_epochs, train_set, tmp_path):
    studio = routed_unevenly(toy_studio(dropout=0.0, kd_temperature=3.0, router_entropy_weight=0.2))
    by_hand = copy.deepcopy(studio).train()
    trainer = fit(
        studio,
        tmp_path,
        train_set,
        num_train_epochs=1,
        mimic_epochs=mimic_epochs,
        per_device_train_batch_size=len(train_set),
        class_weighting="balanced",
    )
    (entry,) = steps(trainer)

    labels = torch.tensor(train_set["labels"][:])
    with torch.no_grad():
        output = by_hand(torch.tensor(train_set["input_values"][:]))
    routed, mimic, decoded = (output[key].double() for key in ("routed_state", "mimic_state", "decoded_state"))
    router_weights = output.router_weights.double().numpy()
    class_weights = torch.tensor(
        compute_class_weight("balanced", classes=np.arange(2), y=labels.numpy()), dtype=torch.float32
    )
    soft_teacher, soft_student = ((output[key] / 3.0).softmax(-1) for key in ("teacher_logits", "logits"))
    mean_weights = router_weights.mean(0)
    expected = {
        "route_loss": (mimic - routed).square().mean(),
        "magnitude_mimic_loss": spectral_magnitude_loss(mimic, routed),
        "phase_mimic_loss": spectral_phase_loss(mimic, routed),
        "magnitude_compressed_loss": spectral_magnitude_loss(decoded, routed),
        "phase_compressed_loss": spectral_phase_loss(decoded, routed),
        "router_task_loss": F.cross_entropy(output.router_logits, labels, weight=class_weights),
        "router_balance_loss": 2 * (mean_weights**2).sum() - 1,
        "router_entropy": -(router_weights * np.log(router_weights)).sum(1).mean(),
        "router_weight_1": mean_weights[0],
        "router_weight_2": mean_weights[1],
    }
    factors = {"route_loss": 1.0, "router_task_loss": 1.0, "router_balance_loss": 0.1, "router_entropy": 0.2}
    factors |= {name: 0.5 for name in expected if name.startswith(("magnitude", "phase"))}
    if not mimic_epochs:
        expected["task_loss"] = F.cross_entropy(output.logits, labels, weight=class_weights)
        expected["kd_loss"] = 9.0 * (soft_teacher * (soft_teacher / soft_student).log()).sum(-1).mean()
        factors |= {"task_loss": 1.0, "kd_loss": 3.0}
    logged = set(entry) - {"loss", "grad_norm", "learning_rate", "epoch", "step", "mimic_stage"}
    assert logged == set(expected) == TERMS | (set() if mimic_epochs else SECOND_STAGE_TERMS)
    for name, value in expected.items():
        assert entry[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name
    assert entry["loss"] == pytest.approx(sum(factors[name] * entry[name] for name in factors), rel=1e-5)
    assert abs(mean_weights[0] - 0.5) > 0.01  # else the router would say nothing
    assert entry["router_weight_1"] + entry["router_weight_2"] == pytest.approx(1.0, abs=1e-6)


def test_a_log_of_several_steps_holds_their_mean(train_set, tmp_path):
    fields = dict(num_train_epochs=3, mimic_epochs=1)
    each = steps(fit(toy_studio(), tmp_path / "each", train_set, **fields))
    seldom = steps(fit(toy_studio(), tmp_path / "seldom", train_set, logging_steps=6, **fields))
    assert len(each) == 12 and len(seldom) == 2
    for index, entry in enumerate(seldom):
        part = each[6 * index : 6 * index + 6]
        for name in TERMS | SECOND_STAGE_TERMS | {"mimic_stage", "loss"}:
            values = [step[name] for step in part if name in step]
            assert entry[name] == pytest.approx(np.mean(values), rel=1e-5, abs=1e-7), name
    # four of the first six steps were of the first stage; only the other two had a task loss
    assert seldom[0]["mimic_stage"] == pytest.approx(4 / 6)


def test_a_second_training_logs_none_of_the_first(train_set, tmp_path):
    fields = dict(num_train_epochs=1, per_device_train_batch_size=len(train_set), logging_steps=5)
    trainer = fit(toy_studio(dropout=0.0), tmp_path, train_set, **fields)  # its one step is never logged
    by_hand = copy.deepcopy(trainer.model).train()
    trainer.args.logging_steps = 1
    trainer.train()
    labels = torch.tensor(train_set["labels"][:])
    losses = by_hand(torch.tensor(train_set["input_values"][:]), labels=labels).losses
    (entry,) = steps(trainer)
    for name, value in losses.items():
        assert entry[name] == pytest.approx(float(value), rel=1e-4, abs=1e-6), name


# --- two stages -------------------------------------------------------------------------------------------------


def test_the_mimic_stage_comes_first_and_is_not_evaluated(train_set, eval_set, tmp_path):
    trainer = fit(
        toy_studio(), tmp_path, train_set, eval_set, num_train_epochs=4, mimic_epochs=1.5, eval_strategy="steps",
        eval_steps=1,
    )  # fmt: skip
    log = steps(trainer)
    assert [entry["mimic_stage"] for entry in log] == [1.0] * 6 + [0.0] * 10
    for entry in log:
        assert (SECOND_STAGE_TERMS & set(entry)) == (set() if entry["mimic_stage"] else SECOND_STAGE_TERMS)
        assert set(entry) >= TERMS
    assert [entry["step"] for entry in evaluations(trainer)] == list(range(7, 17))


@pytest.mark.parametrize("mimic_epochs", [0, 2])
def test_either_stage_may_be_left_out(mimic_epochs, train_set, eval_set, tmp_path):
    studio = toy_studio()
    before = weights(studio)
    trainer = fit(
        studio, tmp_path, train_set, eval_set, mimic_epochs=mimic_epochs, eval_strategy="epoch", weight_decay=0.1
    )
    changed = {name for name, value in studio.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("teacher.") for name in changed)
    parts = ("student.mic.mimic_projection", "student.mic.compressor", "router.", "decoder.")
    assert all(any(name.startswith(part) for name in changed) for part in parts)
    has_task = [SECOND_STAGE_TERMS <= set(entry) for entry in steps(trainer)]
    touched = {name for name in changed if name.startswith("student.classifier")}
    if mimic_epochs:
        assert not any(has_task) and not evaluations(trainer) and not touched
    else:
        assert all(has_task) and len(evaluations(trainer)) == 2
        assert touched == {"student.classifier.weight", "student.classifier.bias"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mimic_epochs": -1}, "mimic_epochs"),
        ({"mimic_epochs": 3}, "mimic_epochs.*num_train_epochs"),
        ({"mimic_epochs": float("nan")}, "mimic_epochs"),
        ({"class_weighting": "sqrt"}, "class_weighting.*balanced"),
        ({"early_stopping_patience": 2}, "load_best_model_at_end"),
        ({"early_stopping_patience": 0}, "at least one"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor.*kd_temperature"),
        (
            {"mimic_epochs": 2, "load_best_model_at_end": True, "eval_strategy": "epoch", "save_strategy": "epoch"},
            "no second stage",
        ),
    ],
)
def test_contradictory_arguments_are_errors(fields, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **fields)


def test_arguments_survive_json(tmp_path):
    args = arguments(tmp_path, mimic_epochs=0.5, class_weighting="balanced", group_column="recording")
    read = json.loads(args.to_json_string())
    assert read["mimic_epochs"] == 0.5 and read["class_weighting"] == "balanced"
    assert read["group_column"] == "recording" and read["early_stopping_patience"] is None


# --- classes and subjects ---------------------------------------------------------------------------------------


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2], [50, 7, 23])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_class_weights(labels, 3).numpy(), expected, rtol=1e-6)


def test_one_class_only_is_refused(train_set, tmp_path):
    only = train_set.filter(lambda row: row["labels"] == 0)
    with pytest.raises(ValueError, match=r"no window of class \[1\]"):
        DLinkTrainer(toy_studio(), arguments(tmp_path, class_weighting="balanced"), train_dataset=only)
    with pytest.raises(ValueError, match="one class only \\(rest\\)"):
        split_by_subject(only, validation=["S4"], test=0)


def test_a_shared_subject_is_refused(train_set, eval_set, tmp_path):
    leaky = concatenate_datasets([eval_set, train_set.select(range(12))])
    for given in (leaky, {"own": eval_set, "leaky": leaky}):
        with pytest.raises(ValueError, match="share 1 subject: S1"):
            DLinkTrainer(toy_studio(), arguments(tmp_path), train_dataset=train_set, eval_dataset=given)


def test_another_group_column_is_checked_instead(train_set, tmp_path):
    runs = [f"run {index % 4}" for index in range(len(train_set))]
    whole = train_set.add_column("recording", runs)
    first, second = (whole.filter(lambda row, half=half: (row["recording"] > "run 1") == half) for half in (0, 1))
    args = arguments(tmp_path, group_column="recording")
    DLinkTrainer(toy_studio(), args, train_dataset=first, eval_dataset=second)
    with pytest.raises(ValueError, match="share 2 recordings: run 0, run 1"):
        DLinkTrainer(toy_studio(), args, train_dataset=whole, eval_dataset=first)
    with pytest.raises(ValueError, match="`group_column` is 'recording'.*lack"):
        DLinkTrainer(toy_studio(), args, train_dataset=train_set, eval_dataset=train_set)


def test_only_a_studio_with_its_own_arguments_is_trained(train_set, tmp_path):
    for model in (toy_student(), toy_teacher()):
        with pytest.raises(TypeError, match=f"DLinkStudioModel, got {type(model).__name__}.*from_parts"):
            DLinkTrainer(model, arguments(tmp_path), train_dataset=train_set)
    with pytest.raises(TypeError, match="takes DLinkTrainingArguments, got TrainingArguments"):
        DLinkTrainer(toy_studio(), arguments(tmp_path, TrainingArguments), train_dataset=train_set)


# --- which model is kept ----------------------------------------------------------------------------------------


def test_early_stopping_stops_and_counts_from_the_second_stage(train_set, eval_set, tmp_path):
    best = dict(load_best_model_at_end=True, metric_for_best_model="balanced_accuracy", greater_is_better=True)
    trainer = fit(
        toy_studio(),
        tmp_path,
        train_set,
        eval_set,
        num_train_epochs=20,
        mimic_epochs=3,
        learning_rate=0.0,  # nothing but the running statistics changes
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        early_stopping_patience=2,
        **best,
    )
    scores = [entry["eval_balanced_accuracy"] for entry in evaluations(trainer)]
    assert [entry["epoch"] for entry in evaluations(trainer)] == [4.0 + index for index in range(len(scores))]
    best, worse, expected = -np.inf, 0, None
    for count, score in enumerate(scores, start=1):
        worse = 0 if score > best else worse + 1
        best = max(best, score)
        if worse == 2:
            expected = count
            break
    assert expected == len(scores) < 17
    assert trainer.state.epoch == 3 + expected and trainer.state.best_metric == best


def test_the_best_model_is_restored(train_set, eval_set, tmp_path):
    studio = toy_studio()
    trainer = fit(
        studio,
        tmp_path,
        train_set,
        eval_set,
        num_train_epochs=6,
        mimic_epochs=1,
        learning_rate=3e-2,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,  # the worst loss counts as best here, so that the best is not the last
    )
    logged = evaluations(trainer)
    best = max(logged, key=lambda entry: entry["eval_loss"])
    assert best["step"] != logged[-1]["step"] and best["eval_loss"] != logged[-1]["eval_loss"]
    final = trainer.evaluate()
    for name in ("eval_loss", "eval_balanced_accuracy", "eval_auroc", "eval_cohen_kappa"):
        assert final[name] == best[name]
    folder = tmp_path / f"checkpoint-{best['step']}"
    assert same(dict(studio.student.state_dict()), load_file(folder / "model.safetensors"))
    assert same(studio.training_only_state_dict(), load_file(folder / "training_only.safetensors"))
    scores, _ = evaluate_model(MiCForEEGClassification.from_pretrained(folder), eval_set)
    assert scores["balanced_accuracy"] == best["eval_balanced_accuracy"]
    assert scores["auroc"] == pytest.approx(best["eval_auroc"], abs=1e-12)


# --- resuming, accumulating, precision, seeds -------------------------------------------------------------------


@pytest.mark.parametrize("accumulation", [1, 2])
def test_resuming_changes_no_bit(accumulation, train_set, eval_set, tmp_path):
    fields = dict(
        num_train_epochs=3,
        mimic_epochs=1,
        gradient_accumulation_steps=accumulation,
        save_strategy="steps",
        save_steps=3,  # amidst an epoch of four or two steps
        eval_strategy="epoch",
        lr_scheduler_type="cosine",
    )
    whole = fit(toy_studio(), tmp_path / "whole", train_set, eval_set, **fields)
    other = toy_studio(seed=7)  # other weights: whatever is not loaded would be seen
    other.teacher = toy_teacher()
    other.freeze_teacher()
    checkpoint = tmp_path / "whole" / "checkpoint-3"
    resumed = fit(other, tmp_path / "resumed", train_set, eval_set, resume=str(checkpoint), **fields)
    assert resumed.state.global_step == whole.state.global_step == 12 // accumulation
    assert same(weights(whole.model), weights(resumed.model))
    clean = [
        [{k: v for k, v in entry.items() if "runtime" not in k and "per_second" not in k} for entry in log]
        for log in (whole.state.log_history[:-1], resumed.state.log_history[:-1])
    ]
    assert clean[0] == clean[1]


def test_resuming_from_what_is_no_checkpoint(train_set, tmp_path):
    toy_student().save_pretrained(tmp_path / "student")
    for folder, lacks in (("student", "training_only.safetensors and trainer_state.json"), ("nowhere", "model.safe")):
        with pytest.raises(FileNotFoundError, match=f"{folder} lacks .*{lacks}.*`checkpoint-") as raised:
            fit(toy_studio(), tmp_path / "out", train_set, resume=str(tmp_path / folder))
    assert "lacks model.safetensors and training_only.safetensors" in str(raised.value)


def test_resuming_with_another_router_names_what_differs(train_set, tmp_path):
    fit(toy_studio(), tmp_path, train_set, num_train_epochs=1, save_strategy="epoch")
    studio = toy_studio()
    other = DLinkStudioModel.from_parts(studio.teacher, studio.student, router_config={"routing": "uniform", **{
        k: getattr(studio.config.router_config, k) for k in ("hidden_size", "num_layers", "n_chans")}})  # fmt: skip
    with pytest.raises(ValueError, match="does not fit this studio: .*router.score.weight"):
        fit(other, tmp_path / "out", train_set, resume=str(tmp_path / "checkpoint-4"))


def test_accumulated_gradients_are_the_mean_of_the_small_batches(train_set, tmp_path):
    """Holds for the whole objective, BatchNorm and spectral ratios included: each small batch is one of its own."""
    studio = toy_studio(dropout=0.0)
    by_hand = copy.deepcopy(studio).train()
    small = train_set.shuffle(seed=1).select(range(8))
    for part in (range(4), range(4, 8)):
        rows = small.select(part)
        labels = torch.tensor(rows["labels"][:])
        by_hand(torch.tensor(rows["input_values"][:]), labels=labels).loss.div(2).backward()
    fit(
        studio,
        tmp_path,
        small,
        num_train_epochs=1,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        train_sampling_strategy="sequential",
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=0.0,
    )
    trained = dict(studio.named_parameters())
    moved = 0
    for name, parameter in by_hand.named_parameters():
        if parameter.grad is not None:
            expected = (parameter - 0.1 * parameter.grad).detach()
            torch.testing.assert_close(trained[name].detach(), expected, atol=1e-6, rtol=1e-5, msg=name)
            moved += int(not torch.equal(trained[name], parameter))
    assert moved > 20


def test_accumulating_equals_a_larger_batch_where_the_loss_is_a_mean_over_windows(train_set, tmp_path):
    """BatchNorm is frozen, and the terms that are ratios over a batch (spectra, router balance) are left out."""
    weights_of_batch_terms = dict(kd_weight=1.0, spectral_weight=0.0, router_balance_weight=0.0)
    results = []
    for name, size, accumulation in (("large", 8, 1), ("small", 4, 2)):
        studio = toy_studio(dropout=0.0, **weights_of_batch_terms)
        norm = studio.student.mic.filter_bank.norm.eval()
        norm.train = lambda mode=True, norm=norm: norm
        trainer = fit(
            studio,
            tmp_path / name,
            train_set,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            learning_rate=1e-2,
            max_grad_norm=0.0,
            optim="sgd",
        )
        results.append((weights(studio.student), weights(studio.router), steps(trainer)))
    assert len(results[0][2]) == len(results[1][2]) == 12
    start = toy_studio(dropout=0.0).student.state_dict()
    assert (results[0][0]["classifier.weight"] - start["classifier.weight"]).abs().max() > 1e-2
    for large, small in zip(results[0][:2], results[1][:2], strict=True):
        for name in large:
            torch.testing.assert_close(small[name], large[name], atol=1e-5, rtol=1e-4, msg=name)
    for large, small in zip(results[0][2], results[1][2], strict=True):
        for name in ("loss", "task_loss", "kd_loss", "route_loss", "router_weight_1", "router_entropy"):
            assert small[name] == pytest.approx(large[name], rel=1e-4)


def test_bf16_trains_and_stays_finite(train_set, eval_set, tmp_path):
    fields = dict(num_train_epochs=3, mimic_epochs=1, eval_strategy="epoch")
    full = steps(fit(toy_studio(), tmp_path / "fp32", train_set, eval_set, **fields))
    studio = toy_studio()
    trainer = fit(studio, tmp_path / "bf16", train_set, eval_set, bf16=True, **fields)
    half = steps(trainer)
    assert all(np.isfinite(value) for entry in trainer.state.log_history for value in entry.values())
    assert all(value.isfinite().all() for value in studio.state_dict().values())
    assert all(value.dtype == torch.float32 for value in studio.parameters())
    assert half[0]["route_loss"] != full[0]["route_loss"]  # bf16 really was used
    for name in TERMS - {"router_balance_loss"}:
        assert half[0][name] == pytest.approx(full[0][name], rel=0.05), name
    assert half[-1]["route_loss"] < half[0]["route_loss"]


def test_the_same_seed_gives_the_same_numbers(train_set, tmp_path):
    runs = [
        fit(toy_studio(), tmp_path / str(index), train_set, mimic_epochs=1, seed=seed)
        for index, seed in enumerate((5, 5, 6))
    ]
    first, again, other = (weights(run.model) for run in runs)
    assert same(first, again) and not same(first, other)
    logs = [[dict(entry) for entry in steps(run)] for run in runs]
    assert logs[0] == logs[1] != logs[2]


# --- trackers ---------------------------------------------------------------------------------------------------


def test_tensorboard_holds_every_term(train_set, eval_set, tmp_path, monkeypatch):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    trainer = fit(
        toy_studio(), tmp_path, train_set, eval_set, mimic_epochs=1, eval_strategy="epoch", report_to=["tensorboard"]
    )
    assert list((tmp_path / "events").glob("events.out.tfevents.*"))
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert tags >= {f"train/{name}" for name in TERMS | SECOND_STAGE_TERMS | {"loss", "mimic_stage"}}
    assert tags >= {"eval/balanced_accuracy", "eval/loss"}
    logged = steps(trainer)
    for name in ("route_loss", "router_weight_1", "router_entropy", "task_loss"):
        written = {event.step: event.value for event in events.Scalars(f"train/{name}")}
        expected = {entry["step"]: entry[name] for entry in logged if name in entry}
        assert written.keys() == expected.keys() and len(written) == (4 if name == "task_loss" else 8)
        assert all(written[step] == pytest.approx(expected[step], rel=1e-6) for step in expected)


def test_trackio_holds_every_term_without_network(tmp_path):
    pytest.importorskip("trackio")
    code = """
    import json, sys
    def refuse(event, arguments):
        if event in ("socket.connect", "socket.getaddrinfo"):
            print("network:", event, arguments, file=sys.stderr)
            raise OSError("no network in this test")
    sys.addaudithook(refuse)
    import torch
    torch.set_num_threads(1)
    from test_trainer import fit, steps, toy_dataset, toy_studio
    trainer = fit(toy_studio(), sys.argv[1], toy_dataset(["S1", "S2", "S3", "S4"]), mimic_epochs=1,
                  report_to=["trackio"], project="dlink", run_name="toy")
    from trackio.sqlite_storage import SQLiteStorage
    print("RESULT" + json.dumps([steps(trainer), SQLiteStorage.get_logs("dlink", "toy"),
                                 SQLiteStorage.get_run_config("dlink", "toy")], default=str))
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRACKIO_")}
    environment["TRACKIO_DIR"] = str(tmp_path / "trackio")
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "out")],
        capture_output=True, text=True, env=environment, timeout=1000,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    assert "network:" not in result.stderr
    assert list((tmp_path / "trackio").glob("*.db"))
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("RESULT")]
    logged, written, config = json.loads(line.removeprefix("RESULT"))
    assert len(logged) == 8
    by_step = {entry["train/global_step"]: entry for entry in written if "train/loss" in entry}
    assert sorted(by_step) == [entry["step"] for entry in logged]
    for entry in logged:
        for name in (TERMS | SECOND_STAGE_TERMS) & set(entry):
            assert by_step[entry["step"]][f"train/{name}"] == pytest.approx(entry[name], rel=1e-9)
    assert config["mimic_epochs"] == 1 and config["kd_temperature"] == 2.0


# --- what is saved ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(train_set, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    args = arguments(folder / "training", num_train_epochs=1, save_strategy="epoch")
    trainer = DLinkTrainer(
        toy_studio(), args, train_dataset=train_set, processing_class=EEGFeatureExtractor(ch_names=["C3", "Cz"])
    )
    trainer.train()
    return trainer, folder


def test_the_student_alone_is_saved(trained, tmp_path):
    trainer, _ = trained
    trainer.save_model(str(tmp_path))
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "training_args.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    saved = load_file(tmp_path / "model.safetensors")
    assert same(saved, dict(trainer.model.student.state_dict()))
    assert not any(key.startswith(("teacher.", "router.", "decoder.", "student.")) for key in saved)
    assert EEGFeatureExtractor.from_pretrained(tmp_path).ch_names == ["C3", "Cz"]
    assert json.loads((tmp_path / "training_args.json").read_text())["num_train_epochs"] == 1


def test_a_checkpoint_holds_router_and_decoder_beside_the_student(trained):
    trainer, folder = trained
    checkpoint = folder / "training" / "checkpoint-4"
    rest = load_file(checkpoint / "training_only.safetensors")
    assert {key.split(".")[0] for key in rest} == {"router", "decoder"}
    assert same(rest, trainer.model.training_only_state_dict())
    assert not any("teacher" in key for key in load_file(checkpoint / "model.safetensors"))
    weights_files = {path.name for path in checkpoint.glob("*.safetensors")}
    assert weights_files == {"model.safetensors", "training_only.safetensors"}
    assert not list(checkpoint.glob("*.bin")) and not list(checkpoint.glob(".saving-*"))


def test_the_studio_is_saved_on_request(trained, train_set, tmp_path):
    trainer, _ = trained
    trainer.args.save_studio = True
    try:
        trainer.save_model(str(tmp_path))
    finally:
        trainer.args.save_studio = False
    studio = DLinkStudioModel.from_pretrained(tmp_path / "studio").eval()
    assert same(weights(studio), weights(trainer.model))
    windows = torch.tensor(train_set["input_values"][:4])
    labels = torch.tensor(train_set["labels"][:4])
    with torch.no_grad():
        expected, loaded = trainer.model.eval()(windows, labels=labels), studio(windows, labels=labels)
    torch.testing.assert_close(loaded.logits, expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loaded.loss, expected.loss, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in studio.teacher.parameters())
    assert not any(key.startswith(("teacher", "router")) for key in load_file(tmp_path / "model.safetensors"))


def test_evaluation_runs_the_student_alone(trained, eval_set):
    trainer, _ = trained
    called = []
    others = (trainer.model.teacher, trainer.model.router)
    handles = [part.register_forward_hook(lambda *_: called.append(1)) for part in others]
    try:
        output = trainer.predict(eval_set)
    finally:
        for handle in handles:
            handle.remove()
    assert not called
    with torch.no_grad():
        logits = trainer.model.student.eval()(torch.tensor(eval_set["input_values"][:])).logits
    np.testing.assert_allclose(output.predictions, logits.numpy(), rtol=1e-5, atol=1e-6)
    loss = F.cross_entropy(logits, torch.tensor(eval_set["labels"][:]))
    assert output.metrics["test_loss"] == pytest.approx(float(loss), rel=1e-5)
