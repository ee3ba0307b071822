# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student that was really distilled and saved: loaded elsewhere, fed other montages, rates and units, fine-tuned."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import mne
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import arguments, toy_dataset  # noqa: E402

from dlink_hf import (  # noqa: E402
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTrainer,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
)
from dlink_hf.core.electrodes import channel_positions  # noqa: E402
from dlink_hf.data import EEGDataCollator, make_synthetic_recordings, split_by_subject, synthetic_dataset  # noqa: E402
from dlink_hf.data.synthetic import SYNTHETIC_CHANNELS, SYNTHETIC_LABELS  # noqa: E402
from dlink_hf.evaluation.predict import evaluate_model  # noqa: E402


ROOT = Path(__file__).resolve().parent.parent
CHANNELS = list(SYNTHETIC_CHANNELS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The trained studio's trainer, the test windows and the folder of the saved student."""
    extractor = EEGFeatureExtractor(ch_names=CHANNELS, sfreq=200.0, n_times=1000, l_freq=0.5)
    cache = tmp_path_factory.mktemp("cache")
    dataset = synthetic_dataset(n_subjects=6, n_trials=12, extractor=extractor, cache_dir=cache, progress=False)
    splits = split_by_subject(dataset, validation=1, test=1)
    signal = {"ch_names": CHANNELS, "n_times": 1000, "id2label": dict(enumerate(SYNTHETIC_LABELS))}
    torch.manual_seed(0)
    teacher = DLinkTeacherForEEGClassification(
        DLinkTeacherConfig(backbone_kwargs={"n_layer": 2, "dim_feedforward": 16, "nhead": 4}, **signal)
    )
    student = MiCForEEGClassification(MiCConfig.from_size("tiny", **signal))
    folder = tmp_path_factory.mktemp("student")
    trainer = DLinkTrainer(
        DLinkStudioModel.from_parts(teacher, student, route_weight=1.0, spectral_weight=0.5),
        arguments(folder / "training", num_train_epochs=6, mimic_epochs=2),
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=extractor,
    )
    trainer.train()
    trainer.save_model(str(folder / "saved"))
    return trainer, splits["test"], folder / "saved"


@pytest.fixture(scope="module")
def saved(trained):
    """The student as loaded from its folder, and its feature extractor."""
    folder = trained[2]
    return MiCForEEGClassification.from_pretrained(folder).eval(), EEGFeatureExtractor.from_pretrained(folder)


@pytest.fixture(scope="module")
def raw():
    """A recording of 73 s at 400 Hz that holds nothing above 60 Hz."""
    (recording,) = make_synthetic_recordings(n_subjects=1, n_trials=12, sfreq=400.0, seed=9, progress=False)
    return recording.filter(None, 60.0, verbose="ERROR")


@torch.no_grad()
def logits_of(model, batch) -> np.ndarray:
    positions = torch.as_tensor(batch["channel_positions"])
    return model(torch.as_tensor(batch["input_values"]), channel_positions=positions).logits.numpy()


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference of two sets of logits (N, num_labels), in standard deviations over the expected windows."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / expected.std(0).min())


# --- the files --------------------------------------------------------------------------------------------------


def test_the_folder_holds_the_student_alone(trained):
    trainer, _, folder = trained
    names = {"config.json", "model.safetensors", "preprocessor_config.json", "training_args.json"}
    assert {path.name for path in folder.iterdir()} == names
    keys = set(load_file(folder / "model.safetensors"))
    assert keys == set(trainer.model.student.state_dict())
    assert not [key for key in keys if any(part in key for part in ("teacher", "router", "decoder"))]
    text = (folder / "config.json").read_text()
    assert not any(word in text for word in ("teacher", "router", "CBraMod", "kd_"))
    # both stages were gone through, and the student is not the one that came in
    stages = [entry["mimic_stage"] for entry in trainer.state.log_history if "loss" in entry]
    assert {0.0, 1.0} == set(stages)


def test_a_new_process_gives_the_same_bits(trained, tmp_path):
    trainer, test_set, folder = trained
    windows = test_set.with_format("numpy")["input_values"][:]
    np.save(tmp_path / "windows.npy", windows)
    code = """
    import sys
    import numpy as np, torch
    from dlink_hf import MiCForEEGClassification
    torch.set_num_threads(1)
    model = MiCForEEGClassification.from_pretrained(sys.argv[1])
    with torch.no_grad():
        np.save(sys.argv[2] + "/logits.npy", model(torch.tensor(np.load(sys.argv[2] + "/windows.npy"))).logits.numpy())
    assert not any(name.split(".")[0] in ("braindecode", "mne", "datasets") for name in sys.modules)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(folder), str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=1000,
    )
    with torch.no_grad():
        expected = trainer.model.student.eval()(torch.tensor(windows)).logits.numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-5, atol=1e-5)
    assert expected.std(0).min() > 1e-3


def test_the_extractor_comes_back_as_it_was(trained, saved, raw):
    trainer, _, _ = trained
    _, extractor = saved
    assert extractor.to_dict() == trainer.processing_class.to_dict()
    assert (extractor.sfreq, extractor.n_times, extractor.l_freq, extractor.ch_names) == (200.0, 1000, 0.5, CHANNELS)
    first, second = trainer.processing_class(raw), extractor(raw)
    np.testing.assert_array_equal(first["input_values"], second["input_values"])
    np.testing.assert_array_equal(first["channel_positions"], second["channel_positions"])


def test_the_scores_of_the_saved_student_are_those_of_the_trained(trained, saved):
    trainer, test_set, _ = trained
    logged = trainer.predict(test_set)
    scores, probabilities = evaluate_model(saved[0], test_set)
    assert scores["balanced_accuracy"] == logged.metrics["test_balanced_accuracy"]
    shifted = np.exp(logged.predictions - logged.predictions.max(1, keepdims=True))
    np.testing.assert_allclose(probabilities, shifted / shifted.sum(1, keepdims=True), rtol=1e-5)


# --- channels ---------------------------------------------------------------------------------------------------


def test_the_order_of_the_channels_does_not_matter(saved, raw):
    model, extractor = saved
    expected = logits_of(model, extractor(raw))
    order = list(np.random.default_rng(0).permutation(CHANNELS))
    assert order != CHANNELS
    shuffled = raw.copy().reorder_channels(order)
    # the extractor brings the channels into its own order ...
    np.testing.assert_array_equal(logits_of(model, extractor(shuffled)), expected)
    # ... and where it is told none, the student follows their positions
    free = EEGFeatureExtractor.from_dict({**extractor.to_dict(), "ch_names": None})
    batch = free(shuffled)
    assert batch["ch_names"] == order
    assert relative(logits_of(model, batch), expected) < 1e-4
    assert logits_of(model, batch).argmax(1).tolist() == expected.argmax(1).tolist()
    # without the positions the same windows would be read wrongly
    wrong = {**batch, "channel_positions": np.array(channel_positions(CHANNELS), dtype=np.float32)}
    assert relative(logits_of(model, wrong), expected) > 1e-2


@pytest.mark.parametrize("kept", [["C3", "C4"], ["Fp1", "C3", "Cz", "C4", "P3", "P4", "O2"]])
def test_a_subset_of_the_channels_works(kept, saved, raw):
    model, extractor = saved
    with mne.utils.use_log_level("ERROR"):
        batch = extractor(raw.copy().pick(kept[::-1]))
    assert batch["ch_names"] == kept and batch["input_values"].shape[1:] == (len(kept), 1000)
    found = logits_of(model, batch)
    assert found.shape == (len(batch["onset"]), 2) and np.isfinite(found).all() and found.std(0).min() > 1e-3
    # the same channels cut out of the windows of all
    whole = extractor(raw)
    index = [CHANNELS.index(name) for name in kept]
    positions = whole["channel_positions"][index]
    part = {"input_values": whole["input_values"][:, index], "channel_positions": positions}
    np.testing.assert_allclose(found, logits_of(model, part), rtol=1e-5, atol=1e-6)
    # nothing is padded in silence: without positions the number of channels is an error
    with pytest.raises(ValueError, match=f"{len(kept)} channels, the model's montage has 19"):
        model(torch.tensor(batch["input_values"]))


# --- rates and units --------------------------------------------------------------------------------------------


ONSETS = np.arange(10.0, 58.0, 1.5)  # seconds; at least 10 s from either end, where filters see no edge


@pytest.fixture(scope="module")
def direct(raw):
    """Windows (N, 19, 1000) in microvolts at 200 Hz, made by NumPy and MNE's filter alone.

    The recording holds nothing above 60 Hz, so every second sample of it is it at 200 Hz.
    """
    volts = raw.get_data()[:, ::2]
    filtered = mne.filter.filter_data(volts * 1e6, 200.0, 0.5, None, verbose="ERROR")
    starts = np.round(ONSETS * 200).astype(int)
    windows = np.stack([filtered[:, start : start + 1000] for start in starts]).astype(np.float32)
    return {"input_values": windows, "channel_positions": np.array(channel_positions(CHANNELS), dtype=np.float32)}


def test_another_rate_agrees_with_the_direct_path(saved, raw, direct):
    model, extractor = saved
    expected = logits_of(model, direct)
    batch = extractor(raw, onsets=ONSETS)
    assert raw.info["sfreq"] == 400.0 and batch["input_values"].shape == (len(ONSETS), 19, 1000)
    assert relative(logits_of(model, batch), expected) < 1e-3
    # as an array, too
    again = extractor(raw.get_data(), sfreq=400.0, ch_names=CHANNELS, unit="V", onsets=ONSETS)
    assert relative(logits_of(model, again), expected) < 1e-3
    # a wrong rate would be seen
    wrong = extractor(raw.get_data(), sfreq=200.0, ch_names=CHANNELS, unit="V", onsets=ONSETS)
    assert relative(logits_of(model, wrong), expected) > 0.1


@pytest.mark.parametrize(("unit", "per_volt"), [("V", 1.0), ("mV", 1e3), ("uV", 1e6)])
@pytest.mark.parametrize("rate", [200, 400])
def test_units_and_rates_agree_with_the_direct_path(unit, per_volt, rate, saved, raw, direct):
    model, extractor = saved
    values = raw.get_data()[:, :: 400 // rate] * per_volt
    batch = extractor(values, sfreq=float(rate), ch_names=CHANNELS, unit=unit, onsets=ONSETS)
    assert relative(logits_of(model, batch), logits_of(model, direct)) < (1e-5 if rate == 200 else 1e-3)


def test_a_wrong_unit_is_an_error(saved, raw):
    with pytest.raises(ValueError, match="unit"):
        saved[1](raw.get_data(), sfreq=400.0, ch_names=CHANNELS, unit="uV")


# --- fine-tuning ------------------------------------------------------------------------------------------------


def test_the_student_is_fine_tuned_on_another_headset_and_task(trained, tmp_path):
    _, _, folder = trained
    names = ["rest", "left", "right"]
    train_set = toy_dataset(["S1", "S2", "S3"], names=names)  # C3, Cz, C4, Pz; 2 s
    fields = {
        "ch_names": ["C3", "Cz", "C4", "Pz"],
        "channel_positions": None,
        "n_times": 400,
        "id2label": dict(enumerate(names)),
        "label2id": None,
    }
    config = MiCConfig(**{**MiCConfig.from_pretrained(folder).to_dict(), **fields})
    with pytest.raises(ValueError, match="classifier.weight.*ignore_mismatched_sizes=True"):
        MiCForEEGClassification.from_pretrained(folder, config=config)
    torch.manual_seed(0)
    model = MiCForEEGClassification.from_pretrained(folder, config=config, ignore_mismatched_sizes=True)
    before = load_file(folder / "model.safetensors")
    kept = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert set(before) - kept == {"classifier.weight", "classifier.bias"}
    assert model.config.num_labels == 3 and model.classifier.weight.shape[0] == 3

    args = arguments(tmp_path / "training", TrainingArguments, num_train_epochs=12, per_device_train_batch_size=12)
    trainer = Trainer(model, args, data_collator=EEGDataCollator(), train_dataset=train_set)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])
    trainer.save_model(str(tmp_path / "tuned"))
    tuned = MiCForEEGClassification.from_pretrained(tmp_path / "tuned")
    assert tuned.config.id2label == dict(enumerate(names)) and tuned.config.ch_names == fields["ch_names"]
    assert tuned.config.channel_positions == channel_positions(fields["ch_names"])
    scores, _ = evaluate_model(tuned, toy_dataset(["S8", "S9"], seed=4, names=names))
    assert scores["balanced_accuracy"] > 0.6  # chance is 1/3
