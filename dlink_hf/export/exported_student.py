# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What exported students of every format share: a folder that `dlink export` wrote, checked before it is believed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from ..core.export_record import DEPLOY_FILE, read_deploy
from .exported_config import ExportedConfig


# windows (B, C, T) float32 and positions (B, C, 3) float32, or None, to logits (B, num_labels)
Runner = Callable[[np.ndarray, np.ndarray | None], np.ndarray]


@dataclass
class ExportedStudentOutput:
    """Output of an exported student.

    Args:
        logits (`np.ndarray` or `torch.Tensor`, as the input was, (B, num_labels) float32): before the softmax; of a
            student of patches (B, S, num_labels), S places in order of time.
    """

    logits: Any


class ExportedStudent:
    """An exported student that answers as the model it was made of.

    Those of one montage read its channels in its order, and windows of one length. Those of any montage
    (`takes_positions`) read any channels whose places they are told, and any whole number of patches.

    Args:
        weights: the bytes of the exported file.
        deploy: what its deploy.json holds.
        config ([`ExportedConfig`]): signal and labels of the student.
        n_threads: as for `from_pretrained`.

    Raises:
        ImportError: the runtime is not installed.
        ValueError: the bytes are no model that it can run.
    """

    # set by the formats: the name in `backend=`, and of the file
    backend: ClassVar[str]
    model_file: ClassVar[str]
    main_input_name = "input_values"
    input_modalities = ("time",)
    training = False

    def __init__(
        self, weights: bytes, deploy: dict[str, Any], config: ExportedConfig, n_threads: int | None = None
    ) -> None:
        self.deploy, self.config = deploy, config
        # where it was loaded from, where that is a folder that stays
        self.folder: Path | None = None
        self.run = self.make_runner(weights, n_threads)

    @staticmethod
    def make_runner(weights: bytes, n_threads: int | None = None) -> Runner:
        """Return what runs the file; each format has its own.

        Raises:
            ImportError: the runtime is not installed.
            ValueError: the bytes are no model that it can run, or `n_threads` is not what it can do.
        """
        raise NotImplementedError

    @property
    def device(self) -> Any:
        """The CPU, as `torch.device`: transformers' pipelines ask every model."""
        import torch

        return torch.device("cpu")

    @property
    def dtype(self) -> Any:
        """`torch.float32`: what goes in and comes out."""
        import torch

        return torch.float32

    @property
    def takes_positions(self) -> bool:
        """Whether it was exported for any montage."""
        return self.deploy.get("channel_positions") is not None

    @property
    def labels_patches(self) -> bool:
        """Whether it labels every patch, or every few, as [`MiCForEEGTokenClassification`]."""
        return self.config.labels_patches

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike, n_threads: int | None = None) -> Self:
        """Load what `dlink export` wrote.

        Args:
            folder: holds the exported file, deploy.json and config.json.
            n_threads: of ONNX Runtime, one by default: more seldom pay for a small student. ExecuTorch has one
                pool for the whole process, as large as it finds cores, whose size only the first student can set.

        Raises:
            FileNotFoundError: a file is missing.
            ImportError: the runtime is not installed.
            ValueError: the exported file is not the one that deploy.json describes, or deploy.json is damaged.
        """
        folder = Path(folder)
        missing = [name for name in (cls.model_file, DEPLOY_FILE, "config.json") if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} holds no {', '.join(missing)}: it is not a folder of a student exported for {cls.backend}. "
                f"Make one: dlink export MODEL --format {cls.backend} --output_dir DIR; each precision gets a folder "
                "of its own in DIR."
            )
        again = "Copy the folder again, or export the student again: dlink export MODEL --output_dir DIR."
        deploy = read_deploy(folder)
        weights, expected = (folder / cls.model_file).read_bytes(), deploy["sha256"]
        found = hashlib.sha256(weights).hexdigest()
        if found != expected:
            raise ValueError(
                f"{folder / cls.model_file} is not the file that {DEPLOY_FILE} describes: its SHA-256 is "
                f"{found[:12]}..., expected {str(expected)[:12]}... It was cut short, changed, or belongs to another "
                f"export. {again}"
            )
        student = cls(weights, deploy, ExportedConfig.from_folder(folder), n_threads)
        student._check_record(folder, again)
        student.folder = folder
        return student

    def _check_record(self, folder: Path, again: str) -> None:
        """Refuse a deploy.json that contradicts the config next to it, or what the exported file itself says.

        Raises:
            ValueError: it does; the message names the field.
        """
        deploy, config = self.deploy, self.config
        n_chans, any_montage = len(deploy["ch_names"]), self.takes_positions
        pairs = [
            (name, deploy[name], getattr(config, name), "config.json") for name in ("ch_names", "sfreq", "n_times")
        ]
        labels = [config.id2label[index] for index in sorted(config.id2label)]
        pairs.append(("labels", deploy.get("labels", labels), labels, "config.json"))
        # of each axis its size, or text where any is taken
        shapes: dict[str, list[Any]] = getattr(self.run, "shapes", {})
        if shapes:
            places = [config.n_places] if self.labels_patches else []
            wanted = {"input_values": [None, n_chans, deploy["n_times"]], "logits": [None, *places, len(labels)]}
            fields = {
                "input_values": ["", "ch_names", "n_times"],
                "logits": ["", *["places" for _ in places], "labels"],
            }
            told = {"channel_positions"} if any_montage else set()
            found = set(shapes) - {"input_values", "logits"}
            pairs.append(("channel_positions", sorted(told), sorted(found), self.model_file))
            for name, sizes in wanted.items():
                if len(shapes[name]) != len(sizes):
                    pairs.append(
                        ("input" if name == "input_values" else "output", sizes, shapes[name], self.model_file)
                    )
                    continue
                for field, size, own in zip(fields[name], sizes, shapes[name], strict=True):
                    if (
                        size is not None
                        and isinstance(own, int)
                        or field in ("ch_names", "n_times")
                        and not any_montage
                    ):
                        pairs.append((field, size, own, self.model_file))
        for field, mine, own, file in pairs:
            if mine != own:
                raise ValueError(
                    f"{folder / DEPLOY_FILE} contradicts {file} next to it: `{field}` is {mine}, there it is {own}. "
                    f"{again}"
                )

    def __call__(self, input_values: Any, channel_positions: Any = None) -> ExportedStudentOutput:
        """Classify windows; as `forward`."""
        return self.forward(input_values, channel_positions)

    def forward(self, input_values: Any, channel_positions: Any = None) -> ExportedStudentOutput:
        """Classify windows.

        Args:
            input_values (`np.ndarray` or `torch.Tensor`, (B, C, T), floating point): windows in microvolts, their
                channels those of `config.ch_names` in that order, or those of the positions.
            channel_positions (`np.ndarray` or `torch.Tensor`, (C, 3) or (B, C, 3), *optional*): electrode positions in
                metres, in the frame of MNE's `standard_1005`; only for a student exported for any montage, which
                takes those of `config.ch_names` where they are left out.

        Returns:
            [`ExportedStudentOutput`].

        Raises:
            TypeError: the input is not an array of floating-point numbers.
            ValueError: it has another number of channels or samples, no window, or numbers that are not finite; or
                positions are given to a student of one montage, or do not fit the windows.
        """
        is_tensor = hasattr(input_values, "detach")
        # by way of float32: NumPy has no bfloat16
        values = input_values.detach().cpu() if is_tensor else np.asarray(input_values)
        floating = values.is_floating_point() if is_tensor else np.issubdtype(values.dtype, np.floating)
        if not floating:
            raise TypeError(
                f"`input_values` must be floating-point numbers in microvolts, got {values.dtype}. Convert raw counts "
                "of an amplifier to microvolts first."
            )
        values = values.float().numpy() if is_tensor else values.astype(np.float32, copy=False)
        if self.takes_positions:
            positions = check_montage(values, channel_positions, self.config)
        elif channel_positions is not None:
            raise ValueError(
                "`channel_positions` are for a student that was exported for any montage (dlink export MODEL "
                f"--any_montage); this one is only for {', '.join(self.deploy['ch_names'])}. Leave them out."
            )
        else:
            check_windows(values, self.deploy["ch_names"], self.deploy["n_times"], self.deploy["sfreq"])
            positions = None
        logits = self.run(np.ascontiguousarray(values), positions)
        if is_tensor:
            import torch

            return ExportedStudentOutput(torch.from_numpy(logits))
        return ExportedStudentOutput(logits)

    def eval(self) -> Self:
        """Itself: it cannot train."""
        return self

    def train(self, mode: bool = True) -> Self:
        """Itself, where `mode` is False.

        Raises:
            ValueError: asked to train.
        """
        if mode:
            raise ValueError("An exported student cannot train. Train the checkpoint it was made of, then export it.")
        return self

    def to(self, device: Any) -> Self:
        """Itself, where `device` is the CPU.

        Raises:
            ValueError: another device.
        """
        if str(device).partition(":")[0] not in ("cpu", "-1"):
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
            f"{values.shape}. A single window is windows[None]."
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
    _check_finite(values)


