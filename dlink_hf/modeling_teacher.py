# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""EEG foundation models of braindecode as teachers: one input contract, all hidden states in one layout."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from .configuration_teacher import BACKBONES, DLinkTeacherConfig
from .hub_files import damaged
from .modeling_base import DLinkPreTrainedModel, check_input_values
from .modeling_mic import check_labels
from .teacher_checkpoints import find_checkpoint, load_checkpoint
from .teacher_head import TeacherHead


@dataclass
class DLinkTeacherOutput(ModelOutput):
    """Output of [`DLinkTeacherModel`].

    Args:
        last_hidden_state (`torch.Tensor`, (B, C, P, D)): what the backbone gives to its head.
        hidden_states (`tuple[torch.Tensor]`, L of (B, C, P, D)): the output of every layer, the first layer first; the
            embedding is not among them.
    """

    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class DLinkTeacherClassifierOutput(ModelOutput):
    """Output of [`DLinkTeacherForEEGClassification`].

    Args:
        loss (`torch.Tensor`, scalar): cross-entropy, where `labels` were given.
        logits (`torch.Tensor`, (B, num_labels)): before the softmax.
        hidden_states (`tuple[torch.Tensor]`, L of (B, C, P, D)): the output of every layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


def build_backbone(config: DLinkTeacherConfig) -> nn.Module:
    """Make the braindecode model that a config names, without its classification head.

    Raises:
        ImportError: braindecode, or the torchaudio that it needs, is missing or does not load.
        ValueError: braindecode refuses the arguments, or a channel is not among those that the model knows.
    """
    spec = BACKBONES[config.backbone]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            import braindecode.models
    except OSError as error:
        raise ImportError(
            "braindecode needs torchaudio, which is installed but does not load: it was built for another PyTorch "
            "(a CUDA build beside a CPU build, most often). Install torch and torchaudio from the same index."
        ) from error
    except ImportError as error:
        raise ImportError(
            "Teachers wrap models of braindecode, which could not be imported. Install it with `pip install "
            f'"dlink-hf[teachers]"`. The reason: {error}'
        ) from error
    if spec.passes_ch_names:
        _check_known_channels(config)
    arguments = {**dict(spec.without_head), **config.backbone_kwargs}
    try:
        backbone = getattr(braindecode.models, config.backbone)(
            n_outputs=1, n_chans=len(config.ch_names), n_times=config.n_times, sfreq=config.sfreq, **arguments
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"`backbone_kwargs` {config.backbone_kwargs} do not fit {config.backbone}: {error}"
        ) from error
    backbone.final_layer = nn.Identity()
    return backbone


def _check_known_channels(config: DLinkTeacherConfig) -> None:
    from braindecode.models.labram import LABRAM_CHANNEL_ORDER

    known = {name.upper() for name in LABRAM_CHANNEL_ORDER}
    unknown = [name for name in config.ch_names if name.upper() not in known]
    if unknown:
        raise ValueError(
            f"`ch_names`: {config.backbone} has no embedding for {', '.join(unknown)}. It knows "
            f"{len(LABRAM_CHANNEL_ORDER)} names of the 10-05 system; leave the others out of `ch_names`."
        )


class DLinkTeacherPreTrainedModel(DLinkPreTrainedModel):
    """Weight initialisation and loading shared by the teacher models."""

    config_class = DLinkTeacherConfig
    config: DLinkTeacherConfig
    base_model_prefix = "teacher"
    _head_keys = ("head.",)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *model_args: Any,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint of this package or of braindecode, from the Hub or a folder, whole.

        A checkpoint in braindecode's own format is fitted to a new task, montage and window: `ch_names`, `n_times`,
        `id2label` and the other fields of [`DLinkTeacherConfig`] are keyword arguments here, and what the checkpoint
        says holds where they are left out. The head is always new. What is not loaded as it stands is said;
        [`teacher_checkpoints.load_checkpoint`] lists the further arguments (`filename`, `start_anew` ...).

        Raises:
            OSError: no such folder or repository, no access, or no network and nothing cached.
            ValueError: pickled, damaged or foreign weights, a tensor that is missing or of another shape, or channels,
                a window or a rate that the model can't take.

        Example:

        ```python
        >>> from dlink_hf import DLinkTeacherForEEGClassification

        >>> DLinkTeacherForEEGClassification.from_pretrained(
        ...     "braindecode/cbramod-pretrained", ch_names=["C3", "Cz", "C4"], n_times=800, num_labels=4
        ... )  # doctest: +SKIP
        ```
        """
        checkpoint = find_checkpoint(pretrained_model_name_or_path, kwargs)
        if checkpoint is not None:
            model, info = load_checkpoint(cls, checkpoint, kwargs)
            return (model, info) if output_loading_info else model
        try:
            return super().from_pretrained(
                pretrained_model_name_or_path, *model_args, output_loading_info=output_loading_info, **kwargs
            )
        except SafetensorError as error:
            raise damaged(str(pretrained_model_name_or_path), error) from error

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # braindecode has initialised its own layers; only the head is ours
        if not getattr(module, "is_teacher_head", False):
            return
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)

    def get_input_embeddings(self) -> None:
        """None: the input is a signal, there is no table of embeddings."""
        return None


