# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A general student: the objective on mixed montages, heads of their own, what is saved, resume, the command."""

from __future__ import annotations

import json
import math
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from datasets import Dataset
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from teacher_packages import teachers
from torch.nn import functional as F
from toy_training import LABELS, NAMES, same, toy_dataset, weights
from transformers import TrainingArguments

from dlink_hf import (
    DLinkRouterConfig,
    DLinkTeacherConfig,
    DLinkTeacherModel,
    EEGAugmentation,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    MiCModel,
    SignalInfo,
    set_signal_info,
)
from dlink_hf.commands import main
from dlink_hf.commands.windows import check_people
from dlink_hf.distillation.general.backbone_distillation import BackboneStudio, LabelledSet
from dlink_hf.distillation.general.backbone_trainer import BackboneTrainer, WindowSource, labelled_sets
from dlink_hf.distillation.losses import feature_distance, spectral_magnitude_loss, spectral_phase_loss
from dlink_hf.profiling.known_teachers import example_config


SETS = {"hands": LabelledSet(4, 2), "tones": LabelledSet(2, 3)}
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_filters": 6, "compressed_size": 4}


def toy_backbone() -> DLinkTeacherModel:
    torch.manual_seed(0)
    kwargs = {"n_layer": 2, "dim_feedforward": 16, "nhead": 4, "drop_prob": 0.0}
    config = DLinkTeacherConfig(backbone_kwargs=kwargs, ch_names=["Fz", "Oz", "Pz"], n_times=600)
    return DLinkTeacherModel(config)


def toy_studio(dropout: float = 0.0, sets: dict[str, LabelledSet] = SETS, **arguments) -> BackboneStudio:
    torch.manual_seed(0)
    student = MiCModel(MiCConfig(n_times=400, hidden_dropout=dropout, classifier_dropout=dropout, **SMALL))
    router = DLinkRouterConfig(num_layers=2, router_size=4, router_dropout=dropout)
    return BackboneStudio(toy_backbone(), student, sets, router, **arguments)


def windows(n_chans: int, n_times: int = 400, n: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_chans)
    return 10 * torch.randn(n, n_chans, n_times, generator=generator)


def source(
    subjects: list[str], name: str, labelled: bool, names: list[str] = NAMES, n_windows: int = 12
) -> WindowSource:
    """Windows of `toy_dataset`; its first channels where fewer are named."""
    dataset = toy_dataset(subjects, n_windows, seed=len(names), names=LABELS if len(names) == 4 else ["a", "b", "c"])
    if len(names) < 4:
        rows = {**dataset[:], "input_values": dataset["input_values"][:][:, : len(names)]}
        plain = {"labels": dataset.features["labels"], "subject": dataset.features["subject"]}
        dataset = Dataset.from_dict(rows).cast_column("labels", plain["labels"]).with_format("numpy")
    return WindowSource(set_signal_info(dataset, SignalInfo(tuple(names), 200.0, 400)), name, labelled)


def train_sources() -> list[WindowSource]:
    return [
        source(["a", "b"], "hands", labelled=False, n_windows=18),
        source(["a", "b"], "hands", labelled=True),
        source(["c", "d"], "tones", labelled=True, names=["O1", "O2"]),
    ]


def eval_sources() -> list[WindowSource]:
    return [
        source(["e"], "hands", labelled=False),
        source(["e"], "hands", labelled=True),
        source(["f"], "tones", labelled=True, names=["O1", "O2"]),
    ]


def arguments(folder: Path, **fields) -> TrainingArguments:
    defaults = {"per_device_train_batch_size": 8, "learning_rate": 5e-3, "logging_steps": 5, "save_strategy": "no"}
    fixed = {
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "max_steps": 8,
        "lr_scheduler_type": "constant",
    }
    return TrainingArguments(str(folder), **{**defaults, **fixed, **fields})


