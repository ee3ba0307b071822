# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Foundation models as teachers: one input contract, all hidden states in one layout."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from ...core.checkpoint_names import found_checkpoint
from ...core.config_checks import REGRESSION
from ..modeling_base import DLinkPreTrainedModel, check_input_values
from ..task_losses import check_head, in_target_unit, mean_loss
from .backbones import MODULE
from .building import build_backbone, keep_constants, restore_constants
from .checkpoints import find_checkpoint, load_checkpoint
from .configuration_teacher import BACKBONES, DLinkTeacherConfig
from .head import TeacherHead
from .licence_notes import note_licence
from .modules import check_module, measure_module
from .token_layout import Tap


@dataclass
class DLinkTeacherOutput(ModelOutput):
    """Output of [`DLinkTeacherModel`].

    Args:
        last_hidden_state (`torch.Tensor`, (B, C_t, P_t, D)): the tokens of the patches behind the last layer, and
            behind the norm or projection that follows it where the backbone has one that keeps the tokens apart.
        hidden_states (`tuple[torch.Tensor]`, L of (B, C_t, P_t, D)): the output of every layer, the first layer first;
            the embedding is not among them.
    """

    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


@dataclass
class DLinkTeacherClassifierOutput(ModelOutput):
    """Output of [`DLinkTeacherForEEGClassification`].

    Args:
        loss (`torch.Tensor`, scalar): cross-entropy, where `labels` were given.
        logits (`torch.Tensor`, (B, num_labels)): before the softmax.
        hidden_states (`tuple[torch.Tensor]`, L of (B, C_t, P_t, D)): the output of every layer.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None


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
        """Load a checkpoint of this package, of braindecode or as its authors published it, whole.

        It comes from the Hub or a folder. One that is not of this package is fitted to a new task, montage and window:
        `ch_names`, `n_times`, `id2label` and the other fields of [`DLinkTeacherConfig`] are keyword arguments here,
        and what the checkpoint says holds where they are left out. The head is always new. What is not loaded as it is
        is reported; [`checkpoints.load_checkpoint`] lists the further arguments (`filename`, `start_anew` ...).

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
        if pretrained_model_name_or_path is not None:
            revision, subfolder = kwargs.get("revision"), kwargs.get("subfolder")
            with found_checkpoint(pretrained_model_name_or_path, revision, subfolder) as resolved:
                checkpoint = find_checkpoint(resolved, kwargs)
                if checkpoint is not None:
                    model, info = load_checkpoint(cls, checkpoint, kwargs)
                    return (model, info) if output_loading_info else model
        loaded = super().from_pretrained(
            pretrained_model_name_or_path, *model_args, output_loading_info=output_loading_info, **kwargs
        )
        note_licence(loaded[0] if output_loading_info else loaded, pretrained_model_name_or_path, kwargs)
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # the network has initialised its own layers; only the head is ours. transformers empties the buffers that no
        # checkpoint holds, and calls this for the modules that have some.
        restore_constants(module)
        if not getattr(module, "is_teacher_head", False):
            return
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        else:
            nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        layers: Sequence[str],
        layout: str,
        *,
        ch_names: Sequence[str],
        sfreq: float,
        n_times: int,
        prefix_tokens: int = 0,
        suffix_tokens: int = 0,
        token_chans: int | None = None,
        input_scale: float = 1.0,
        own_logits: bool = False,
        **fields: Any,
    ) -> Any:
        """Make a teacher of any network that takes windows (B, C, T).

        One window of zeros is passed through the network to learn the shapes. The network itself is taken, not a copy;
        `save_pretrained` saves its weights, and loading them needs the network again:
        `from_pretrained(folder, module=MyNetwork())`.

        Args:
            module: the network.
            layers: names of the modules whose outputs are the layers, the first first: `["blocks.0", "blocks.1"]`.
            layout: einops pattern of these outputs: `b` batch, `c` channels, `p` patches, `d` width; such as
                `"b (c p) d"`, or `"b d p"` for a network whose convolutions have mixed the channels.
            ch_names: names of the C channels, in the order of the input's channel axis.
            sfreq: sampling rate in Hz.
            n_times: samples T in a window.
            prefix_tokens, suffix_tokens: tokens before and after those of the patches, which are cut off.
            token_chans: channels on the tokens where these are not the input's C.
            input_scale: factor from microvolts to the network's own numbers.
            own_logits: take what the network itself returns as logits, rather than a new head on its last layer. For
                `DLinkTeacherForEEGClassification`.
            **fields: other fields of [`DLinkTeacherConfig`], such as `id2label`.

        Raises:
            TypeError: `module` is no `torch.nn.Module`.
            ValueError: no such layer, a layout that does not fit, layers of different shapes, or logits for another
                number of classes.

        Example:

        ```python
        >>> from torch import nn
        >>> from dlink_hf import DLinkTeacherModel

        >>> network = nn.Sequential(nn.Conv1d(3, 16, 50, stride=50), nn.Conv1d(16, 16, 3, padding=1))
        >>> teacher = DLinkTeacherModel.from_module(
        ...     network, ["0", "1"], "b d p", ch_names=["C3", "Cz", "C4"], sfreq=200.0, n_times=1000
        ... )
        >>> teacher.config.token_chans, teacher.config.n_patches, teacher.config.hidden_size
        (1, 20, 16)
        ```
        """
        info, n_outputs = measure_module(
            module, layers, layout, len(ch_names), n_times, prefix_tokens, suffix_tokens, token_chans
        )
        config = DLinkTeacherConfig(
            backbone=MODULE,
            module_info={**info, "own_logits": bool(own_logits)},
            ch_names=list(ch_names),
            sfreq=sfreq,
            n_times=n_times,
            input_scale=input_scale,
            **fields,
        )
        if own_logits and n_outputs != (2, config.num_labels):
            raise ValueError(
                f"`own_logits`: {type(module).__name__} returns {n_outputs} for two windows, where logits for "
                f"{config.num_labels} classes were expected; give `num_labels` or `id2label`, or leave `own_logits` "
                "out for a new head."
            )
        return cls(config, module=module)

    def get_input_embeddings(self) -> None:
        """None: the input is a signal, there is no table of embeddings."""
        return None


