# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student as a model of braindecode: for its `EEGClassifier`, its visualisation and its Hub functions.

B windows, C channels, T samples, L outputs. braindecode comes with the extra `teachers`.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from braindecode.models.base import EEGModuleMixin
from torch import nn
from torch.nn import functional as F

from ..core.checkpoint_names import found_checkpoint
from ..core.config_checks import REGRESSION
from ..core.electrodes import channel_positions
from ..models.configuration_base import DLinkPreTrainedConfig
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.mic_layers import signed_alone
from ..models.mic.modeling_mic import MiCModel, MiCWithHead, student_class
from ..models.task_losses import in_target_unit
from ..models.token_grid import patch_fields
from ..preprocessing.fir import resampling_filter


# fields of a student's config that say what a checkpoint is, not what the network is
_NOT_OF_THE_NETWORK = ("architectures", "transformers_version", "model_type", "_name_or_path", "dtype", "auto_map")

# EEG of a tenth of a microvolt at most is EEG in volts
_LEAST_MICROVOLTS = 0.1


class TorchResampling(nn.Module):
    """The polyphase filter of [`fir.resample`] as a layer that gradients pass.

    Args:
        old, new: rates in hertz.
    """

    def __init__(self, old: float, new: float):
        super().__init__()
        self.up, self.down, kernel = resampling_filter(old, new)
        self.half = len(kernel) // 2
        # what `up` positions of an input sample contribute lies `up` taps apart
        taps = torch.tensor(kernel * self.up, dtype=torch.float32)
        self.register_buffer("taps", taps[None, None], persistent=False)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (..., T) at the new rate, (..., floor(T * new / old)); beyond the ends they are mirrored."""
        n_times = values.shape[-1]
        n_out = n_times * self.up // self.down
        reach = math.ceil(self.half / self.up)
        if n_times <= reach:
            raise ValueError(f"To resample a window it must be longer than {reach} samples, got {n_times}.")
        offset = values.mean(-1, keepdim=True)
        rows = (values - offset).reshape(-1, 1, n_times)
        before = 2 * rows[..., :1] - rows[..., 1 : reach + 1].flip(-1)
        after = 2 * rows[..., -1:] - rows[..., -reach - 1 : -1].flip(-1)
        rows = torch.cat([before, rows, after], dim=-1)
        stuffed = F.pad(rows[..., None], (0, self.up - 1)).flatten(-2)
        # the first output lies over the first sample that is not mirrored
        stuffed = stuffed[..., reach * self.up - self.half :]
        out = F.conv1d(stuffed, self.taps.to(values.dtype), stride=self.down)[..., :n_out]
        return out.reshape(*values.shape[:-1], n_out) + offset


class BraindecodeStudent(EEGModuleMixin, nn.Module):
    """A student that braindecode takes for one of its models.

    It takes windows of braindecode's data sets at their own rate, in microvolts, and brings them to the student's. Any
    montage will do: `chs_info` names the channels. [`BraindecodeStudent.from_student`] makes one of a checkpoint;
    braindecode's `save_pretrained`, `from_pretrained` and `push_to_hub` save and load it, architecture included.

    Args:
        n_outputs: classes or targets; those of `student_config` by default.
        n_chans, chs_info, n_times, input_window_seconds, sfreq: as every model of braindecode takes them.
        student_config: fields of a [`MiCConfig`], as its config.json has them; by default those of a fresh student of
            `size` that reads windows at their own rate.
        size: `"tiny"`, `"small"` or `"base"`, where `student_config` is left out.

    Raises:
        ValueError: the channels are not known, the window is shorter than one patch, or a field is missing.

    Example:

    ```python
    >>> from braindecode import EEGClassifier
    >>> from dlink_hf import BraindecodeStudent

    >>> signal = {"chs_info": raw.info["chs"], "n_times": 1000, "sfreq": 250.0}
    >>> student = BraindecodeStudent.from_student("dlink-mic-small", n_outputs=4, **signal)
    >>> EEGClassifier(student, max_epochs=4, optimizer__lr=1e-3).fit(windows, y=None)
    ```
    """

    # a student's own weights load as they are
    mapping = {"classifier.weight": "final_layer.weight", "classifier.bias": "final_layer.bias"}

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        student_config: dict[str, Any] | None = None,
        size: str = "small",
    ):
        known = student_config or {}
        names = None if chs_info is None else [channel["ch_name"] for channel in chs_info]
        if names is None and known:
            names = list(known["ch_names"])
            if n_chans not in (None, len(names)):
                raise ValueError(
                    f"The student's montage has {len(names)} channels, n_chans is {n_chans}. Say which channels they "
                    "are: chs_info=raw.info['chs']."
                )
            n_chans = len(names)
        if names is None:
            raise ValueError("A student must know where its electrodes are: chs_info=raw.info['chs'].")
        if known:
            config = MiCConfig.from_dict(dict(known))
            sfreq = config.sfreq if sfreq is None and input_window_seconds is None else sfreq
            n_outputs = config.num_labels if n_outputs is None else n_outputs
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
        )
        # what is saved must say it, though it was not given
        self._set_n_outputs(self.n_outputs)
        if not known:
            own = {"sfreq": self.sfreq, "n_times": self.n_times, **patch_fields(self.n_times, self.sfreq)}
            config = MiCConfig.from_size(size, ch_names=names, num_labels=self.n_outputs, **own)
        self.config = config
        self._check_window(n_times)
        self.register_buffer("channel_positions", torch.tensor(channel_positions(names)), persistent=False)
        self.resampling = None if self.sfreq == config.sfreq else TorchResampling(self.sfreq, config.sfreq)
        self.mic = MiCModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.final_layer = self._new_head(self.n_outputs)
        self._settle_targets()
        self._unit_is_checked = False

    def _check_window(self, n_times: int | None) -> None:
        if n_times is None:
            return
        rate, patch = self.config.sfreq, self.config.patch_size
        length = int(n_times * rate / self.sfreq + 1e-6)
        if length < patch:
            raise ValueError(
                f"The windows last {n_times / self.sfreq:g} s, this student reads patches of {patch / rate:g} s. Give "
                "longer windows, or a fresh student (`student_config` left out), which takes patches that fit."
            )
        if length % patch:
            warnings.warn(
                f"The student reads whole patches of {patch / rate:g} s: of each window the last "
                f"{length % patch / rate:.3g} s are not read.",
                stacklevel=4,
            )

    def _check_unit(self, x: torch.Tensor) -> None:
        largest = float(x.detach().abs().max())
        if 0 < largest < _LEAST_MICROVOLTS:
            raise ValueError(
                f"The largest value of these windows is {largest:.2g}, which looks like volts; a student reads "
                "microvolts: Preprocessor(lambda x: x * 1e6) in braindecode's preprocess."
            )
        self._unit_is_checked = largest > 0

    def _new_head(self, n_outputs: int) -> nn.Linear:
        config = self.config
        head = nn.Linear(config.num_spatial_slots * config.num_temporal_slots * config.compressed_size, n_outputs)
        nn.init.xavier_uniform_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def _settle_targets(self) -> None:
        """A head of other outputs is in no unit of targets yet."""
        if self.config.problem_type == REGRESSION and self.config.num_labels != self.n_outputs:
            self.config.target_mean = self.config.target_std = None

    @classmethod
    def from_student(
        cls, student: MiCWithHead | MiCModel | str | os.PathLike, n_outputs: int | None = None, **signal: Any
    ) -> BraindecodeStudent:
        """Make a braindecode model of a trained student.

        Args:
            student: short name (`"dlink-mic-small"`), folder or Hub id, or a student in memory, whose weights are
                copied.
            n_outputs: a number other than the student's gets a new head; by default the student's head is kept.
            **signal: `chs_info`, `n_times`, `input_window_seconds`, `sfreq` of the windows; those of the student by
                default.

        Returns:
            the model, in evaluation mode, with the student's logits.

        Raises:
            OSError, ValueError: there is no such student, it is a teacher, or the windows do not fit it.
        """
        if isinstance(student, (str, os.PathLike)):
            student = load_student(student)
        if not isinstance(student, (MiCWithHead, MiCModel)):
            raise TypeError(f"A student is a name, a folder or a MiC model, got {type(student).__name__}.")
        has_head = isinstance(student, MiCWithHead)
        if n_outputs is None and not has_head:
            raise ValueError("This student has no head: say how many outputs there are, n_outputs=2.")
        fields = network_fields(student.config)
        if not {"n_times", "input_window_seconds"} & set(signal) and signal.get("sfreq") in (None, fields["sfreq"]):
            signal["n_times"] = fields["n_times"]
        model = cls(n_outputs=n_outputs, student_config=fields, **signal)
        state = student.state_dict() if has_head else {f"mic.{k}": v for k, v in student.state_dict().items()}
        if has_head and model.n_outputs != student.config.num_labels:
            state = {key: value for key, value in state.items() if not key.startswith("classifier.")}
        missing, unexpected = model.load_state_dict(state, strict=False)
        assert not unexpected and all(key.startswith("final_layer.") for key in missing)
        return model.eval()

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor | dict[str, Any]:
        """Return logits or numbers of windows.

        Args:
            x: (B, C, T), or (B, 1, C, T), microvolts at `sfreq`.
            return_features: return what the head reads, as braindecode's models do.

        Returns:
            (B, L); or `{"features": (B, K * Q * c), "cls_token": None}`.

        Raises:
            ValueError: the first windows that are not silent are in volts.
        """
        if x.ndim == 4 and x.shape[1] == 1:
            x = x[:, 0]
        if not self._unit_is_checked and not torch.compiler.is_compiling():
            self._check_unit(x)
        if self.resampling is not None:
            x = self.resampling(x)
        whole = x.shape[-1] // self.config.patch_size * self.config.patch_size
        outputs = self.mic(x[..., :whole], self.channel_positions, return_dict=True)
        state, signed = outputs.compressed_state, outputs.signed_state
        if self.training and signed is not None:
            state = signed_alone(state, signed, self.config.signed_path_alone)
        features = state.flatten(1)
        if return_features:
            return {"features": features, "cls_token": None}
        return in_target_unit(self.config, self.final_layer(self.dropout(features)))

    def reset_head(self, n_outputs: int) -> None:
        """Replace the head by a new one for another number of outputs."""
        self._set_n_outputs(n_outputs)
        self.final_layer = self._new_head(n_outputs).to(self.channel_positions.device)
        self._settle_targets()


def network_fields(config: MiCConfig) -> dict[str, Any]:
    """Return the fields of a student's config that say what the network is, as JSON holds them."""
    return {key: value for key, value in config.to_diff_dict().items() if key not in _NOT_OF_THE_NETWORK}


def load_student(name: str | os.PathLike) -> MiCWithHead | MiCModel:
    """Load a student with its head, or without where the checkpoint has none.

    Raises:
        OSError: there is no such checkpoint, or it can't be reached.
        ValueError: it holds a teacher, or labels patches.
    """
    with found_checkpoint(name) as resolved:
        fields, _ = DLinkPreTrainedConfig.read_config_dict(resolved)
        if fields.get("model_type") != MiCConfig.model_type:
            raise ValueError(
                f"{name} holds {fields.get('model_type') or 'no model of this package'}, not a student. Teachers are "
                "models of braindecode themselves."
            )
        if (fields.get("architectures") or [None])[0] == "MiCForEEGTokenClassification":
            raise ValueError(f"{name} labels every patch; braindecode's models give one output a window.")
        model_class = student_class(fields.get("problem_type"))
        if (fields.get("architectures") or [None])[0] == "MiCModel":
            return MiCModel.from_pretrained(resolved)
        return model_class.from_pretrained(resolved)


__all__ = ["BraindecodeStudent", "TorchResampling", "load_student", "network_fields"]
