# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Adapting a teacher: the rate of each layer, a frozen backbone, low-rank adapters."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys

import pytest
import torch
from datasets import DatasetDict, load_from_disk
from transformers import TrainerCallback, TrainingArguments


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from braindecode_hub import SMALL, small_config, write_reve_positions  # noqa: E402
from toy_training import (  # noqa: E402
    N_TIMES,
    NAMES,
    arguments,
    same,
    toy_dataset,
    toy_student,
    toy_teacher,
    weights,
)

from dlink_hf import (  # noqa: E402
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTeacherModel,
    EEGFeatureExtractor,
    split_by_subject,
    synthetic_dataset,
)
from dlink_hf.commands import main  # noqa: E402
from dlink_hf.commands.windows import check_people, write_people  # noqa: E402
from dlink_hf.training.finetuning import make_trainer  # noqa: E402
from dlink_hf.training.lora import adapt_teacher, adapted_modules, called_modules, parameter_depths  # noqa: E402


@pytest.fixture(scope="module")
def splits():
    return {"train": toy_dataset(["S1", "S2", "S3"]), "validation": toy_dataset(["S4"], seed=1)}


def plain(folder, **fields) -> TrainingArguments:
    return arguments(folder, TrainingArguments, **fields)


def labram() -> DLinkTeacherForEEGClassification:
    config = DLinkTeacherConfig(
        backbone="Labram",
        backbone_kwargs={"num_layers": 2},
        ch_names=NAMES,
        n_times=N_TIMES,
        head_size=4,
    )
    return DLinkTeacherForEEGClassification(config)


# depth of what lies in a module: 0 in front of the two layers, 3 behind them
DEPTHS = {
    "CBraMod": {
        "teacher.backbone.patch_embedding.": 0,
        "teacher.backbone.encoder.layers.0.": 1,
        "teacher.backbone.encoder.layers.1.": 2,
        "teacher.backbone.proj_out.": 3,
        "head.": 3,
    },
    "Labram": {
        "teacher.backbone.cls_token": 0,
        "teacher.backbone.position_embedding": 0,
        "teacher.backbone.temporal_embedding": 0,
        "teacher.backbone.patch_embed.": 0,
        "teacher.backbone.blocks.0.": 1,
        "teacher.backbone.blocks.1.": 2,
        "teacher.backbone.norm.": 3,
        "head.": 3,
    },
}


def depth_by_hand(backbone: str, name: str) -> int:
    (depth,) = (depth for prefix, depth in DEPTHS[backbone].items() if name.startswith(prefix))
    return depth


@pytest.mark.parametrize(("backbone", "build"), [("CBraMod", toy_teacher), ("Labram", labram)])
def test_depths_are_those_of_the_written_table(backbone, build):
    teacher = build()
    teacher.train()
    teacher.teacher.backbone.eval()
    before, random_state = weights(teacher), torch.get_rng_state()
    depths = parameter_depths(teacher)
    assert depths == {name: depth_by_hand(backbone, name) for name, _ in teacher.named_parameters()}
    # looking on leaves no trace
    assert torch.equal(torch.get_rng_state(), random_state)
    assert teacher.training and not teacher.teacher.backbone.training and teacher.head.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert not any(module._forward_pre_hooks for module in teacher.modules())


def test_the_projection_that_torchs_attention_reads_itself_is_not_called():
    called = called_modules(toy_teacher())
    assert "encoder.layers.0.self_attn_s" in called and "encoder.layers.0.linear1" in called
    assert "encoder.layers.0.self_attn_s.out_proj" not in called
    assert called.index("patch_embedding") < called.index("encoder.layers.0") < called.index("proj_out.0")


