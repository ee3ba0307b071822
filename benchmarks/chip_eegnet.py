# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""braindecode's EEGNet as C, by eegnet.c in place of mic.c: what chip.py puts beside the students."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from dlink_hf.export.c_student import SOURCES, WEIGHTS_FILE
from dlink_hf.export.c_text import number_of_c, rows_of_c, text_of_c


HERE = Path(__file__).resolve().parent
# of braindecode's EEGNet: outputs of the temporal filters that eegnet.c takes at once
POOL = 4


def export_eegnet(network: nn.Module, input_scale: float, ch_names: Sequence[str], folder: Path) -> Path:
    """Write the folder that `make chip` builds: chip.c, eegnet.c under the name of mic.c, and the weights.

    Args:
        network: `braindecode.models.EEGNet` with its standard kernels, in evaluation mode.
        input_scale: by which microvolts are multiplied before the network.
        ch_names: its C channels.
        folder: where to.

    Returns:
        path of the weights.

    Raises:
        ValueError: the network pools or pads otherwise than eegnet.c.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("mic.h", "main.c", "chip.c", "chip.ld", "Makefile"):
        shutil.copyfile(SOURCES / name, folder / name)
    shutil.copyfile(HERE / "eegnet.c", folder / "mic.c")
    path = folder / WEIGHTS_FILE
    path.write_text(eegnet_header(network, input_scale, ch_names), encoding="utf-8")
    return path


def eegnet_header(network: nn.Module, input_scale: float, ch_names: Sequence[str]) -> str:
    """Return the text of mic_weights.h: shapes and folded weights."""
    if network.pool1_kernel_size != POOL or network.n_times % POOL or network.pool_mode != "mean":
        raise ValueError(f"eegnet.c takes means of {POOL} samples of windows that are a multiple of that long.")
    # what a batch norm makes of x is gain * x + shift
    gains, shifts = zip(
        *(_affine(norm) for norm in (network.bnorm_temporal, network.bnorm_1, network.bnorm_2)), strict=True
    )
    temporal = _array(network.conv_temporal.weight)[:, 0, 0]  # (F1, taps)
    spatial = _array(network.conv_spatial.weight)[:, 0, :, 0]  # (F1 * D, C)
    first = np.repeat(np.arange(len(temporal)), network.D)
    mix = input_scale * spatial * (gains[1] * gains[0][first])[:, None]
    shift = shifts[1] + gains[1] * shifts[0][first] * spatial.sum(1)
    point = _array(network.conv_separable_point.weight)[:, :, 0, 0] * gains[2][:, None]
    head = network.final_layer.conv_classifier
    n_pooled = (network.n_times + 1) // POOL
    arrays = {
        "mix": mix,
        "taps": temporal,
        "shift": shift,
        "deep_taps": _array(network.conv_separable_depth.weight)[:, 0, 0],
        "point": point,
        "deep_shift": shifts[2],
        "head": _array(head.weight),
        "head_bias": _array(head.bias),
    }
    numbers = {
        "MIC_CHANNELS": network.n_chans,
        "MIC_SAMPLES": network.n_times,
        "MIC_SFREQ": number_of_c(float(network.sfreq)),
        "MIC_LABELS": network.n_outputs,
        "MIC_ALIGNED": 0,
        "EEGNET_FILTERS": len(mix),
        "EEGNET_DEPTH": network.D,
        "EEGNET_TAPS": temporal.shape[1],
        "EEGNET_DEEP_TAPS": network.depthwise_kernel_length,
        "EEGNET_POOLED": n_pooled,
        "EEGNET_POOL_TWICE": network.pool2_kernel_size,
        "EEGNET_POOLED_TWICE": (n_pooled + 1) // network.pool2_kernel_size,
    }
    lines = ["/* mic_weights.h of EEGNet, written by chip.py */", "#ifndef MIC_SHAPES", "#define MIC_SHAPES"]
    lines += [f"#define {name} {value}" for name, value in numbers.items()]
    lines += ["extern const int mic_n_labels;", "extern const char *const mic_channel_names[MIC_CHANNELS];"]
    lines += ["extern const char *const mic_label_names[MIC_LABELS];"]
    lines += ["#endif", "#ifdef MIC_WITH_WEIGHTS", "const int mic_n_labels = MIC_LABELS;"]
    for name, size, texts in (
        ("channel", "CHANNELS", ch_names),
        ("label", "LABELS", map(str, range(network.n_outputs))),
    ):
        lines.append(f"const char *const mic_{name}_names[MIC_{size}] = {{{', '.join(map(text_of_c, texts))}}};")
    for name, values in arrays.items():
        lines += rows_of_c("float", f"eegnet_{name}", [number_of_c(value) for value in values.ravel().tolist()])
    return "\n".join([*lines, "#endif", ""])


def _array(values: nn.Parameter) -> np.ndarray:
    return values.detach().double().numpy()


def _affine(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Gain and shift of a batch norm with running statistics, both (filters,)."""
    gain = _array(norm.weight) / np.sqrt(norm.running_var.double().numpy() + norm.eps)
    return gain, _array(norm.bias) - gain * norm.running_mean.double().numpy()
