# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What every model of the package adds to `PreTrainedModel`: saves that can't destroy, loads that can't be partial."""

from __future__ import annotations

import os
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from ..core.atomic_files import damaged, staged
from ..core.checkpoint_names import found_checkpoint
from ..core.checks import first_names
from ..core.fetch import check_download
from ..core.weight_files import check_weight_files


logger = logging.get_logger(__name__)

# keyword arguments by which `from_pretrained` is told which classes a new head is for
LABEL_FIELDS = frozenset({"num_labels", "id2label", "label2id"})
# whether a head of another shape may be replaced by a random one in the loading that is going on
_NEW_HEAD_WANTED = ContextVar("_NEW_HEAD_WANTED", default=False)


def check_input_values(input_values: torch.Tensor, patch_size: int, what: str) -> None:
    """Check the shape and type of a batch of windows.

    Args:
        input_values: (B, C, T), microvolts.
        patch_size: samples in a patch; T must be a multiple of it.
        what: name of the model, for the message.

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: not three axes, an empty axis, or T is not a multiple of `patch_size`.
    """
    if not isinstance(input_values, torch.Tensor) or not input_values.is_floating_point():
        given = getattr(input_values, "dtype", type(input_values).__name__)
        raise TypeError(f"{what} takes `input_values` as a floating-point tensor in microvolts, got {given}.")
    if input_values.ndim != 3 or 0 in input_values.shape[1:]:
        raise ValueError(
            f"{what} takes `input_values` of shape (batch, channels, samples), got {tuple(input_values.shape)}."
        )
    if input_values.shape[-1] % patch_size != 0:
        raise ValueError(
            f"{what} takes windows of a whole number of {patch_size}-sample patches, got {input_values.shape[-1]} "
            f"samples. Cut the windows to a multiple of {patch_size}; nothing is padded."
        )


