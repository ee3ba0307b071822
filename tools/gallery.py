# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The pictures of docs/gallery.md: every plot of the package, on made data whose answer is known.

    python tools/gallery.py

writes docs/pictures/gallery/NAME.png, one for each function of `PLOTS`. Colours are reduced to 256 and
sizes to 1100 pixels, so that all of them together stay small.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from dlink_hf.core.atomic_files import staged
from dlink_hf.core.electrodes import channel_positions
from dlink_hf.distillation.general.backbone_report import plot_backbone_curves
from dlink_hf.evaluation.explanation import EXPLAINED_BANDS, Explanation
from dlink_hf.evaluation.plots import (
    plot_confusion_matrix,
    plot_loss_curves,
    plot_montage,
    plot_representation_spectra,
    plot_router_weights,
)
from dlink_hf.evaluation.recording_plots import plot_band_maps, plot_explanation, plot_probabilities, plot_recording
from dlink_hf.evaluation.score_plots import plot_numbers, plot_reliability, plot_subject_scores
from dlink_hf.models.teacher.modeling_teacher import DLinkTeacherModel
from dlink_hf.profiling.report import plot_profile
from dlink_hf.training.pretraining import DLinkTeacherForPretraining
from dlink_hf.training.pretraining_report import plot_held_out_error, plot_reconstruction


GALLERY = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "gallery"
NAMES = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split()
SFREQ, SECONDS = 200.0, 5
CLASSES = ["rest", "left hand", "right hand"]


