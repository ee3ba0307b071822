# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Pre-training by masked patches: the objective, mixed montages, who is seen, the command, resume."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from toy_training import toy_dataset
from transformers import TrainingArguments

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, EEGFeatureExtractor
from dlink_hf.data.unlabelled import MixedWindows, MontageBatchSampler, set_recordings, unlabelled_windows
from dlink_hf.training.pretraining import DLinkTeacherForPretraining, PretrainingTrainer


KWARGS = {"n_layer": 1, "dim_feedforward": 16, "nhead": 4, "drop_prob": 0.0}
NAMES = ["C3", "Cz", "C4", "Pz"]
MONTAGES = {"eight": ["Fz", "C3", "Cz", "C4", "Pz", "Oz", "F3", "F4"], "four": NAMES}


def pretraining_model(seed: int = 0, **arguments) -> DLinkTeacherForPretraining:
    torch.manual_seed(seed)
    config = DLinkTeacherConfig(backbone_kwargs=KWARGS, ch_names=NAMES, n_times=400, input_scale=0.5)
    return DLinkTeacherForPretraining(config, **arguments)


def write_recordings(folder: Path) -> Path:
    """Six people with eight channels at 250 Hz, four with four at 160 Hz; one source seen by all channels."""
    rng = np.random.default_rng(0)
    for montage, sfreq, people in (("eight", 250.0, 6), ("four", 160.0, 4)):
        names = MONTAGES[montage]
        for person in range(people):
            source = np.cumsum(rng.standard_normal(round(12 * sfreq)))
            source = 20e-6 * (source - source.mean()) / source.std()
            values = source * rng.uniform(0.5, 1.5, (len(names), 1))
            values += 3e-6 * rng.standard_normal((len(names), len(source)))
            raw = mne.io.RawArray(values, mne.create_info(names, sfreq, "eeg"), verbose="error")
            (folder / montage).mkdir(parents=True, exist_ok=True)
            raw.save(folder / montage / f"p{person}-{montage}_raw.fif", verbose="error")
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recordings(tmp_path_factory.mktemp("recordings"))


def extractor() -> EEGFeatureExtractor:
    return EEGFeatureExtractor(sfreq=200.0, n_times=400)