class DLinkTeacherModel(DLinkTeacherPreTrainedModel):
    """A foundation model of braindecode without its head, its hidden states as (B, C, P, D).

    Args:
        config ([`DLinkTeacherConfig`]): which backbone, and the montage, rate and window that it reads.

    Raises:
        ImportError: braindecode is missing or does not load.
        ValueError: the backbone does not know a channel, or refuses an argument.
    """

    def __init__(self, config: DLinkTeacherConfig):
        super().__init__(config)
        self.backbone = build_backbone(config)
        self.post_init()

    def to_tokens(self, state: torch.Tensor, n_chans: int) -> torch.Tensor:
        """Bring a layer's output into the layout (B, C, P, D), class tokens cut off."""
        spec = BACKBONES[self.config.backbone]
        if spec.prefix_tokens:
            state = state[:, spec.prefix_tokens :]
        return rearrange(state, f"{spec.layout} -> b c p d", **({"c": n_chans} if "(" in spec.layout else {}))

    @contextlib.contextmanager
    def _record_layers(self, record: bool) -> Iterator[list[torch.Tensor]]:
        """Collect the outputs of the layers while the block runs."""
        states: list[torch.Tensor] = []
        pattern = BACKBONES[self.config.backbone].layers
        with contextlib.ExitStack() as stack:
            for layer in range(self.config.num_hidden_layers if record else 0):
                module = self.backbone.get_submodule(pattern.format(layer))
                handle = module.register_forward_hook(lambda module, inputs, output: states.append(output))
                stack.callback(handle.remove)
            yield states

    def forward(
        self,
        input_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> DLinkTeacherOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts, channels in the order of
                `config.ch_names`, T = `config.n_times`.
            output_hidden_states (`bool`, *optional*): also return the output of every layer.
            return_dict (`bool`, *optional*): return a [`DLinkTeacherOutput`] rather than a tuple.

        Returns:
            [`DLinkTeacherOutput`].

        Raises:
            TypeError, ValueError: the input does not fit the config.
        """
        config = self.config
        return_dict = config.return_dict if return_dict is None else return_dict
        if output_hidden_states is None:
            output_hidden_states = config.output_hidden_states
        check_input_values(input_values, config.patch_size, f"The {config.backbone} teacher")
        if input_values.shape[1:] != (len(config.ch_names), config.n_times):
            raise ValueError(
                f"This {config.backbone} teacher reads {len(config.ch_names)} channels ({', '.join(config.ch_names)}) "
                f"x {config.n_times} samples, got {input_values.shape[1]} x {input_values.shape[2]}."
            )
        n_chans = input_values.shape[1]
        scaled = input_values.to(self.dtype) * config.input_scale
        names = {"ch_names": config.ch_names} if BACKBONES[config.backbone].passes_ch_names else {}
        with self._record_layers(output_hidden_states) as states:
            features = self.backbone(scaled, return_features=True, **names)["features"]
        if features.shape[-1] != config.hidden_size:
            raise ValueError(
                f"`backbone_kwargs` {config.backbone_kwargs} give layers {features.shape[-1]} wide, where "
                f"{config.hidden_size} was expected: arguments of {config.backbone} contradict each other."
            )
        output = DLinkTeacherOutput(
            last_hidden_state=features
            if features.ndim == 4
            else rearrange(features, "b (c p) d -> b c p d", c=n_chans),
            hidden_states=tuple(self.to_tokens(state, n_chans) for state in states) if output_hidden_states else None,
        )
        return output if return_dict else output.to_tuple()


class DLinkTeacherForEEGClassification(DLinkTeacherPreTrainedModel):
    """A foundation model of braindecode with a small classification head, to be fine-tuned with `Trainer`.

    Args:
        config ([`DLinkTeacherConfig`]): `num_labels` or `id2label` say how many classes there are.
    """

    def __init__(self, config: DLinkTeacherConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.teacher = DLinkTeacherModel(config)
        self.head = TeacherHead(config)
        self.post_init()

    def forward(
        self,
        input_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> DLinkTeacherClassifierOutput | tuple[torch.Tensor, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts, channels in the order of
                `config.ch_names`, T = `config.n_times`.
            labels (`torch.Tensor`, (B,), *optional*): class indices.
            output_hidden_states (`bool`, *optional*): also return the output of every layer.
            return_dict (`bool`, *optional*): return a [`DLinkTeacherClassifierOutput`] rather than a tuple.

        Returns:
            [`DLinkTeacherClassifierOutput`].

        Raises:
            TypeError, ValueError: the input or the labels do not fit the config.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        outputs = self.teacher(input_values, output_hidden_states, return_dict=True)
        logits = self.head(outputs.last_hidden_state)
        loss = None
        if labels is not None:
            check_labels(labels, logits)
            loss = F.cross_entropy(logits.float(), labels)
        output = DLinkTeacherClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)
        return output if return_dict else output.to_tuple()


__all__ = [
    "DLinkTeacherClassifierOutput",
    "DLinkTeacherForEEGClassification",
    "DLinkTeacherModel",
    "DLinkTeacherOutput",
    "build_backbone",
]
