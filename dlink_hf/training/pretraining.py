# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Pre-train a teacher on unlabelled recordings: patches are masked, and read back from what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments
from transformers.utils import ModelOutput

from ..core.checks import positive
from ..data.collator import EEGDataCollator
from ..data.unlabelled import MixedWindows, MontageBatchSampler
from ..models.modeling_base import check_input_values
from ..models.teacher.configuration_teacher import DLinkTeacherConfig
from ..models.teacher.modeling_teacher import DLinkTeacherModel, DLinkTeacherPreTrainedModel
from .base_trainer import BaseTrainer


# backbones whose forward takes a mask of patches
MASKABLE = ("CBraMod",)
_EVALUATION_SEED = 0
# amplitudes of this size and below look alike in a log-spectrum
_AMPLITUDE_FLOOR_UV = 0.05
_SILENCE_UV = 1e-2


@dataclass
class DLinkPretrainingOutput(ModelOutput):
    """Output of [`DLinkTeacherForPretraining`].

    Args:
        loss (`torch.Tensor`, scalar): `reconstruction_error + spectral_weight * spectral_error`.
        reconstruction_error (`torch.Tensor`, (B,)): mean squared error over the masked patches of each window, over
            the window's mean square: 1 is what a flat line gets.
        spectral_error (`torch.Tensor`, (B,)): mean squared error of the natural logarithm of the amplitudes of
            all patches.
    """

    loss: torch.Tensor | None = None
    reconstruction_error: torch.Tensor | None = None
    spectral_error: torch.Tensor | None = None