def make_signal(n_windows: int = 6, seed: int = 0) -> np.ndarray:
    """(C, T) microvolts: noise falling as 1/f, 10 Hz of 15 uV over the back in windows 1 and 4."""
    rng, n_times = np.random.default_rng(seed), round(n_windows * SECONDS * SFREQ)
    spectrum = np.fft.rfft(rng.standard_normal((len(NAMES), n_times)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(n_times, 1 / SFREQ), 0.5)), n_times)
    times = np.arange(n_times) / SFREQ
    back = np.clip(-np.asarray(channel_positions(NAMES))[:, 1] / 0.1, 0, 1)
    alpha = np.sin(2 * np.pi * 10 * times) * np.isin(times // SECONDS, (1, 4))
    return 8 * noise / noise.std(-1, keepdims=True) + 15 * back[:, None] * alpha


def draw_montage(path: Path) -> None:
    """Electrodes of the 10-20 system."""
    plot_montage(channel_positions(NAMES), NAMES, path)


def draw_recording(path: Path) -> None:
    """Six windows, the fourth without a label."""
    labels = ["rest", "left hand", "right hand", None, "left hand", "rest"]
    windows = [
        {"onset": float(SECONDS * i), "duration": SECONDS, "label": label, "reason": None if label else "too large"}
        for i, label in enumerate(labels)
    ]
    plot_recording(make_signal(), SFREQ, NAMES, 0.0, windows, CLASSES, path, chosen=5.0)


def draw_probabilities(path: Path) -> None:
    """Thirty windows in which one class gives way to another; two have no label."""
    rng = np.random.default_rng(1)
    values = np.stack([np.linspace(3, -3, 30), np.linspace(-3, 3, 30), np.full(30, -1.0)], 1) + rng.normal(
        0, 0.6, (30, 3)
    )
    values = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    judged = ~np.isin(np.arange(30), (11, 12))
    plot_probabilities(np.arange(30) * 5.0, SECONDS, values, CLASSES, judged, path, chosen=25.0)


def draw_band_maps(path: Path) -> None:
    """A window with 10 Hz over the back."""
    window = make_signal()[:, round(SECONDS * SFREQ) : round(2 * SECONDS * SFREQ)]
    plot_band_maps(window, SFREQ, NAMES, path, "Window 1, 5 to 10 s: alpha over the back")


def draw_explanation(path: Path) -> None:
    """A label that rests on 10-12 Hz around C3, in the third second."""
    places = np.asarray(channel_positions(NAMES))
    near = np.exp(-(np.linalg.norm(places - places[NAMES.index("C3")], axis=1) ** 2) / (2 * 0.03**2))
    bands = np.array([0.0, 0.02, 0.05, 0.3, 1.0, 0.3, 0.05, 0.0, 0.0])
    rng = np.random.default_rng(2)
    grid = near[:, None] * bands + rng.normal(0, 0.02, (len(NAMES), len(bands)))
    found = Explanation(
        label=1,
        probability=0.93,
        channels=2.1 * near + rng.normal(0, 0.05, len(NAMES)),
        seconds=np.array([0.1, 0.4, 1.9, 0.5, -0.1]),
        bands=dict(zip(EXPLAINED_BANDS, 2.4 * bands + rng.normal(0, 0.04, len(bands)), strict=True)),
        channel_bands=grid,
    )
    plot_explanation(found, NAMES, places, path, "Window 7: left hand (0.93)")


def draw_confusion(path: Path) -> None:
    """A model that is right in 80 % and takes one hand for the other in the rest."""
    labels = np.repeat([0, 1, 2], 50)
    predictions = labels.copy()
    predictions[50:60], predictions[100:110], predictions[:5] = 2, 1, 1
    plot_confusion_matrix(labels, predictions, CLASSES, path)


def draw_reliability(path: Path) -> None:
    """One model that is as sure as it is right, and one that is too sure."""
    rng = np.random.default_rng(3)
    sure = rng.uniform(0.5, 1, 4000)
    labels = (rng.uniform(size=4000) > sure).astype(int)
    too_sure = 0.5 + 0.5 * ((sure - 0.5) * 2) ** 0.4
    models = {"calibrated": sure, "too sure": too_sure}
    plot_reliability(labels, {name: np.stack([p, 1 - p], 1) for name, p in models.items()}, path)


def draw_numbers(path: Path) -> None:
    """Two targets: one that is told well, and one that is told too near to the mean."""
    rng = np.random.default_rng(9)
    age, load = rng.uniform(20, 70, 150), rng.uniform(0, 10, 150)
    told = np.stack([age + rng.normal(0, 3, 150), 5 + 0.3 * (load - 5) + rng.normal(0, 0.5, 150)], 1)
    plot_numbers(np.stack([age, load], 1), told, ["age (years)", "workload"], path, "student")


def draw_subjects(path: Path) -> None:
    """Twelve subjects, the distilled student ahead in all of them."""
    rng = np.random.default_rng(4)
    alone = np.sort(rng.uniform(0.55, 0.85, 12))
    models = {"teacher": alone + 0.08, "distilled student": alone + 0.06, "student without a teacher": alone}
    scores = {
        name: {f"S{i + 1:02d}": float(value) for i, value in enumerate(values)} for name, values in models.items()
    }
    plot_subject_scores(scores, 0.5, path, highlight="distilled student")


def draw_losses(path: Path) -> None:
    """A mimic stage of 100 steps, then a compress stage."""
    log = []
    for step in range(10, 301, 10):
        mimic = step <= 100
        terms = {"mimic_loss": np.exp(-step / 60), "task_loss": 0.7 * np.exp(-step / 200)}
        log.append({"step": step, "loss": sum(terms.values()), "mimic_stage": int(mimic), **terms})
        log.append({"step": step, "eval_loss": 0.72 * np.exp(-step / 230)})
    plot_loss_curves(log, path)


def draw_router(path: Path) -> None:
    """Two classes that are read from different layers."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1], 60)
    favour = np.where(labels[:, None] == 0, [0, 0.5, 2.0, 0.5, 0, 0], [0, 0, 0.3, 0.8, 2.0, 0.5])
    weights = np.exp(favour + rng.normal(0, 0.4, (120, 6)))
    plot_router_weights(weights / weights.sum(1, keepdims=True), labels, ["left hand", "right hand"], path)


def draw_spectra(path: Path) -> None:
    """One student with half of the magnitude, one a token late: no phase error, and one that grows with frequency."""
    teacher = np.random.default_rng(6).standard_normal((32, 4, 20, 16))
    students = {"half as large": 0.5 * teacher, "one token late": np.roll(teacher, 1, axis=2)}
    plot_representation_spectra(teacher, students, path, token_rate=4.0, axes=("time",))


def draw_profile(path: Path) -> None:
    """Three models on two backends: ten times the operations, ten times the time."""
    rows = [
        {"model": name, "backend": backend, "p50_ms": ms * factor, "mflop": mflop, "parameters": size, "score": None}
        for name, ms, mflop, size in (
            ("student tiny", 0.8, 3.0, 24_000),
            ("student small", 1.8, 12.0, 97_000),
            ("teacher", 18.0, 400.0, 1_700_000),
        )
        for backend, factor in (("eager", 1.0), ("onnx", 0.5))
    ]
    machine, settings = {"processor": "a made-up processor"}, {"n_threads": 1}
    window = {"n_chans": 19, "seconds": 5, "sfreq": 200}
    plot_profile({"rows": rows, "window": window, "settings": settings, "machine": machine}, path)


def draw_backbone(path: Path) -> None:
    """A general student that comes nearer to its teacher while its heads get better."""
    log = [
        {
            "step": step,
            "eval_route_error": 0.2 + 0.8 * np.exp(-step / 300),
            "eval_magnitude_mimic_loss": 0.1 + 0.5 * np.exp(-step / 200),
            "eval_phase_mimic_loss": 0.3 + 0.6 * np.exp(-step / 400),
            "eval_rest_balanced_accuracy": 0.85 - 0.3 * np.exp(-step / 250),
            "eval_hands_balanced_accuracy": 0.7 - 0.2 * np.exp(-step / 350),
        }
        for step in range(0, 1501, 100)
    ]
    plot_backbone_curves(log, path)


def draw_held_out(path: Path) -> None:
    """A pre-training whose errors fall."""
    log = [
        {
            "step": step,
            "eval_reconstruction_error": 0.55 + 0.45 * np.exp(-step / 300),
            "eval_spectral_error": 0.3 + 0.7 * np.exp(-step / 200),
        }
        for step in range(100, 1501, 100)
    ]
    plot_held_out_error(log, path)


def draw_reconstruction(path: Path) -> None:
    """What the packaged teacher reads in hidden seconds of 10 Hz over the back."""
    teacher = DLinkTeacherModel.from_pretrained("dlink-teacher-cbramod-4", ch_names=NAMES, n_times=1000)
    model = DLinkTeacherForPretraining(teacher.config)
    model.teacher = teacher
    window = make_signal()[:, round(SECONDS * SFREQ) : round(2 * SECONDS * SFREQ)]
    plot_reconstruction(model, window, NAMES, path)


PLOTS = {
    "montage": draw_montage,
    "recording": draw_recording,
    "probabilities": draw_probabilities,
    "band_maps": draw_band_maps,
    "explanation": draw_explanation,
    "confusion": draw_confusion,
    "reliability": draw_reliability,
    "numbers": draw_numbers,
    "subjects": draw_subjects,
    "losses": draw_losses,
    "router": draw_router,
    "spectra": draw_spectra,
    "profile": draw_profile,
    "backbone": draw_backbone,
    "held_out": draw_held_out,
    "reconstruction": draw_reconstruction,
}


def write_small(path: Path, target: Path, width: int = 1100) -> None:
    """Write a picture again, at most so many pixels wide and with 256 colours."""
    picture = Image.open(path).convert("RGB")
    if picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    with staged(target.parent) as partial:
        picture.quantize(256, dither=Image.Dither.NONE).save(partial / target.name, optimize=True)


def main() -> None:
    """Entry of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=GALLERY, help="folder to write to")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PLOTS)}; all by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.names or PLOTS:
            drawn = Path(folder, f"{name}.png")
            PLOTS[name](drawn)
            write_small(drawn, args.output / f"{name}.png")
    total = sum(path.stat().st_size for path in args.output.glob("*.png"))
    print(f"{len(list(args.output.glob('*.png')))} pictures, {total / 1e6:.2f} MB, in {args.output}")


if __name__ == "__main__":
    main()