class DLinkPreTrainedModel(PreTrainedModel):
    """Base class of student, teacher, router and studio.

    `save_pretrained` writes every file under a temporary name and renames it when all are complete, so that a full
    disk or a kill leaves the old checkpoint as it was. `from_pretrained` refuses a checkpoint in which a tensor is
    missing or has another shape, unless it belongs to a head (`_head_keys`) that fine-tuning
    starts from random weights.
    """

    main_input_name = "input_values"
    input_modalities = ("time",)
    # forward takes no `num_items_in_batch`; the Trainer then averages over accumulation steps itself
    accepts_loss_kwargs = False
    # whether the forward pass reads channels by `channel_positions`, and so any montage
    takes_positions = False
    # prefixes of the tensors that may be absent from a checkpoint and are then initialised
    _head_keys: tuple[str, ...] = ()

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Save config and safetensors weights; see `transformers.PreTrainedModel.save_pretrained`.

        Args:
            save_directory: folder, made where absent.
            is_main_process: only this process writes.
            push_to_hub: upload the folder afterwards; `repo_id`, `token`, `private` ... are passed on.
            **kwargs: as `transformers.PreTrainedModel.save_pretrained` takes them.

        Raises:
            NotADirectoryError: `save_directory` is a file.
            OSError: the disk is full or not writable; what the folder held before is untouched.
        """
        folder = Path(save_directory)
        if folder.is_file():
            raise NotADirectoryError(f"{folder} is a file; `save_directory` must be a folder.")
        hub_kwargs = {key: kwargs.pop(key) for key in _HUB_KWARGS if key in kwargs}
        with staged(folder) as partial:
            super().save_pretrained(partial, is_main_process=is_main_process, **kwargs)
        if push_to_hub:
            self.push_to_hub(hub_kwargs.pop("repo_id", None) or folder.absolute().name, **hub_kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Publish the model on the Hub: one commit of weights, config and card.

        Args:
            repo_id: `user/name`, or `name` for the user who is logged in.
            **kwargs: as [`publish.publish_folder`] takes them: `commit_message`, `private`, `token`, `revision`,
                `create_pr`, `tags`, `remote_code` ...; and `max_shard_size`, as `save_pretrained` does.

        Returns:
            `huggingface_hub.CommitInfo`.

        Raises:
            ValueError, OSError: as [`publish.publish_folder`].
        """
        try:
            # by its name: this module may travel with a checkpoint's code, where the rest of the package may be absent
            hub = import_module("dlink_hf.hub.publish")
        except ModuleNotFoundError:
            return super().push_to_hub(repo_id, **kwargs)
        return hub.publish_saved(self, repo_id, **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint whole; see `transformers.PreTrainedModel.from_pretrained`.

        Short names are taken too: [`checkpoint_names.resolve_checkpoint`] says where they lead. Weights stored in 16
        bits are computed with in 32, unless `dtype` says otherwise (`"auto"` keeps them). A backbone, saved without a
        head, gets a new one for the classes that `num_labels`, `id2label` or `config` names.

        Raises:
            OSError: there is no such checkpoint, or it can't be reached; of a short name, the known ones are listed.
                Or what was downloaded is not what was published.
            ValueError: the weights are no whole safetensors file, or a tensor is missing or has another shape; the
                message names it. A head of another number of classes needs `ignore_mismatched_sizes=True`, as
                everywhere in transformers. Or `use_safetensors=False` was given: nothing is ever unpickled.
        """
        if kwargs.pop("use_safetensors", True) is False:
            raise ValueError("`use_safetensors=False` asks for pickled weights, which run code and are never read.")
        if kwargs.pop("backend", "torch") != "torch":
            raise TypeError(
                f"`backend` is for students with a head, not for {cls.__name__}: dlink_hf.pipeline(model=..., "
                "backend='onnx') or AutoModelForEEGClassification.from_pretrained(..., backend='onnx')."
            )
        if pretrained_model_name_or_path is None:
            return cls._load_whole(None, model_args, output_loading_info, kwargs)
        revision, subfolder = kwargs.get("revision"), kwargs.get("subfolder")
        with found_checkpoint(pretrained_model_name_or_path, revision, subfolder) as resolved:
            return cls._load_whole(resolved, model_args, output_loading_info, kwargs)

    @classmethod
    def _load_whole(
        cls, name_or_path: str | None, model_args: tuple[Any, ...], output_loading_info: bool, kwargs: dict[str, Any]
    ) -> Any:
        wants_mismatched = kwargs.pop("ignore_mismatched_sizes", False)
        names_labels = bool(LABEL_FIELDS & set(kwargs)) or kwargs.get("config") is not None
        if kwargs.get("torch_dtype") is None:
            kwargs.setdefault("dtype", torch.float32)
        check_weight_files(name_or_path, kwargs)
        # mismatches are collected here rather than raised by transformers, whose message leaves the names to a log
        wanted = _NEW_HEAD_WANTED.set(wants_mismatched)
        try:
            model, info = super().from_pretrained(
                name_or_path,
                *model_args,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                # transformers would else read a pickle where there is nothing better
                use_safetensors=True,
                **kwargs,
            )
        except SafetensorError as error:
            check_download(name_or_path, kwargs)
            raise damaged(str(name_or_path), error) from error
        finally:
            _NEW_HEAD_WANTED.reset(wanted)
        check_download(name_or_path, kwargs)
        new_head = model.__dict__.pop("_new_head", set())
        info["missing_keys"] = info["missing_keys"] | new_head
        if new_head and not names_labels:
            warn_of_new_head(name_or_path, model)
        return (model, info) if output_loading_info else model

    @staticmethod
    def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:
        """Refuse weights that are not those of the config, before memory is taken for what they lack.

        Up to here the model lies on the device `meta`: its tensors are those of the file, or have no memory.
        """
        model._check_shapes(load_config.pretrained_model_name_or_path, loading_info)
        return PreTrainedModel._finalize_model_loading(model, load_config, loading_info)

    @classmethod
    def _check_shapes(cls, name: Any, loading_info: Any) -> None:
        """Refuse tensors that are missing, left over or of another shape, unless they are of a head that is to be new.

        Raises:
            ValueError: there are such; the message names them.
        """
        wants_mismatched = _NEW_HEAD_WANTED.get()
        entries = loading_info.mismatched_keys
        mismatched = [entry for entry in entries if not (wants_mismatched and cls.is_head(entry[0]))]
        if mismatched:
            shapes = [f"{key}: checkpoint {tuple(a)}, model {tuple(b)}" for key, a, b in sorted(mismatched)]
            advice = (
                " The head can be started from random weights with `ignore_mismatched_sizes=True`."
                if all(cls.is_head(entry[0]) for entry in mismatched)
                else " The checkpoint and its config.json do not belong together."
            )
            raise ValueError(f"{name}: tensors of another shape: {'; '.join(shapes)}.{advice}")
        missing = sorted(key for key in loading_info.missing_keys if not cls.is_head(key))
        if missing:
            raise ValueError(
                f"{name} lacks {len(missing)} tensor(s) that {cls.__name__} needs: "
                f"{first_names(missing)}. A partly loaded model would give "
                "wrong answers; is this a checkpoint of another model, or was its file cut short?"
            )
        # a head of another kind may be left over; parts of the network may not
        body = f"{cls.base_model_prefix}."
        unused = sorted(key for key in loading_info.unexpected_keys if key.startswith(body) and not cls.is_head(key))
        if unused:
            raise ValueError(
                f"{name} holds {len(unused)} tensor(s) of the network that its config.json has no place for: "
                f"{first_names(unused)}. The two do not belong together."
            )

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        """Leave a backbone's new head out of transformers' report of what went wrong: it is what a backbone is for."""
        super()._adjust_missing_and_unexpected_keys(loading_info)
        head = {key for key in self.state_dict() if self.is_head(key)}
        # a checkpoint that says it is of this very class has lost its head: that is reported
        is_backbone = type(self).__name__ not in (self.config.architectures or ())
        if head and head <= loading_info.missing_keys and is_backbone:
            loading_info.missing_keys = loading_info.missing_keys - head
            self._new_head = head

    @classmethod
    def lacked_head(cls, info: dict[str, Any]) -> bool:
        """Whether a checkpoint had no head, or not all of it, by the loading information of `from_pretrained`."""
        return any(cls.is_head(key) for key in info["missing_keys"])

    @classmethod
    def is_head(cls, key: str) -> bool:
        """Whether a key of the state dict is of the head."""
        return key.startswith(cls._head_keys)


def warn_of_new_head(name: str | None, model: PreTrainedModel) -> None:
    """Say that a model's head is random, to those who did not say which classes they want."""
    logger.warning(
        f"{name} is a backbone without a head: the head of {model.config.num_labels} "
        f"{'target(s)' if model.config.problem_type == 'regression' else 'classes'} is new, and its predictions are "
        "random until it is trained. Say what it is for: `num_labels=` or `id2label=`."
    )


def at_least_single(values: torch.Tensor) -> torch.Tensor:
    """A tensor of 16 bits in single precision, any other as it is: logarithms and softmax do not survive 16 bits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


_HUB_KWARGS = ("repo_id", "token", "private", "commit_message", "commit_description", "create_pr", "revision", "tags")
_HUB_KWARGS += ("remote_code", "despite_no_derivatives")

__all__ = [
    "LABEL_FIELDS",
    "DLinkPreTrainedModel",
    "at_least_single",
    "check_input_values",
    "warn_of_new_head",
]