@pytest.mark.parametrize("frozen", [False, True])
def test_rates_and_weight_decay_of_the_groups(frozen, splits, tmp_path):
    teacher = toy_teacher()
    if frozen:
        teacher.teacher.backbone.patch_embedding.requires_grad_(False)
    args = plain(tmp_path, learning_rate=1e-2, weight_decay=0.1, max_steps=10)
    trainer = make_trainer(teacher, splits, args, learning_rate_decay=0.5, head_learning_rate_multiplier=4.0)
    optimizer = trainer.create_optimizer()
    rates = {0: 1e-2 * 0.125, 1: 1e-2 * 0.25, 2: 1e-2 * 0.5, 3: 1e-2}
    names = {id(parameter): name for name, parameter in teacher.named_parameters()}
    seen = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            seen[names[id(parameter)]] = (group["lr"], group["weight_decay"])
    expected = {}
    for name, parameter in teacher.named_parameters():
        if parameter.requires_grad:
            rate = 4e-2 if name.startswith("head.") else rates[depth_by_hand("CBraMod", name)]
            # as transformers: none on biases and LayerNorms; convolutions and CBraMod's GroupNorm weights have it
            bare = name.endswith("bias") or "norm" in name.split(".")[-2]
            expected[name] = (pytest.approx(rate), 0.0 if bare else 0.1)
    assert seen == expected
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(seen)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(4e-2)
    # the schedule lowers them all alike
    scheduler = trainer.create_scheduler(10, optimizer)
    first = [group["lr"] for group in optimizer.param_groups]
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([rate / 2 for rate in first])


def test_one_step_moves_each_layer_by_its_rate(splits, tmp_path):
    """Sign-like first step of Adam: every weight with a gradient moves by its rate."""
    teacher = toy_teacher(dropout=0.0)
    before = weights(teacher)
    args = plain(tmp_path, max_steps=1, learning_rate=1e-2, adam_epsilon=1e-20, max_grad_norm=0.0, weight_decay=0.0)
    make_trainer(teacher, splits, args, learning_rate_decay=0.1).train()
    rates = {0: 1e-5, 1: 1e-4, 2: 1e-3, 3: 1e-2}
    for name, value in teacher.state_dict().items():
        # CBraMod's proj_out gives back samples for pre-training; no class hangs on it
        if name.endswith("weight") and "proj_out" not in name:
            moved = (value - before[name]).abs().max()
            assert float(moved) == pytest.approx(rates[depth_by_hand("CBraMod", name)], rel=0.02), name


def test_rates_without_decay_are_transformers_own(splits, tmp_path):
    trainer = make_trainer(toy_teacher(), splits, plain(tmp_path))
    optimizer = trainer.create_optimizer()
    assert len(optimizer.param_groups) == 2 and {group["lr"] for group in optimizer.param_groups} == {1e-2}


def test_rates_that_make_no_sense_are_errors(splits, tmp_path):
    args = plain(tmp_path)
    for value in (0.0, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"`learning_rate_decay` must lie in \(0, 1\]"):
            make_trainer(toy_teacher(), splits, args, learning_rate_decay=value)
    with pytest.raises(ValueError, match="`head_learning_rate_multiplier` must be positive, got 0"):
        make_trainer(toy_teacher(), splits, args, head_learning_rate_multiplier=0)
    with pytest.raises(ValueError, match="is for teachers.*got MiCForEEGClassification"):
        make_trainer(toy_student(), splits, args, learning_rate_decay=0.5).train()


