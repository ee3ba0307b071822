# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""An exported student, run by ONNX Runtime: what `dlink export` wrote, checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .configuration_mic import MiCConfig


MODEL_FILE = "model.onnx"
DEPLOY_FILE = "deploy.json"


@dataclass
class OnnxStudentOutput:
    """Output of [`OnnxStudent`].

    Args:
        logits (`np.ndarray` or `torch.Tensor`, as the input was, (B, num_labels) float32): before the softmax.
    """

    logits: Any


class OnnxStudent:
    """An exported student that answers as the model it was made of, for one montage and one length of window.

    Args:
        weights: the bytes of the ONNX file.
        deploy: what stands in its deploy.json.
        config ([`MiCConfig`]): of the student.
        n_threads: of ONNX Runtime.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the bytes are no ONNX model.

    Example:

    ```python
    >>> from dlink_hf import OnnxStudent
    >>> student = OnnxStudent.from_pretrained("outputs/export/int8")
    >>> student(windows).logits  # windows (B, C, T) in microvolts
    ```
    """

    main_input_name = "input_values"
    input_modalities = ("time",)
    # what the pipeline asks of every model
    device = torch.device("cpu")
    dtype = torch.float32
    training = False

    def __init__(self, weights: bytes, deploy: dict[str, Any], config: MiCConfig, n_threads: int = 1) -> None:
        self.deploy, self.config = deploy, config
        self.session = make_session(weights, n_threads)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, n_threads: int = 1) -> OnnxStudent:
        """Load what `dlink export` wrote.

        Args:
            folder: holds model.onnx, deploy.json and config.json.
            n_threads: of ONNX Runtime; more than one seldom pays for a small student.

        Raises:
            FileNotFoundError: a file is missing.
            ImportError: ONNX Runtime is not installed.
            ValueError: model.onnx is not the file that deploy.json describes, or deploy.json is damaged.
        """
        folder = Path(folder)
        missing = [name for name in (MODEL_FILE, DEPLOY_FILE, "config.json") if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} holds no {', '.join(missing)}: it is not a folder of an exported student. Make one: dlink "
                "export MODEL --output_dir DIR; each precision gets a folder of its own in DIR."
            )
        again = "Copy the folder again, or export the student anew: dlink export MODEL --output_dir DIR."
        try:
            deploy = json.loads((folder / DEPLOY_FILE).read_text("utf-8"))
            expected, *_ = deploy["sha256"], deploy["ch_names"], deploy["n_times"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / DEPLOY_FILE} is damaged ({error!r}). {again}") from error
        weights = (folder / MODEL_FILE).read_bytes()
        found = hashlib.sha256(weights).hexdigest()
        if found != expected:
            raise ValueError(
                f"{folder / MODEL_FILE} is not the file that {DEPLOY_FILE} describes: its SHA-256 is {found[:12]}..., "
                f"expected {str(expected)[:12]}... It was cut short, changed, or belongs to another export. {again}"
            )
        return cls(weights, deploy, MiCConfig.from_pretrained(folder), n_threads)

    def __call__(self, input_values: Any) -> OnnxStudentOutput:
        """Classify windows; as `forward`."""
        return self.forward(input_values)

    def forward(self, input_values: Any) -> OnnxStudentOutput:
        """Classify windows.

        Args:
            input_values (`np.ndarray` or `torch.Tensor`, (B, C, T), floating point): windows in microvolts, their
                channels those of `config.ch_names` in that order.

        Returns:
            [`OnnxStudentOutput`].

        Raises:
            TypeError: the input is no array of floating-point numbers.
            ValueError: it has another number of channels or samples, no window, or numbers that are not finite.
        """
        is_tensor = isinstance(input_values, torch.Tensor)
        # by way of float32: NumPy has no bfloat16
        values = input_values.detach().cpu() if is_tensor else np.asarray(input_values)
        floating = values.is_floating_point() if is_tensor else np.issubdtype(values.dtype, np.floating)
        if not floating:
            raise TypeError(
                f"`input_values` must be floating-point numbers in microvolts, got {values.dtype}. Convert raw counts "
                "of an amplifier to microvolts first."
            )
        values = values.float().numpy() if is_tensor else values.astype(np.float32, copy=False)
        check_windows(values, self.deploy["ch_names"], self.deploy["n_times"], self.deploy["sfreq"])
        (logits,) = self.session.run(["logits"], {"input_values": np.ascontiguousarray(values)})
        return OnnxStudentOutput(torch.from_numpy(logits) if is_tensor else logits)

    def eval(self) -> OnnxStudent:
        """Itself: it cannot train."""
        return self

    def train(self, mode: bool = True) -> OnnxStudent:
        """Itself, where `mode` is False.

        Raises:
            ValueError: asked to train.
        """
        if mode:
            raise ValueError("An exported student cannot train. Train the checkpoint it was made of, then export it.")
        return self

    def to(self, device: Any) -> OnnxStudent:
        """Itself, where `device` is the CPU.

        Raises:
            ValueError: another device.
        """
        if torch.device(device).type != "cpu":
            raise ValueError(f"An exported student runs on the CPU, asked for was {device}: give device='cpu'.")
        return self

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Nothing is saved: the folder that it was loaded from is all there is.

        Raises:
            ValueError: always.
        """
        raise ValueError("An exported student is not saved again: copy the folder that it was loaded from.")

    def can_generate(self) -> bool:
        """False: it classifies."""
        return False


def check_windows(values: np.ndarray, ch_names: list[str], n_times: int, sfreq: float) -> None:
    """Check windows (B, C, T) against the C channels and T samples that an exported student reads.

    Raises:
        ValueError: another shape, no window, or numbers that are not finite.
    """
    if values.ndim != 3 or not len(values):
        raise ValueError(
            f"Windows must have the shape (windows, {len(ch_names)}, {n_times}), at least one of them, got "
            f"{values.shape}. One window alone is windows[None]."
        )
    if values.shape[1] != len(ch_names):
        raise ValueError(
            f"The windows have {values.shape[1]} channels, the exported student reads {len(ch_names)}: "
            f"{', '.join(ch_names)}, in this order. Pick and order them so, or export the student for the channels "
            "that you have: dlink export MODEL --ch_names ..."
        )
    if values.shape[2] != n_times:
        raise ValueError(
            f"The windows have {values.shape[2]} samples, the exported student reads {n_times}, {n_times / sfreq:g} s "
            f"at {sfreq:g} Hz. Resample to {sfreq:g} Hz and cut windows of that length; nothing is padded."
        )
    broken = np.flatnonzero(~np.isfinite(values).all((1, 2)))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(values)} windows hold numbers that are not finite, the first is number "
            f"{broken[0]}. Leave such windows out, or repair the channel that is broken."
        )


def make_session(weights: bytes, n_threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the bytes are no model that it can run, or `n_threads` is below 1.
    """
    if isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ValueError(f"n_threads must be a whole number of at least 1, got {n_threads!r}.")
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "Exported students are run by ONNX Runtime, which is not installed: pip install 'dlink-hf[export]', or "
            "onnxruntime alone on a device."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    # errors are raised; warnings would go past Python's own log
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base class but this one
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run this model: {error}. A newer ONNX Runtime may; or "
            "export the student anew."
        ) from error


__all__ = ["DEPLOY_FILE", "MODEL_FILE", "OnnxStudent", "OnnxStudentOutput", "check_windows", "make_session"]