class DLinkTeacherForPretraining(DLinkTeacherPreTrainedModel):
    """A teacher that reads masked patches back, after CBraMod (Wang et al. 2025, arXiv 2412.07236).

    Of every window `mask_ratio` of the (channel, second) patches are hidden. The backbone's own output layer must give
    back their samples (CBraMod's objective); here each window's error is taken relative to its mean square, so that
    calm windows count as much as loud ones. A second small layer, dropped afterwards, must tell the log-amplitude
    spectrum of every patch, hidden or not, from the last layer: the samples of an unseen second can hardly be told,
    its rhythms can, and the amplitudes of what is seen must not get lost on the way.

    Args:
        config ([`DLinkTeacherConfig`]): of the teacher.
        mask_ratio: share of the patches that is hidden, in (0, 1).
        spectral_weight: weight of the spectral term, 0 or more.
        target_scale: factor from microvolts to the samples that the output layer must give.

    Raises:
        ValueError: the backbone takes no mask, or an argument is out of range.
    """

    _head_keys = ()

    def __init__(
        self,
        config: DLinkTeacherConfig,
        mask_ratio: float = 0.5,
        spectral_weight: float = 0.5,
        target_scale: float = 0.1,
    ):
        super().__init__(config)
        if config.backbone not in MASKABLE:
            raise ValueError(
                f"Masked patches need a backbone that takes a mask: {', '.join(MASKABLE)}; got {config.backbone!r}."
            )
        if not 0 < mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must lie between 0 and 1, got {mask_ratio}.")
        if spectral_weight < 0:
            raise ValueError(f"`spectral_weight` must be 0 or more, got {spectral_weight}.")
        positive("`target_scale`", target_scale)
        self.mask_ratio, self.spectral_weight, self.target_scale = mask_ratio, spectral_weight, target_scale
        self.teacher = DLinkTeacherModel(config)
        self.spectrum_head = nn.Linear(config.hidden_size, config.patch_size // 2)
        self.post_init()

    def draw_mask(self, n_windows: int, n_chans: int, n_patches: int, device: torch.device) -> torch.Tensor:
        """Return which patches are hidden: (B, C, P), 1 hidden, the same number in every window.

        While training the masks are random; in evaluation mode they are the same at every call.
        """
        n_hidden = min(max(round(self.mask_ratio * n_chans * n_patches), 1), n_chans * n_patches - 1)
        generator = None if self.training else torch.Generator().manual_seed(_EVALUATION_SEED)
        scores = torch.rand(n_windows, n_chans * n_patches, generator=generator)
        hidden = scores.argsort(dim=1)[:, :n_hidden]
        mask = torch.zeros(n_windows, n_chans * n_patches, dtype=torch.long).scatter_(1, hidden, 1)
        return mask.view(n_windows, n_chans, n_patches).to(device)

    def forward(
        self, input_values: torch.Tensor, mask: torch.Tensor | None = None, return_dict: bool | None = None
    ) -> DLinkPretrainingOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts, of any montage; T a multiple of the patch.
            mask (`torch.Tensor`, (B, C, P), *optional*): 1 where a patch is hidden; drawn by default.
            return_dict (`bool`, *optional*): return a [`DLinkPretrainingOutput`] rather than a tuple.

        Returns:
            [`DLinkPretrainingOutput`].

        Raises:
            TypeError, ValueError: the input does not fit, or is a single patch.
        """
        patch_size = self.config.patch_size
        check_input_values(input_values, patch_size, f"The pre-training of {self.config.backbone}")
        n_windows, n_chans, n_times = input_values.shape
        if n_chans * (n_times // patch_size) < 2:
            raise ValueError("A window of one patch can't be hidden and read back: give more channels or seconds.")
        if mask is None:
            mask = self.draw_mask(n_windows, n_chans, n_times // patch_size, input_values.device)
        scaled = input_values.to(self.dtype) * self.config.input_scale
        hidden_layer: list[torch.Tensor] = []
        handle = self.teacher.backbone.proj_out.register_forward_pre_hook(
            lambda module, inputs: hidden_layer.append(inputs[0])
        )
        try:
            predicted = self.teacher.backbone(scaled, mask=mask, return_features=True)["features"].float()
        finally:
            handle.remove()
        patches = input_values.float().unflatten(-1, (-1, patch_size))  # (B, C, P, samples), microvolts
        hidden = mask.to(patches.dtype)
        power = patches.pow(2).mean((1, 2, 3)).clamp_min(_SILENCE_UV**2)
        error = (predicted / self.target_scale - patches).pow(2).mean(-1) * hidden
        error = error.sum((1, 2)) / hidden.sum((1, 2)) / power
        amplitudes = torch.fft.rfft(patches, norm="forward").abs()[..., 1:]
        spectrum = self.spectrum_head(hidden_layer[0]).float()
        spectral = (spectrum - torch.log(amplitudes + _AMPLITUDE_FLOOR_UV)).pow(2).mean((1, 2, 3))
        output = DLinkPretrainingOutput(
            loss=error.mean() + self.spectral_weight * spectral.mean(),
            reconstruction_error=error.detach(),
            spectral_error=spectral.detach(),
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return output if return_dict else output.to_tuple()


class PretrainingTrainer(BaseTrainer):
    """[`transformers.Trainer`] on windows of mixed montages: every batch holds one montage.

    Args:
        model ([`DLinkTeacherForPretraining`]): the teacher to be.
        args ([`transformers.TrainingArguments`]): as for `Trainer`.
        train_dataset: datasets of windows, one a montage.
        eval_dataset: the same, of other subjects.
        **kwargs: as for `Trainer`.
    """

    def __init__(
        self,
        model: DLinkTeacherForPretraining,
        args: TrainingArguments,
        train_dataset: Sequence[Dataset],
        eval_dataset: Sequence[Dataset] | None = None,
        **kwargs: Any,
    ):
        args.remove_unused_columns = False
        super().__init__(
            model=model,
            args=args,
            train_dataset=MixedWindows(train_dataset),
            eval_dataset=None if eval_dataset is None else MixedWindows(eval_dataset),
            data_collator=EEGDataCollator(),
            **kwargs,
        )

    def _loader(self, windows: MixedWindows, batch_size: int, shuffle: bool) -> DataLoader:
        sampler = MontageBatchSampler(windows, batch_size, seed=self.args.seed, shuffle=shuffle)
        loader = DataLoader(
            windows,
            batch_sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.accelerator.prepare(loader)

    def get_train_dataloader(self) -> DataLoader:
        """Shuffled batches, each of one montage."""
        return self._loader(self.train_dataset, self._train_batch_size, shuffle=True)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> dict:
        """Return the errors on subjects held out, the masks the same every time.

        Returns:
            `eval_loss`, `eval_reconstruction_error` (1 is what a flat line gets), `eval_spectral_error`.
        """
        windows = self.eval_dataset if eval_dataset is None else MixedWindows(eval_dataset)
        loader = self._loader(windows, self.args.per_device_eval_batch_size, shuffle=False)
        self.model.eval()
        rows = []
        for batch in loader:
            with torch.no_grad(), self.compute_loss_context_manager():
                output = self.model(**self._prepare_inputs(batch))
            errors = torch.stack([output.reconstruction_error, output.spectral_error], dim=1)
            rows.append(self.accelerator.gather_for_metrics(errors).cpu())
        reconstruction, spectral = torch.cat(rows).double().mean(0).tolist()
        weight = self.accelerator.unwrap_model(self.model).spectral_weight
        metrics = {
            f"{metric_key_prefix}_loss": reconstruction + weight * spectral,
            f"{metric_key_prefix}_reconstruction_error": reconstruction,
            f"{metric_key_prefix}_spectral_error": spectral,
        }
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


__all__ = ["MASKABLE", "DLinkPretrainingOutput", "DLinkTeacherForPretraining", "PretrainingTrainer"]