def logits_of(teacher) -> torch.Tensor:
    """Logits of fixed windows, in evaluation mode."""
    windows = 20.0 * torch.randn(6, len(NAMES), N_TIMES, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return teacher.eval()(windows).logits


class _Noted(TrainerCallback):
    """After each step: which parameters have a gradient, and what trains."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.steps.append({name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())})


def with_running_statistics() -> DLinkTeacherForEEGClassification:
    """A teacher with a BatchNorm, whose running statistics a frozen backbone must not move."""
    teacher = toy_teacher(dropout=0.5)
    teacher.teacher.backbone.patch_embedding.proj_in[1] = torch.nn.BatchNorm2d(25)
    return teacher


def test_a_probe_leaves_every_bit_of_the_backbone(splits, tmp_path):
    teacher = with_running_statistics()
    before = weights(teacher)
    make_trainer(teacher, splits, plain(tmp_path, weight_decay=0.1), adaptation="probe").train()
    changed = {name for name, value in teacher.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("head.")}
    # behind the training everything trains again
    mask = "teacher.backbone.patch_embedding.mask_encoding"  # never trained: braindecode's own choice
    assert {name for name, p in teacher.named_parameters() if not p.requires_grad} == {mask}
    assert teacher.train().teacher.backbone.training
    teacher(torch.randn(2, len(NAMES), N_TIMES))
    assert teacher.teacher.backbone.training


def test_a_probe_is_the_head_on_features_without_dropout(splits, tmp_path):
    """The loss of the first step by hand: a quiet backbone, a head that trains."""
    teacher = toy_teacher(dropout=0.5)
    teacher.head.dropout.p = 0.0
    by_hand = copy.deepcopy(teacher).eval()
    args = plain(tmp_path, num_train_epochs=1, per_device_train_batch_size=36)
    trainer = make_trainer(teacher, splits, args, adaptation="probe")
    trainer.train()
    windows, labels = (torch.tensor(splits["train"][name][:]) for name in ("input_values", "labels"))
    with torch.no_grad():
        expected = by_hand(windows, labels=labels).loss
    assert trainer.state.log_history[0]["loss"] == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize(("backbone", "build"), [("CBraMod", toy_teacher), ("Labram", labram)])
def test_adapters_lie_beside_every_linear_map_and_attention_of_the_layers(backbone, build):
    modules = {
        "CBraMod": ["encoder.layers.{}.self_attn_s", "encoder.layers.{}.self_attn_t"]
        + ["encoder.layers.{}.linear1", "encoder.layers.{}.linear2"],
        "Labram": [f"blocks.{{}}.{name}" for name in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2")],
    }[backbone]
    expected = {f"teacher.backbone.{name.format(layer)}" for name in modules for layer in range(2)}
    teacher = build()
    assert set(adapted_modules(teacher)) == expected
    start = logits_of(teacher)
    with adapt_teacher(teacher, "lora", rank=2):
        assert torch.equal(logits_of(teacher), start)  # the adapters begin at zero
        trained = {name for name, p in teacher.named_parameters() if p.requires_grad}
        assert all("lora_" in name or name.startswith("head.") for name in trained)
        adapters = [p for name, p in teacher.named_parameters() if "lora_" in name]
        # each one is on the path: it moves the logits
        teacher.train()
        optimizer = torch.optim.SGD([p for p in teacher.parameters() if p.requires_grad], 1e-1)
        for _ in range(3):
            optimizer.zero_grad()
            teacher(20 * torch.randn(6, len(NAMES), N_TIMES), labels=torch.arange(6) % 2).loss.backward()
            optimizer.step()
        assert all(adapter.grad is not None and bool(adapter.grad.any()) for adapter in adapters)
        beside = logits_of(teacher)
        assert (beside - start).abs().max() > 1e-3
    torch.testing.assert_close(logits_of(teacher), beside, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", SMALL)
def test_every_backbone_has_layers_with_rates_and_adapters(backbone, tmp_path, monkeypatch):
    if backbone == "REVE":
        write_reve_positions(tmp_path)
        monkeypatch.setenv("REVE_POSITIONS_PATH", str(tmp_path))
    slots = {"chan_pos_idx": [0, 1, 2]} if backbone == "STEEGFormer" else {}
    config = small_config(backbone, NAMES[:3])
    config.backbone_kwargs |= slots
    teacher = DLinkTeacherModel(config).eval()
    depths, state = parameter_depths(teacher), weights(teacher)
    assert set(depths.values()) >= {0, 1, 2}
    windows = 20.0 * torch.randn(2, 3, config.n_times)

    def output() -> torch.Tensor:
        with torch.no_grad():
            return teacher(windows).last_hidden_state

    start = output()
    with adapt_teacher(teacher, "lora", rank=2):
        torch.testing.assert_close(output(), start, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            for name, parameter in teacher.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.1 * torch.randn(parameter.shape))
        beside = output()
    assert (beside - start).abs().max() > 1e-3 * start.abs().max()
    torch.testing.assert_close(output(), beside, atol=1e-5, rtol=1e-4)
    assert {name: value.shape for name, value in teacher.state_dict().items()} == {
        name: value.shape for name, value in state.items()
    }


def test_the_merged_weights_are_the_sum_by_hand():
    teacher = toy_teacher()
    before = weights(teacher)
    with adapt_teacher(teacher, "lora", rank=3, alpha=12):
        adapters = {}
        with torch.no_grad():
            for name, parameter in teacher.named_parameters():
                if "lora_" in name:
                    parameter.copy_(0.1 * torch.randn(parameter.shape))
                    adapters[name] = parameter.clone()
    layer = "teacher.backbone.encoder.layers.1."
    for weight, adapter in (
        ("linear1.weight", "linear1."),
        ("self_attn_s.in_proj_weight", "self_attn_s."),
    ):
        down, up = (adapters[f"{layer}{adapter}lora_{half}.default.weight"].numpy() for half in "AB")
        assert down.shape[0] == 3 == up.shape[1]
        expected = before[layer + weight].numpy() + 12 / 3 * up @ down
        torch.testing.assert_close(teacher.state_dict()[layer + weight], torch.tensor(expected), atol=1e-6, rtol=1e-5)
    for name in ("out_proj.weight", "in_proj_weight"):
        name = f"{layer}self_attn_t.{name}"
        update = (teacher.state_dict()[name] - before[name]).double()
        values = torch.linalg.svdvals(update)
        assert values[2] > 0.1 * values[0] and values[3] < 1e-5 * values[0], "not of rank 3"


def test_torchs_own_transformer_layer_does_not_pass_the_adapters_by():
    """Its fused path, taken in evaluation, reads the weights and calls no part."""
    teacher = toy_teacher(dropout=0.0)

    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.TransformerEncoderLayer(200, 4, 16, 0.0, "gelu", batch_first=True)

        def forward(self, src, src_mask=None):
            return self.layer(src.flatten(1, 2)).view_as(src)

    teacher.teacher.backbone.encoder.layers[1] = Flat()
    start = logits_of(teacher)
    with adapt_teacher(teacher, "lora"):
        with torch.no_grad():
            for name, parameter in teacher.named_parameters():
                if "layers.1.layer.linear1.lora_B" in name:
                    parameter.fill_(0.05)
        beside = logits_of(teacher)
    assert (beside - start).abs().max() > 1e-3
    torch.testing.assert_close(logits_of(teacher), beside, atol=1e-5, rtol=1e-5)
    assert not any(module._forward_hooks for module in teacher.modules())


def test_a_teacher_trained_with_adapters_is_an_ordinary_checkpoint(splits, tmp_path):
    teacher = toy_teacher()
    before, noted = weights(teacher), _Noted()
    trainer = make_trainer(
        teacher, splits, plain(tmp_path), adaptation="lora", lora_rank=2, learning_rate_decay=0.5, callbacks=[noted]
    )
    trainer.train()
    assert len(noted.steps) == 6 and all("lora_" in name or name.startswith("head.") for name in noted.steps[-1])
    assert sum("lora_" in name for name in noted.steps[-1]) == 2 * 2 * 6  # A and B of six maps in two layers
    after = weights(teacher)
    assert after.keys() == before.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "teacher.backbone.encoder.layers.0.self_attn_s.in_proj_weight" in changed
    assert not any("patch_embedding" in name or "bias" in name for name in changed if name.startswith("teacher."))
    trainer.save_model(str(tmp_path / "teacher"))
    loaded = DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "teacher")
    torch.testing.assert_close(logits_of(loaded), logits_of(teacher), rtol=1e-5, atol=1e-5)
    # and it can be trained once more
    trainer.train()
    assert teacher.state_dict().keys() == before.keys()


@pytest.mark.parametrize("fields", [{"adaptation": "lora", "lora_rank": 2}, {"adaptation": "probe"}])
def test_resuming_an_adaptation_changes_no_bit(fields, splits, tmp_path):
    args = dict(num_train_epochs=2, save_strategy="steps", save_steps=2, eval_strategy="epoch")
    whole = make_trainer(toy_teacher(), splits, plain(tmp_path / "whole", **args), **fields)
    whole.train()
    resumed = make_trainer(toy_teacher(seed=5), splits, plain(tmp_path / "resumed", **args), **fields)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert same(weights(whole.model), weights(resumed.model))


@pytest.mark.parametrize("adaptation", ["lora", "probe"])
def test_the_best_of_an_adaptation_is_kept(adaptation, splits, tmp_path):
    best = dict(load_best_model_at_end=True, eval_strategy="epoch", save_strategy="epoch")
    args = plain(tmp_path, num_train_epochs=4, metric_for_best_model="auroc", learning_rate=5e-2, **best)
    trainer = make_trainer(toy_teacher(), splits, args, adaptation=adaptation, early_stopping_patience=3)
    trainer.train()
    epochs = [entry for entry in trainer.state.log_history if "eval_auroc" in entry]
    # the loss tells epochs apart to the last digits; ranks of windows that nearly tie turn with the rounding
    best_loss = max(epochs, key=lambda entry: entry["eval_auroc"])["eval_loss"]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best_loss, rel=1e-4)
    assert len({round(entry["eval_loss"], 3) for entry in epochs}) > 1


def test_the_backbone_rests_for_the_first_epochs(splits, tmp_path):
    teacher, noted = toy_teacher(), _Noted()
    before, states = weights(teacher), []

    class Kept(TrainerCallback):
        def on_epoch_end(self, args, state, control, model=None, **kwargs):
            states.append(weights(model))

    fields = dict(num_train_epochs=3, weight_decay=0.1, save_strategy="steps", save_steps=2)
    args = plain(tmp_path / "whole", **fields)
    trainer = make_trainer(teacher, splits, args, freeze_epochs=1, callbacks=[noted, Kept()])
    trainer.train()
    backbone = [name for name in before if name.startswith("teacher.")]
    assert all(name.startswith("head.") for names in noted.steps[:3] for name in names)
    assert all(torch.equal(states[0][name], before[name]) for name in backbone)
    assert all(any(name.startswith("teacher.") for name in names) for names in noted.steps[3:])
    assert not same(states[1], states[0]) and teacher.train().teacher.training
    moved = [name for name in backbone if not torch.equal(states[1][name], before[name])]
    assert len(moved) > 0.9 * len(backbone)
    # on the way and behind it, resuming gives the same
    for step in (2, 4):
        resumed = make_trainer(toy_teacher(seed=5), splits, plain(tmp_path / str(step), **fields), freeze_epochs=1)
        resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert same(weights(resumed.model), weights(teacher))


def test_adaptations_that_make_no_sense_are_errors(splits, tmp_path):
    args = plain(tmp_path)
    for fields, reason in (
        ({"adaptation": "half"}, "`adaptation` must be one of 'full', 'probe', 'lora', got 'half'"),
        ({"adaptation": "lora", "lora_rank": 0}, "positive whole number, got 0"),
        ({"adaptation": "probe", "freeze_epochs": 2}, "with 'probe' the backbone stays frozen"),
        ({"freeze_epochs": -1}, "0 or more, got -1"),
    ):
        with pytest.raises(ValueError, match=reason):
            make_trainer(toy_teacher(), splits, args, **fields)
    for fields in ({"adaptation": "lora"}, {"adaptation": "probe"}, {"freeze_epochs": 1}):
        with pytest.raises(ValueError, match="for teachers.*got MiCForEEGClassification"):
            make_trainer(toy_student(), splits, args, **fields)


def test_a_pretrained_backbone_takes_a_fresh_head_for_another_montage(tmp_path):
    """A checkpoint without a head, and one with a head of another task, both become a teacher of these windows."""
    pretrained = toy_teacher(seed=3)
    pretrained.teacher.save_pretrained(tmp_path / "base")
    pretrained.save_pretrained(tmp_path / "tuned")
    signal = {"ch_names": ["O1", "Oz", "O2"], "n_times": 1000, "id2label": {0: "a", 1: "b", 2: "c"}}
    for folder in ("base", "tuned"):
        torch.manual_seed(1)
        teacher = DLinkTeacherForEEGClassification.from_pretrained(
            tmp_path / folder, ignore_mismatched_sizes=True, **signal
        )
        state, given = teacher.state_dict(), pretrained.state_dict()
        assert all(torch.equal(state[name], given[name]) for name in given if name.startswith("teacher."))
        assert teacher(torch.randn(2, 3, 1000)).logits.shape == (2, 3)
        fresh = state["head.classifier.weight"]
        assert fresh.shape == (3, 12) and 0 < float(fresh.std()) < 1 and bool(torch.isfinite(fresh).all())
        assert teacher.config.ch_names == signal["ch_names"] and teacher.config.n_times == 1000
    with pytest.raises(ValueError, match="sfreq"):
        DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "base", ignore_mismatched_sizes=True, sfreq=256.0)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Synthetic windows of seven people on disk, and a teacher without a head, pre-trained on another montage."""
    folder = tmp_path_factory.mktemp("recordings")
    extractor = EEGFeatureExtractor(ch_names=["F3", "C3", "Cz", "C4", "Pz"], sfreq=200.0, n_times=400, l_freq=0.5)
    dataset = synthetic_dataset(n_subjects=7, n_trials=6, seed=1, extractor=extractor, progress=False)
    dataset.save_to_disk(folder / "windows")
    toy_teacher(seed=3).teacher.save_pretrained(folder / "pretrained")
    return folder


def finetune(recordings, output_dir, *flags: str) -> list[str]:
    base = ["finetune-teacher", "--dataset", str(recordings / "windows"), "--output_dir", str(output_dir), "--use_cpu"]
    return [*base, "--disable_tqdm", "true", "--teacher_epochs", "1", "--validation", "2", "--test", "2", *flags]


def test_finetune_teacher_adapts_a_pretrained_teacher_in_a_process(recordings, tmp_path):
    flags = ["--teacher_checkpoint", str(recordings / "pretrained"), "--adaptation", "lora", "--lora_rank", "2"]
    flags += ["--layer_decay", "0.8", "--head_learning_rate_multiplier", "2", "--label_smoothing", "0.1"]
    flags += ["--augmentations", "time_shift,noise=0.3"]
    command = [sys.executable, "-c", "import sys; from dlink_hf.commands import main; sys.exit(main(sys.argv[1:]))"]
    done = subprocess.run([*command, *finetune(recordings, tmp_path, *flags)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "on 2 test subjects" in done.stdout and "balanced acc." in done.stdout
    assert f"teacher (checkpoint)  {tmp_path / 'teacher'}" in done.stdout
    # whom the pre-training saw is not known
    assert "has seen the test subjects is not known" in done.stdout
    teacher = DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "teacher")
    before = toy_teacher(seed=3).teacher.state_dict()
    after = teacher.teacher.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert after.keys() == before.keys() and changed and all(".layers." in name for name in changed)
    noted = json.loads((tmp_path / "teacher" / "people.json").read_text())
    assert [entry["source"] for entry in noted["pretraining"]] == [str(recordings / "pretrained")]


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--adaptation", "some"], "'full', 'probe', 'lora', got 'some'"),
        (["--lora_rank", "0", "--adaptation", "lora"], "positive whole number, got 0"),
        (["--layer_decay", "2"], "(0, 1]"),
        (["--label_smoothing", "1"], "[0, 1), got 1"),
        (["--augmentations", "time_shift,blur"], "'blur' is none of time_shift"),
        (["--teacher_checkpoint", "PRETRAINED", "--teacher_layers", "3"], "--teacher_layers is what"),
        (["--teacher_checkpoint", "nowhere/at-all"], "nowhere/at-all"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, reason, recordings, tmp_path, capsys):
    flags = [str(recordings / "pretrained") if flag == "PRETRAINED" else flag for flag in flags]
    # a small fresh teacher where none is given
    small = [] if "--teacher_checkpoint" in flags else ["--teacher_layers", "1"]
    assert main(finetune(recordings, tmp_path, *small, *flags)) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "teacher" / "model.safetensors").exists()


def test_a_teacher_pretrained_on_people_who_are_tested_is_refused(recordings, tmp_path, capsys):
    pretrained = tmp_path / "pretrained"
    shutil.copytree(recordings / "pretrained", pretrained)
    windows = str(recordings / "windows")
    everybody = sorted(set(load_from_disk(windows)["subject"][:]))

    def note(people: list[str], held_out: list[str] = (), source: str = windows) -> None:
        entry = {"source": source, "group_column": "subject", "people": people, "held_out": list(held_out)}
        (pretrained / "people.json").write_text(json.dumps({"pretraining": [entry]}))

    splits = DatasetDict(split_by_subject(load_from_disk(windows), validation=2, test=2, seed=0))
    tested, trained = (sorted(set(splits[name]["subject"][:])) for name in ("test", "train"))
    flags = ["--teacher_checkpoint", str(pretrained)]
    note(everybody)
    assert main(finetune(recordings, tmp_path, *flags)) == 1
    error = capsys.readouterr().err
    assert "in its pre-training, which are in the" in error
    # whom the pre-training only measured itself on it has not seen
    note(everybody, held_out=[*tested, *sorted(set(splits["validation"]["subject"][:]))])
    assert check_people(str(pretrained), windows, splits, "subject") is True
    note(trained)
    assert check_people(str(pretrained), windows, splits, "subject") is True
    # of other folders nothing is known; two public sets share nobody
    assert check_people(str(pretrained), "elsewhere", splits, "subject") is False
    note(everybody, source="eyes_gnb")
    assert check_people(str(pretrained), "eegmat", splits, "subject") is True
    # whoever chose a checkpoint may choose again, but not test
    write_people(tmp_path / "chosen", windows, splits, "subject")
    write_people(tmp_path / "further", windows, splits, "subject", started_from=[str(tmp_path / "chosen")])
    assert check_people(str(tmp_path / "further"), windows, splits, "subject") is True
    swapped = DatasetDict(validation=splits["test"], test=splits["validation"])
    with pytest.raises(ValueError, match="in its pre-training, as those it was chosen by, which are in the test"):
        check_people(str(tmp_path / "further"), windows, swapped, "subject")
    # a teacher made from it hands that on
    note(tested, source=windows)
    write_people(tmp_path, "eegmat", splits, "subject", started_from=[None, str(pretrained)])
    with pytest.raises(ValueError, match="in its pre-training, which are in the test split"):
        check_people(str(tmp_path), windows, splits, "subject")
    assert check_people(str(tmp_path), "eegmat", splits, "subject") is False


def test_distilling_from_a_finished_teacher_takes_no_flags_of_a_finetuning(recordings, tmp_path, capsys):
    words = ["distill", "--dataset", str(recordings / "windows"), "--output_dir", str(tmp_path), "--use_cpu"]
    teacher = ["--teacher", str(recordings / "pretrained")]
    assert main([*words, *teacher, "--adaptation", "probe"]) == 1
    assert "--teacher takes a teacher as it is" in capsys.readouterr().err
    assert main([*words, *teacher, "--teacher_checkpoint", str(recordings / "pretrained")]) == 1
    assert "give one of them" in capsys.readouterr().err


def test_finetune_teacher_can_stop_at_the_probe(recordings, tmp_path, capsys):
    words = finetune(recordings, tmp_path, "--teacher_checkpoint", str(recordings / "pretrained"), "--probe_first")
    words[words.index("--teacher_epochs") + 1] = "0"
    assert main(words) == 0
    assert "on 2 test subjects" in capsys.readouterr().out
    teacher = DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "teacher")
    assert teacher.config.head_size is None
    before, after = toy_teacher(seed=3).teacher.state_dict(), teacher.teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert float(teacher.head.classifier.weight.detach().abs().max()) > 0