class DLinkTeacherModel(DLinkTeacherPreTrainedModel):
    """A foundation model without its head, its hidden states as (B, C_t, P_t, D).

    C_t, P_t and D are `config.token_chans`, `config.n_patches` and `config.hidden_size`, whatever the model's own
    order of tokens is; class, register and summary tokens are left out.

    Args:
        config ([`DLinkTeacherConfig`]): which backbone, and the montage, rate and window that it reads.
        module: the network itself where `config.backbone` is `"module"`; see `from_module`.

    Raises:
        ImportError: braindecode, or the package that has the network, is missing or does not load.
        OSError: REVE's or STEEGFormer's list of channels is neither here nor can be downloaded.
        ValueError: the backbone does not know a channel, or refuses an argument; or a network of the user's own is
            needed and not given.
    """

    def __init__(self, config: DLinkTeacherConfig, module: nn.Module | None = None):
        super().__init__(config)
        if config.backbone == MODULE:
            self.backbone = check_module(config, module)
        elif module is not None:
            raise ValueError(f"`module` is for teachers made by `from_module`; this config names {config.backbone}.")
        else:
            self.backbone = build_backbone(config)
        keep_constants(self.backbone)
        self.post_init()

    @contextlib.contextmanager
    def _record(self, taps: Sequence[Tap]) -> Iterator[list[torch.Tensor | None]]:
        """Collect what the taps give while the block runs, in their order."""
        states: list[torch.Tensor | None] = [None] * len(taps)
        # a network of the user's own may go on to change in place what one of its layers gave
        keep = torch.clone if self.config.backbone == MODULE else lambda state: state

        def listen(index: int, tap: Tap) -> Any:
            module = self.backbone.get_submodule(tap.module)
            if tap.of_input:
                return module.register_forward_pre_hook(
                    lambda module, inputs: states.__setitem__(index, keep(tap.pick(inputs, None)))
                )
            return module.register_forward_hook(
                lambda module, inputs, output: states.__setitem__(index, keep(tap.pick(inputs, output)))
            )

        with contextlib.ExitStack() as stack:
            for index, tap in enumerate(taps):
                stack.callback(listen(index, tap).remove)
            yield states

    def _tokens(self, tap: Tap, state: torch.Tensor | None, batch: int) -> torch.Tensor:
        """A recorded state as (B, C_t, P_t, D)."""
        config = self.config
        if state is None:
            raise ValueError(f"The layer {tap.module} of {config.backbone} was not run, so it can't be read.")
        tokens = tap.layout.apply(state, batch, config.token_chans)
        expected = (batch, config.token_chans, config.n_patches, config.hidden_size)
        if tokens.shape != expected:
            raise ValueError(
                f"`backbone_kwargs` {config.backbone_kwargs} give tokens of {tap.module} the shape "
                f"{tuple(tokens.shape)}, where {expected} (windows, channels, patches, width) was expected: arguments "
                f"of {config.backbone} contradict each other."
            )
        return tokens

    def run(
        self, input_values: torch.Tensor, output_hidden_states: bool = False
    ) -> tuple[Any, torch.Tensor, tuple[torch.Tensor, ...] | None]:
        """Run the backbone: its own output, the last hidden state, and every layer's where asked for.

        Args:
            input_values: (B, C, T), microvolts.
            output_hidden_states: read every layer.

        Raises:
            TypeError, ValueError: the input does not fit the config.
        """
        config = self.config
        patched = config.n_times % config.patch_size == 0
        check_input_values(input_values, config.patch_size if patched else 1, f"The {config.backbone} teacher")
        if input_values.shape[1:] != (len(config.ch_names), config.n_times):
            raise ValueError(
                f"This {config.backbone} teacher reads {len(config.ch_names)} channels ({', '.join(config.ch_names)}) "
                f"x {config.n_times} samples, got {input_values.shape[1]} x {input_values.shape[2]}."
            )
        batch = input_values.shape[0]
        layers, last = config.taps()
        taps = [*(layers if output_hidden_states else ()), last]
        scaled = (input_values.to(self.dtype) * config.input_scale).contiguous()
        forward = {} if config.backbone == MODULE else dict(BACKBONES[config.backbone].forward)
        if hasattr(self.backbone, "dlink_ch_names"):
            forward["ch_names"] = self.backbone.dlink_ch_names
        with self._record(taps) as states:
            output = self.backbone(scaled, **forward)
        tokens = [self._tokens(tap, state, batch) for tap, state in zip(taps, states, strict=True)]
        return output, tokens[-1], tuple(tokens[:-1]) if output_hidden_states else None

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
        _, last, states = self.run(input_values, output_hidden_states)
        output = DLinkTeacherOutput(last_hidden_state=last, hidden_states=states)
        return output if return_dict else output.to_tuple()