def _check_finite(values: np.ndarray) -> None:
    broken = np.flatnonzero(~np.isfinite(values).all((1, 2)))
    if len(broken):
        raise ValueError(
            f"{len(broken)} of {len(values)} windows hold numbers that are not finite, the first is number "
            f"{broken[0]}. Leave such windows out, or repair the channel that is broken."
        )


def check_montage(values: np.ndarray, positions: Any, config: Any) -> np.ndarray:
    """Check windows (B, C, T) and positions (C, 3) or (B, C, 3), metres, for a student of any montage.

    Args:
        values: microvolts.
        positions: None for those of the config.
        config: of the student.

    Returns:
        positions (B, C, 3) float32.

    Raises:
        ValueError: a shape does not fit, positions are not in metres, no window, or numbers that are not finite.
    """
    size = config.patch_size
    if values.ndim != 3 or 0 in values.shape or values.shape[2] % size:
        raise ValueError(
            f"Windows must have the shape (windows, channels, samples), at least one of them, of a whole number of "
            f"{size}-sample patches at {config.sfreq:g} Hz; got {values.shape}. Cut them so; nothing is padded."
        )
    n_chans = values.shape[1]
    if positions is None and n_chans != len(config.ch_names):
        raise ValueError(
            f"The windows have {n_chans} channels, the student's montage has {len(config.ch_names)} "
            f"({', '.join(config.ch_names)}). Give `channel_positions`, (C, 3) in metres, such as "
            "dlink_hf.channel_positions(['C3', 'Cz'])."
        )
    places = np.asarray(config.channel_positions if positions is None else positions, dtype=np.float32)
    if places.shape not in ((n_chans, 3), (len(values), n_chans, 3)):
        raise ValueError(
            f"`channel_positions` must be ({n_chans}, 3) or ({len(values)}, {n_chans}, 3) for windows of the shape "
            f"{values.shape}, got {places.shape}."
        )
    if not (np.abs(places) < 0.5).all():
        raise ValueError(
            "`channel_positions` must be finite and in metres, about 0.1 from the head's centre; the largest number "
            f"here is {np.abs(places).max():.4g}. Divide millimetres by 1000."
        )
    _check_finite(values)
    return np.broadcast_to(places, (len(values), n_chans, 3)).copy()


__all__ = [
    "ExportedStudent",
    "ExportedStudentOutput",
    "check_montage",
    "check_windows",
]