@pytest.mark.parametrize("ch_names, n_times", [(NAMES, 400), (["O1", "O2"], 800)])
def test_the_terms_are_those_of_an_independent_computation(ch_names: list[str], n_times: int):
    studio = toy_studio(spectral_weight=0.7, router_entropy_weight=0.2).eval()
    with torch.no_grad():
        studio.router.score.weight.normal_(generator=torch.Generator().manual_seed(1))
    name = "hands" if len(ch_names) == 4 else "tones"
    values, labels = windows(len(ch_names), n_times), torch.tensor([0, 1, 1, 0, 1, 1])
    class_weights = torch.linspace(0.5, 2.0, SETS[name].num_labels)
    with torch.no_grad():
        output = studio(values, ch_names, name, labels, class_weights)

    # a teacher that was made for this montage and window
    config = DLinkTeacherConfig(
        backbone_kwargs=studio.teacher.config.backbone_kwargs, ch_names=ch_names, n_times=n_times
    )
    teacher = DLinkTeacherModel(config).eval()
    teacher.load_state_dict(toy_backbone().state_dict())
    with torch.no_grad():
        layers = teacher(values, output_hidden_states=True).hidden_states
        states = torch.stack([F.layer_norm(layer, (200,)) for layer in layers], 1)  # (B, L, C, P, D)
        router_weights = studio.router.route(states.mean((2, 3)))
        routed = (router_weights[:, :, None, None, None] * states).sum(1)
        student = studio.student(values, torch.tensor(MiCConfig(ch_names=ch_names, n_times=n_times).channel_positions))
        decoded = studio.decoder(student)
        logits = studio.heads[name](student.compressed_state.flatten(1))
        features = F.gelu(studio.router.channel_features(routed)).mean(2).flatten(1)
        router_logits = studio.router_heads[name](features)
    np.testing.assert_allclose(output.routed_state, routed, atol=1e-5)
    means, entropy = router_weights.numpy().mean(0), -(router_weights * router_weights.log()).sum(1).mean()
    assert means.max() > 0.55
    expected = {
        "route_loss": feature_distance(student.mimic_state, routed),
        "router_balance_loss": 2 * (means**2).sum() - 1,
        "router_entropy": entropy,
        f"task_loss_{name}": F.cross_entropy(logits, labels, class_weights),
        f"router_task_loss_{name}": F.cross_entropy(router_logits, labels, class_weights),
    }
    for place, state in (("mimic", student.mimic_state), ("compressed", decoded)):
        expected[f"magnitude_{place}_loss"] = spectral_magnitude_loss(state, routed)
        expected[f"phase_{place}_loss"] = spectral_phase_loss(state, routed)
    assert output.losses.keys() == expected.keys()
    for key, value in expected.items():
        assert output.losses[key].item() == pytest.approx(float(value), rel=1e-4), key
    spectral = sum(float(value) for key, value in expected.items() if key.startswith(("magnitude", "phase")))
    ones = ("route_loss", f"task_loss_{name}", f"router_task_loss_{name}")
    total = sum(float(expected[key]) for key in ones) + 0.7 * spectral
    total += 0.1 * float(expected["router_balance_loss"]) + 0.2 * float(entropy)
    assert output.loss.item() == pytest.approx(total, rel=1e-4)


