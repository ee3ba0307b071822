# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`Trainer.hyperparameter_search` on both trainers of the package, and the example of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import arguments, toy_dataset, toy_student, toy_studio, toy_teacher
from transformers import TrainingArguments

from dlink_hf import DLinkStudioModel, DLinkTrainer, make_trainer


HAS_OPTUNA = find_spec("optuna") is not None
needs_optuna = pytest.mark.skipif(not HAS_OPTUNA, reason="needs optuna: pip install 'dlink-hf[search]'")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "hyperparameter_search.py"
SPLITS = {"train": toy_dataset(["a", "b"]), "validation": toy_dataset(["c"], seed=1)}


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("kind", ["alone", "distilled"])
def test_a_model_is_made_anew_for_every_training(tmp_path: Path, kind: str) -> None:
    """Two trainings in a row end alike; without `model_init` the second goes on where the first ended."""
    made: list[Any] = []

    def fresh(trial: Any) -> Any:
        made.append(trial)
        return toy_student() if kind == "alone" else toy_studio()

    if kind == "alone":
        args = arguments(tmp_path, TrainingArguments, max_steps=2)
        trainer = make_trainer(toy_student(), SPLITS, args, model_init=fresh)
    else:
        args = arguments(tmp_path, max_steps=2, mimic_epochs=0)
        datasets = {"train_dataset": SPLITS["train"], "eval_dataset": SPLITS["validation"]}
        trainer = DLinkTrainer(toy_studio(), args, model_init=fresh, **datasets)
    states = []
    for _ in range(2):
        trainer.train()
        states.append(state_of(trainer.model))
    assert made == [None, None]
    trainer.model_init = None
    trainer.train()
    assert any((trainer.model.state_dict()[name] - tensor).abs().max() > 1e-3 for name, tensor in states[0].items())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_part_of_a_model_is_not_made_anew(tmp_path: Path) -> None:
    args = arguments(tmp_path, TrainingArguments, max_steps=1)
    with pytest.raises(ValueError, match="`adaptation='lora'` leave it out"):
        make_trainer(toy_teacher(), SPLITS, args, adaptation="lora", model_init=toy_teacher)


@needs_optuna
def test_weights_of_the_objective_are_searched(tmp_path: Path) -> None:
    """The model of a trial is made before the arguments are set: its own settings are asked for where it is made."""
    import optuna

    made: list[DLinkStudioModel] = []

    def space(trial: optuna.Trial) -> dict[str, Any]:
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}

    def fresh(trial: optuna.Trial | None) -> DLinkStudioModel:
        weight = 1.0 if trial is None else trial.suggest_float("kd_weight", 0.1, 4.0, log=True)
        made.append(DLinkStudioModel.from_parts(toy_teacher(), toy_student(), kd_weight=weight))
        return made[-1]

    args = arguments(tmp_path / "trials", max_steps=2, mimic_epochs=0, teacher_cache_dir=str(tmp_path / "features"))
    datasets = {"train_dataset": SPLITS["train"], "eval_dataset": SPLITS["validation"]}
    trainer = DLinkTrainer(toy_studio(), args, model_init=fresh, **datasets)
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    best = trainer.hyperparameter_search(
        space,
        compute_objective=lambda scores: scores["eval_balanced_accuracy"],
        n_trials=3,
        direction="maximize",
        backend="optuna",
        storage=storage,
        study_name="toy",
    )
    trials = optuna.load_study(study_name="toy", storage=storage).trials
    assert [trial.params["kd_weight"] for trial in trials] == [studio.config.kd_weight for studio in made]
    assert trainer.args.learning_rate == trials[-1].params["learning_rate"]
    assert best.objective == max(trial.value for trial in trials)
    assert set(best.hyperparameters) == {"kd_weight", "learning_rate"}


@needs_optuna
@pytest.mark.slow
def test_the_example_finds_goes_on_and_scores_on_people_unseen(tmp_path: Path) -> None:
    from test_examples import run

    words = ["--size", "tiny", "--most_steps", "10", "--views", "2", "--output_dir", "out"]
    told = run("hyperparameter_search.py", *words, "--n_trials", "2", cwd=tmp_path)
    assert re.search(
        r"the recipe, 2 validation people: balanced accuracy 0\.\d{3}\nthe best of 2 trials: 0\.\d{3}", told
    )
    assert re.search(r"recipe, 2 test people: 0\.\d{3}", told) and re.search(r"found, 2 test people: 0\.\d{3}", told)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["validation"]["found"] >= results["validation"]["recipe"]
    assert (tmp_path / "out" / "found" / "model.safetensors").is_file()
    told = run("hyperparameter_search.py", *words, "--n_trials", "1", cwd=tmp_path)
    assert "the best of 3 trials" in told


@pytest.mark.skipif(HAS_OPTUNA, reason="optuna is installed")
def test_without_optuna_the_example_names_the_extra(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert 'The search needs optuna, which is not installed: pip install "dlink-hf[search]"' in done.stderr