def test_the_objective_is_the_relative_error_of_hidden_patches():
    model = pretraining_model(spectral_weight=0.7).eval()
    windows = torch.from_numpy(np.random.default_rng(1).normal(0, 20, (3, 4, 400)).astype(np.float32))
    mask = torch.zeros(3, 4, 2, dtype=torch.long)
    mask[0, 1, 0] = mask[1, 2, 1] = mask[1, 3, 1] = mask[2, 0, 0] = 1
    output = model(windows, mask=mask)

    layer = []
    model.teacher.backbone.encoder.register_forward_hook(lambda module, inputs, result: layer.append(result))
    with torch.no_grad():
        predicted = model.teacher.backbone(windows * 0.5, mask=mask).numpy()
        spectrum = model.spectrum_head(layer[0]).numpy()
    patches = windows.numpy().reshape(3, 4, 2, 200)
    expected = []
    for window in range(3):
        hidden = np.argwhere(mask[window].numpy())
        squares = [np.mean((10 * predicted[window, c, p] - patches[window, c, p]) ** 2) for c, p in hidden]
        expected.append(np.mean(squares) / np.mean(patches[window] ** 2))
    logs = np.log(np.abs(np.fft.rfft(patches))[..., 1:] / 200 + 0.05)
    spectral = ((spectrum - logs) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(output.reconstruction_error.numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(output.spectral_error.numpy(), spectral, rtol=1e-4)
    assert output.loss.item() == pytest.approx(np.mean(expected) + 0.7 * np.mean(spectral), rel=1e-4)


def test_hidden_samples_do_not_reach_the_prediction():
    model = pretraining_model().eval()
    windows = torch.randn(1, 4, 400) * 20
    mask = torch.zeros(1, 4, 2, dtype=torch.long)
    mask[0, 2, 1] = 1
    changed = windows.clone()
    changed[0, 2, 200:] += 100.0
    with torch.no_grad():
        before, after = (model.teacher.backbone(x * 0.5, mask=mask) for x in (windows, changed))
    assert torch.equal(before, after)


def test_masks_hide_the_same_share_of_every_window():
    model = pretraining_model(mask_ratio=0.25)
    first, second = (model.train().draw_mask(5, 4, 6, torch.device("cpu")) for _ in range(2))
    assert first.sum((1, 2)).tolist() == [6] * 5 and not torch.equal(first, second)
    fixed = [model.eval().draw_mask(5, 4, 6, torch.device("cpu")) for _ in range(2)]
    assert torch.equal(*fixed)


def test_every_batch_is_of_one_montage_and_every_window_comes_once():
    four, eight = toy_dataset(["a", "b"], 7), toy_dataset(["c"], 5)
    windows = MixedWindows([four, eight])
    sampler = MontageBatchSampler(windows, 4, seed=3)
    batches = list(sampler)
    assert len(batches) == len(sampler) == 6
    assert sorted(row for batch in batches for row in batch) == list(range(19))
    assert all(max(batch) < 14 or min(batch) >= 14 for batch in batches)
    assert np.array_equal(windows[15]["input_values"], eight[1]["input_values"])
    assert list(sampler) == batches
    sampler.set_epoch(1)
    assert list(sampler) != batches


def test_montages_and_rates_are_told_apart(recordings: Path, tmp_path: Path):
    paths = sorted(recordings.rglob("*.fif"))
    found = unlabelled_windows(paths, extractor(), cache_dir=tmp_path, progress=False)
    shapes = {tuple(dataset[0]["input_values"].shape): len(dataset) for dataset in found}
    assert shapes == {(8, 400): 6 * 6, (4, 400): 4 * 6}
    with pytest.raises(ValueError, match="C3.*leave `ch_names` out"):
        unlabelled_windows(paths, EEGFeatureExtractor(ch_names=["C3"]), cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="no recording"):
        unlabelled_windows([], extractor())


def test_pretraining_learns_to_read_hidden_patches(recordings: Path, tmp_path: Path):
    found = unlabelled_windows(sorted(recordings.rglob("*.fif")), extractor(), cache_dir=tmp_path, progress=False)
    args = TrainingArguments(
        tmp_path / "run",
        max_steps=60,
        per_device_train_batch_size=12,
        learning_rate=3e-3,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = PretrainingTrainer(pretraining_model(), args, found, found)
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    # the other channels tell most of what a hidden one holds; a flat line gets 1
    assert after["eval_reconstruction_error"] < 0.6 < before["eval_reconstruction_error"]
    assert after["eval_spectral_error"] < 0.5 * before["eval_spectral_error"]
    assert trainer.evaluate() == after


def run_command(folder: Path, recordings: Path, *flags: str) -> subprocess.CompletedProcess:
    words = [
        *(sys.executable, "-c", "from dlink_hf.commands import main; raise SystemExit(main())", "pretrain-teacher"),
        *("--recordings", str(recordings / "eight"), str(recordings / "four"), "--cache_dir", str(folder / "cache")),
        *("--output_dir", str(folder), "--window_seconds", "2", "--stride_seconds", "2", "--reject_uv", "1000"),
        *("--teacher_layers", "1", "--per_device_train_batch_size", "8", "--max_steps", "6", "--save_strategy"),
        *("steps", "--save_steps", "3", "--save_total_limit", "5", "--eval_strategy", "no", "--use_cpu", *flags),
    ]
    return subprocess.run(words, capture_output=True, text=True)


def test_the_command_sees_only_who_it_may_and_resumes_exactly(recordings: Path, tmp_path: Path):
    # of the people that are not listed, not even the file is opened
    damaged = recordings / "eight" / "p9-eight_raw.fif"
    damaged.write_bytes(b"no recording")
    people = {
        str(recordings / "eight"): {"train": [f"p{i}" for i in range(4)]},
        str(recordings / "four"): {"train": ["p0", "p1", "p2"]},
    }
    (tmp_path / "people.json").write_text(json.dumps(people), encoding="utf-8")
    flags = ["--people", str(tmp_path / "people.json"), "--subject_pattern", r"(p\d)-", "--held_out", "0.25"]
    try:
        first = run_command(tmp_path / "one", recordings, *flags)
        assert first.returncode == 0, first.stderr[-2000:]
        resumed = run_command(
            tmp_path / "two",
            recordings,
            *flags,
            "--resume_from_checkpoint",
            str(tmp_path / "one" / "training" / "checkpoint-3"),
            "--half",
        )
        assert resumed.returncode == 0, resumed.stderr[-2000:]
        unknown = run_command(tmp_path / "three", recordings, *flags, "--people_split", "test")
    finally:
        damaged.unlink()
    assert "held-out error of masked patches" in first.stdout
    seen = json.loads((tmp_path / "one" / "teacher" / "people.json").read_text(encoding="utf-8"))["pretraining"]
    assert [entry["people"] for entry in seen] == [["p0", "p1", "p2", "p3"], ["p0", "p1", "p2"]]
    assert [len(entry["held_out"]) for entry in seen] == [1, 1]
    assert (tmp_path / "one" / "reconstruction.png").stat().st_size > 5000
    assert sorted(path.name for path in (tmp_path / "one" / "teacher").iterdir()) == [
        *("README.md", "config.json", "held_out_error.png", "model.safetensors", "people.json", "results.json"),
    ]
    card = (tmp_path / "one" / "teacher" / "README.md").read_text(encoding="utf-8")
    assert ModelCard(card).data.library_name == "dlink_hf"
    results = json.loads((tmp_path / "one" / "teacher" / "results.json").read_text(encoding="utf-8"))
    error = results["held_out"]["eval_reconstruction_error"]
    assert f"{error:.3f} |" in card and "4 subjects, 1 of them held out. Own recordings." in card
    whole = load_file(tmp_path / "one" / "teacher" / "model.safetensors")
    half = load_file(tmp_path / "two" / "teacher" / "model.safetensors")
    assert {tensor.dtype for tensor in half.values()} == {torch.float16}
    for name, tensor in whole.items():
        assert torch.equal(tensor.half(), half[name]), name

    # another montage, window and task: the backbone is taken over whole, the head starts anew
    teacher = DLinkTeacherForEEGClassification.from_pretrained(
        tmp_path / "two" / "teacher", ch_names=["O1", "O2"], n_times=600, id2label={0: "a", 1: "b", 2: "c"}
    )
    assert teacher.dtype == torch.float32
    assert torch.equal(
        teacher.teacher.backbone.encoder.layers[0].linear1.weight,
        half["backbone.encoder.layers.0.linear1.weight"].float(),
    )
    assert teacher(torch.randn(2, 2, 600)).logits.shape == (2, 3)
    assert unknown.returncode == 1 and "no list 'test'" in unknown.stderr


def test_arguments_that_lead_nowhere(tmp_path: Path, data_dir: Path):
    with pytest.raises(ValueError, match="takes a mask: CBraMod; got 'Labram'"):
        DLinkTeacherForPretraining(DLinkTeacherConfig(backbone="Labram", backbone_kwargs={"num_layers": 1}))
    with pytest.raises(ValueError, match="`mask_ratio` must lie between 0 and 1, got 1"):
        pretraining_model(mask_ratio=1.0)
    with pytest.raises(ValueError, match="one patch can't be hidden"):
        pretraining_model()(torch.randn(2, 1, 200))
    with pytest.raises(ValueError, match="eegmat has no subject 99"):
        set_recordings("eegmat", data_dir, ["00", "99"])
    paths = set_recordings("eegmat", data_dir, ["00", "03"])
    assert sorted(path.name[:9] for path in paths) == ["Subject00"] * 2 + ["Subject03"] * 2