class DLinkTeacherWithHead(DLinkTeacherPreTrainedModel):
    """A foundation model with a small head.

    [`DLinkTeacherForEEGClassification`] and [`DLinkTeacherForEEGRegression`] say what the head's outputs are.

    Args:
        config ([`DLinkTeacherConfig`]): `num_labels` or `id2label` say how many outputs there are.
        module: the network itself where `config.backbone` is `"module"`; see `from_module`.
    """

    _is_regression = False

    def __init__(self, config: DLinkTeacherConfig, module: nn.Module | None = None):
        check_head(type(self).__name__, self._is_regression, config)
        super().__init__(config)
        self.num_labels = config.num_labels
        self.teacher = DLinkTeacherModel(config, module)
        own_logits = config.backbone == MODULE and config.module_info["own_logits"]
        self.head = None if own_logits else TeacherHead(config)
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
            labels (`torch.Tensor`, *optional*): class indices (B,); or (B, num_labels) of zeros and ones for several
                labels at once, or of targets in their unit for a regression, (B,) where there is one.
            output_hidden_states (`bool`, *optional*): also return the output of every layer.
            return_dict (`bool`, *optional*): return a [`DLinkTeacherClassifierOutput`] rather than a tuple.

        Returns:
            [`DLinkTeacherClassifierOutput`].

        Raises:
            TypeError, ValueError: the input or the labels do not fit the config.
        """
        config = self.config
        return_dict = config.return_dict if return_dict is None else return_dict
        if output_hidden_states is None:
            output_hidden_states = config.output_hidden_states
        # called like this, the hooks that others set on `teacher` fire
        if self.head is None:
            logits, _, states = self.teacher.run(input_values, output_hidden_states)
        else:
            outputs = self.teacher(input_values, output_hidden_states, return_dict=True)
            logits, states = self.head(outputs.last_hidden_state), outputs.hidden_states
        logits = in_target_unit(config, logits)
        loss = None if labels is None else mean_loss(config, logits, labels)
        output = DLinkTeacherClassifierOutput(loss=loss, logits=logits, hidden_states=states)
        return output if return_dict else output.to_tuple()


class DLinkTeacherForEEGClassification(DLinkTeacherWithHead):
    """A foundation model with a small classification head, to be fine-tuned with `Trainer`.

    With `problem_type="multi_label_classification"` several labels may hold at once, as in
    [`MiCForEEGClassification`].

    Args:
        config ([`DLinkTeacherConfig`]): `num_labels` or `id2label` say how many classes there are.
        module: the network itself where `config.backbone` is `"module"`; see `from_module`.
    """


class DLinkTeacherForEEGRegression(DLinkTeacherWithHead):
    """A foundation model with a small head that gives one number or more for a window.

    Targets are standardised inside and given back in their unit, as in [`MiCForEEGRegression`].

    Args:
        config ([`DLinkTeacherConfig`]): of `problem_type="regression"`.
        module: the network itself where `config.backbone` is `"module"`; see `from_module`.
    """

    _is_regression = True

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike | None, *model_args: Any, **kwargs: Any
    ) -> Any:
        """Load a teacher that gives numbers; a published checkpoint gets a new head for them.

        See [`DLinkTeacherForEEGClassification.from_pretrained`], whose arguments and errors these are.
        """
        if kwargs.get("config") is None:
            kwargs.setdefault("problem_type", REGRESSION)
        return super().from_pretrained(pretrained_model_name_or_path, *model_args, **kwargs)

    @classmethod
    def from_module(cls, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Make a teacher of any network; see [`DLinkTeacherForEEGClassification.from_module`]."""
        return super().from_module(module, *args, **{"problem_type": REGRESSION, **kwargs})


def teacher_class(problem_type: str | None) -> type[DLinkTeacherWithHead]:
    """Return the class of teachers with a head for a `problem_type` of transformers; None is one label a window."""
    return DLinkTeacherForEEGRegression if problem_type == REGRESSION else DLinkTeacherForEEGClassification


__all__ = [
    "DLinkTeacherClassifierOutput",
    "DLinkTeacherForEEGClassification",
    "DLinkTeacherForEEGRegression",
    "DLinkTeacherModel",
    "DLinkTeacherOutput",
    "DLinkTeacherWithHead",
    "build_backbone",
    "teacher_class",
]