def gradients(studio: BackboneStudio) -> set[str]:
    """Names of the parameters that got a gradient other than zero."""
    return {name for name, p in studio.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


def test_a_batch_teaches_the_heads_of_its_own_set_alone():
    studio = toy_studio()
    studio(windows(3), ["Fz", "Oz", "Pz"]).loss.backward()
    unlabelled = gradients(studio)
    assert not any("heads." in name or name.startswith("teacher.") for name in unlabelled)
    assert {"student.blocks.0.qkv.weight", "decoder.features.weight"} <= unlabelled
    studio.zero_grad()
    studio(windows(4), NAMES, "hands", torch.tensor([0, 1, 1, 0, 1, 1])).loss.backward()
    labelled = gradients(studio)
    assert {name for name in labelled if "heads." in name} == {
        *("heads.hands.weight", "heads.hands.bias", "router_heads.hands.weight", "router_heads.hands.bias"),
    }
    # the router learns from its head, and the target is detached: the mimic terms don't reach it
    assert "router.channel_features.weight" in labelled - unlabelled and "router.score.weight" in labelled


def test_a_part_of_the_channels_is_held_against_the_same_part_of_the_target():
    studio = toy_studio(channel_subset=1.0)
    whole = studio.eval()(windows(4), NAMES)
    assert whole.mimic_state.shape[1] == 4
    studio.train()
    torch.manual_seed(1)
    parts = [studio(windows(4), NAMES) for _ in range(12)]
    assert {part.mimic_state.shape[1] for part in parts} == {1, 2, 3, 4}
    part = next(part for part in parts if part.mimic_state.shape[1] == 2)
    found = [
        [torch.allclose(part.routed_state[:, i], whole.routed_state[:, j], atol=1e-5) for j in range(4)]
        for i in range(2)
    ]
    assert [sum(row) for row in found] == [1, 1]


def test_the_normalisation_is_that_of_all_montages():
    studio = toy_studio(fixed_normalisation=True)
    batches = [windows(4), 5 * windows(2, 800)]
    studio.settle_normalisation(batches)
    bank = studio.student.filter_bank
    features = []
    bank.norm.register_forward_hook(lambda module, inputs, output: features.append(output))
    before = bank.norm.running_mean.clone()
    with torch.no_grad():
        for batch in batches:
            studio.train()(batch, NAMES if batch.shape[1] == 4 else ["O1", "O2"])
    assert torch.equal(bank.norm.running_mean, before)
    # every batch counts alike
    mean = torch.stack([part.mean(0) for part in features]).mean(0)
    square = torch.stack([part.square().mean(0) for part in features]).mean(0)
    np.testing.assert_allclose(mean, 0, atol=1e-3)
    np.testing.assert_allclose(square - mean**2, 1, atol=1e-2)
    assert features[0].mean().abs() > 0.2


def test_the_student_comes_to_mimic_the_teacher_and_its_heads_to_decide(tmp_path: Path):
    sources = train_sources()
    studio = toy_studio(dropout=0.1, sets=labelled_sets(sources))
    # so few steps are too few for filters that learn slowly
    trainer = BackboneTrainer(studio, arguments(tmp_path, max_steps=40), sources, eval_sources(), filter_rate=1)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_route_error"] < 0.7 * before["eval_route_error"]
    assert after["eval_tones_route_error"] < before["eval_tones_route_error"]
    assert after["eval_hands_auroc"] > 0.9 and after["eval_hands_router_auroc"] > 0.9
    scores = [after[f"eval_{name}_balanced_accuracy"] for name in ("hands", "tones")]
    assert after["eval_balanced_accuracy"] == pytest.approx(np.mean(scores))
    assert trainer.evaluate() == after

    # the relative distance, window by window
    squares = np.zeros(2)
    for one in eval_sources():
        rows = [one.dataset[i]["input_values"] for i in range(len(one.dataset))]
        with torch.no_grad():
            output = studio.eval()(torch.tensor(np.stack(rows)), one.ch_names)
        distance = (output.mimic_state - output.routed_state).square().sum().item()
        squares += distance, output.routed_state.square().sum().item()
    assert after["eval_route_error"] == pytest.approx(squares[0] / squares[1], rel=1e-4)
    logged = [entry for entry in trainer.state.log_history if "route_loss" in entry]
    assert len(logged) == 8 and all(
        {"router_weight_1", "router_weight_2", "phase_compressed_loss"} <= set(row) for row in logged
    )
    assert {"task_loss_hands", "router_task_loss_tones"} <= set().union(*logged)


def test_the_filters_learn_more_slowly_than_the_rest(tmp_path: Path):
    moved = {}
    for rate in (0, 1 / 64, 1):
        studio = toy_studio(sets=labelled_sets(train_sources()))
        start = studio.student.filter_bank.filters.weight.detach().clone()
        args = arguments(tmp_path, max_steps=3, lr_scheduler_type="constant", warmup_steps=0, weight_decay=0.0)
        BackboneTrainer(studio, args, train_sources(), filter_rate=rate).train()
        moved[rate] = (studio.student.filter_bank.filters.weight.detach() - start).abs().max().item()
    # each of three steps of AdamW moves a weight by its rate at most
    assert moved[0] == 0 and 0 < moved[1 / 64] <= 3.1 * args.learning_rate / 64 < moved[1]
    with pytest.raises(ValueError, match=r"`filter_rate` must lie in 0 \.\.\. 1, got 2"):
        BackboneTrainer(toy_studio(), args, train_sources(), filter_rate=2)


def test_a_training_resumes_exactly_and_saves_the_student_alone(tmp_path: Path):
    def trainer(folder: Path, **fields) -> BackboneTrainer:
        sources = train_sources()
        studio = toy_studio(dropout=0.1, sets=labelled_sets(sources), channel_subset=0.5)
        augment = EEGAugmentation(["time_shift"], sfreq=200.0)
        extractor = EEGFeatureExtractor(n_times=400, l_freq=0.5)
        args = arguments(folder, lr_scheduler_type="cosine", max_steps=12, **fields)
        return BackboneTrainer(studio, args, sources, augmentation=augment, processing_class=extractor)

    first = trainer(tmp_path, save_strategy="steps", save_steps=5)
    first.train()
    second = trainer(tmp_path / "again")
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert same(weights(first.model), weights(second.model))
    second.save_model(tmp_path / "student")
    files = sorted(path.name for path in (tmp_path / "student").iterdir())
    assert files == ["config.json", "model.safetensors", "preprocessor_config.json", "training_args.json"]
    saved = load_file(tmp_path / "student" / "model.safetensors")
    assert set(saved) == set(first.model.student.state_dict())
    assert "training_only.safetensors" in {path.name for path in (tmp_path / "checkpoint-5").iterdir()}
    with pytest.raises(FileNotFoundError, match="lacks training_only.safetensors"):
        second.train(resume_from_checkpoint=str(tmp_path / "student"))

    # as a backbone, and fitted to another montage, window and task
    backbone = MiCModel.from_pretrained(tmp_path / "student")
    assert same(weights(backbone), weights(first.model.student)) and len(backbone.config.ch_names) == 19
    other = MiCForEEGClassification.from_pretrained(
        tmp_path / "student", ch_names=["C3", "C4", "F3"], n_times=600, num_labels=5
    )
    assert same(weights(other.mic), weights(backbone))
    assert other(windows(3, 600)).logits.shape == (6, 5)
    assert EEGFeatureExtractor.from_pretrained(tmp_path / "student").n_times == 400


@pytest.mark.parametrize("backbone", teachers(["Chronos2", "MantisV1", "MantisV2"]))
def test_a_foundation_model_of_time_series_teaches_mixed_montages(backbone: str):
    teacher = DLinkTeacherModel(example_config(backbone, n_times=800))
    student = MiCModel(MiCConfig(n_times=800, mimic_size=teacher.config.hidden_size, **SMALL))
    studio = BackboneStudio(teacher, student, SETS)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    output = studio(windows(4, 800), NAMES, "hands", labels)
    output.loss.backward()
    assert output.logits.shape[0] == 6 and all(p.grad is None for p in teacher.parameters())
    # on the grid that teacher and student have in common: seconds
    assert output.mimic_state.shape == output.routed_state.shape
    assert studio(windows(2, 800), ["O1", "O2"]).mimic_state.shape[1] == 2


def test_what_does_not_fit_is_refused(tmp_path: Path):
    studio = toy_studio()
    with pytest.raises(ValueError, match="takes any channels, CBraMod or CodeBrain or .*; got Labram"):
        teacher = DLinkTeacherModel(DLinkTeacherConfig(backbone="Labram", backbone_kwargs={"num_layers": 1}))
        BackboneStudio(teacher, studio.student, SETS)
    with pytest.raises(ValueError, match="no signed path.*signed_path=False"):
        BackboneStudio(studio.teacher, MiCModel(MiCConfig(n_times=400, signed_path=True, **SMALL)), SETS)
    with pytest.raises(ValueError, match="of hands, tones; got 'feet' and labels"):
        studio(windows(4), NAMES, "feet", torch.zeros(6, dtype=torch.long))
    with pytest.raises(ValueError, match="got 'hands' and no labels"):
        studio(windows(4), NAMES, "hands")
    with pytest.raises(ValueError, match="reads 4 channels"):
        studio(windows(3), NAMES)
    with pytest.raises(ValueError, match="hands: a are in the training and in the held-out windows"):
        BackboneTrainer(studio, arguments(tmp_path), train_sources(), [source(["a", "z"], "hands", True)])
    with pytest.raises(ValueError, match="Labelled windows of hands differ"):
        labelled_sets([source(["a"], "hands", True), source(["b"], "hands", True, names=["O1", "O2"])])


def run_command(folder: Path, *flags: str) -> int:
    words = [
        *("distill-backbone", "--cache_dir", str(folder / "cache"), "--student_size", "tiny", "--save_strategy", "no"),
        *("--per_device_train_batch_size", "8", "--logging_steps", "2", "--use_cpu", *flags),
    ]
    return main(words)


def test_the_command_on_recordings_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture):
    rng = np.random.default_rng(0)
    for montage, names in {"four": NAMES, "three": ["O1", "Oz", "O2"]}.items():
        (tmp_path / montage).mkdir()
        for person in range(4):
            values = 20e-6 * rng.standard_normal((len(names), 2000))
            raw = mne.io.RawArray(values, mne.create_info(names, 200.0, "eeg"), verbose="error")
            raw.save(tmp_path / montage / f"p{person}_raw.fif", verbose="error")
    toy_backbone().save_pretrained(tmp_path / "teacher")
    folders = [str(tmp_path / "four"), str(tmp_path / "three")]
    code = run_command(
        *(tmp_path / "run", "--teacher", str(tmp_path / "teacher"), "--recordings", *folders, "--held_out", "0.25"),
        *("--window_seconds", "2", "--stride_seconds", "2", "--alignments", "none", "zscore", "--max_steps", "4"),
        *("--output_dir", str(tmp_path / "run"), "--eval_strategy", "steps", "--eval_steps", "2"),
    )
    assert code == 0
    student = tmp_path / "run" / "student"
    assert sorted(path.name for path in student.iterdir()) == [
        *("README.md", "config.json", "held_out.png", "model.safetensors", "people.json", "preprocessor_config.json"),
        *("results.json", "training_args.json"),
    ]
    seen = json.loads((student / "people.json").read_text(encoding="utf-8"))["pretraining"]
    assert [len(entry["people"]) for entry in seen[:2]] == [3, 3]
    assert all(
        len(entry["chosen_by"]) == 1 and not set(entry["chosen_by"]) & set(entry["people"]) for entry in seen[:2]
    )
    scored = {"test": Dataset.from_dict({"subject": seen[0]["people"][:1]})}
    with pytest.raises(ValueError, match=f"{seen[0]['people'][0]} in its pre-training"):
        check_people(str(student), folders[0], scored, "subject")
    results = json.loads((student / "results.json").read_text(encoding="utf-8"))
    error = results["held_out"]["eval_route_error"]
    assert math.isfinite(error) and results["steps"] == 4 and results["windows"] == 2 * 3 * 5
    card = (student / "README.md").read_text(encoding="utf-8")
    assert ModelCard(card).data.library_name == "dlink_hf" and f"{error:.3f} |" in card
    assert "| made by | `dlink distill-backbone " in card and "--teacher teacher --recordings four three" in card
    assert str(tmp_path / "teacher") not in card + json.dumps(results)
    assert MiCModel.from_pretrained(student).config.ch_names[0] == "Fp1"
    assert run_command(tmp_path, "--recordings", folders[0], "--leave_out", "eegmat") == 1
    assert "--leave_out eegmat is not among" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_on_real_recordings(tmp_path: Path, data_dir: Path):
    """Two sets of other montages, three people each to train on; a person who is tested on is refused afterwards."""
    people = {
        "ssvep_exo": {"train": ["01", "02"], "validation": ["03"]},
        "eegmat": {"train": ["00", "02"], "validation": ["09"]},
    }
    (tmp_path / "people.json").write_text(json.dumps(people), encoding="utf-8")
    teacher = Path(__file__).parents[3] / "dlink_hf" / "checkpoints" / "dlink-teacher-cbramod-4"
    code = run_command(
        *(tmp_path, "--teacher", str(teacher), "--recordings", "ssvep_exo", "eegmat", "eyes_gnb", "--leave_out"),
        *("eyes_gnb", "--data_dir", str(data_dir), "--people", str(tmp_path / "people.json"), "--alignments", "none"),
        *("euclidean_monge", "--max_steps", "30", "--learning_rate", "2e-3", "--output_dir", str(tmp_path / "run")),
        *("--eval_strategy", "no", "--channel_subset", "0.3", "--augmentations", "time_shift,channel_dropout=0.2"),
    )
    assert code == 0
    student = tmp_path / "run" / "student"
    results = json.loads((student / "results.json").read_text(encoding="utf-8"))
    assert results["held_out"]["eval_route_error"] < 0.8 * results["held_out_before"]["eval_route_error"]
    assert {"eval_eegmat_balanced_accuracy", "eval_ssvep_exo_euclidean_monge_balanced_accuracy"} <= set(
        results["held_out"]
    )
    assert "Left out, so that it can be tried on them: eyes_gnb." in (student / "README.md").read_text(
        encoding="utf-8"
    )
