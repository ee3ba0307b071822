# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What every model of the package adds to `PreTrainedModel`: saves that can't destroy, loads that can't be partial."""

from __future__ import annotations

import hashlib
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging

from .checkpoint_names import found_checkpoint
from .files import damaged, staged


logger = logging.get_logger(__name__)

# keyword arguments by which `from_pretrained` is told which classes a new head is for
LABEL_FIELDS = frozenset({"num_labels", "id2label", "label2id"})


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


def check_download(name: str | None, options: dict[str, Any]) -> None:
    """Check the weights that were downloaded from the Hub against their hash, which the Hub's client does not do.

    Args:
        name: Hub id; a folder, or None, is not checked.
        options: of `from_pretrained`: `revision`, `cache_dir`, `subfolder`.

    Raises:
        OSError: the file in the cache is not the one that was published.
    """
    if name is None or os.path.isdir(name):
        return
    filename = "/".join(filter(None, [options.get("subfolder"), "model.safetensors"]))
    found = try_to_load_from_cache(name, filename, options.get("cache_dir"), options.get("revision"))
    blob = Path(found).resolve() if isinstance(found, str) else None
    # the cache names large files by their SHA-256
    if blob is not None and re.fullmatch(r"[0-9a-f]{64}", blob.name):
        with open(blob, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != blob.name:
            raise OSError(
                f"{name}: its weights arrived damaged: {filename} in the cache is not what was published (SHA-256 "
                f"{digest[:12]}... instead of {blob.name[:12]}...). Download it anew with `force_download=True`."
            )


class DLinkPreTrainedModel(PreTrainedModel):
    """Base class of student, teacher, router and studio.

    `save_pretrained` writes every file under a temporary name and renames it when all are complete, so that a full
    disk or a kill leaves the old checkpoint as it was. `from_pretrained` refuses a checkpoint in which a tensor is
    missing or has another shape, unless it belongs to a head (`_head_keys`) that fine-tuning starts anew.
    """

    main_input_name = "input_values"
    input_modalities = ("time",)
    # forward takes no `num_items_in_batch`; the Trainer then averages over accumulation steps itself
    accepts_loss_kwargs = False
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
            **kwargs: as [`hub.publish_folder`] takes them: `commit_message`, `private`, `token`, `revision`,
                `create_pr`, `tags`, `remote_code` ...; and `max_shard_size`, as `save_pretrained` does.

        Returns:
            `huggingface_hub.CommitInfo`.

        Raises:
            ValueError, OSError: as [`hub.publish_folder`].
        """
        try:
            # by its name: this module may travel with a checkpoint's code, where the rest of the package may be absent
            hub = import_module("dlink_hf.hub")
        except ModuleNotFoundError:
            return super().push_to_hub(repo_id, **kwargs)
        return hub.publish_saved(self, repo_id, **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        output_loading_info: bool = False,
        backend: str = "torch",
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint whole; see `transformers.PreTrainedModel.from_pretrained`.

        Short names are taken too: [`checkpoint_names.resolve_checkpoint`] says where they lead. Weights stored in 16
        bits are computed with in 32, unless `dtype` says otherwise (`"auto"` keeps them). A backbone, saved without a
        head, gets a new one for the classes that `num_labels`, `id2label` or `config` names.

        `backend="onnx"` or `"executorch"` gives a student that ONNX Runtime or ExecuTorch runs, with `precision` and
        `n_threads` beside the options of the Hub: of a folder that `dlink export` wrote, of the export in the
        checkpoint's `onnx` or `executorch`, or exported at once; [`backends.load_exported`] says more.

        Raises:
            ImportError: of another backend, a package is missing.
            OSError: there is no such checkpoint, or it can't be reached; of a short name, the known ones are listed.
                Or what was downloaded is not what was published.
            ValueError: the weights are no whole safetensors file, or a tensor is missing or has another shape; the
                message names it. A head of another number of classes needs `ignore_mismatched_sizes=True`, as
                everywhere in transformers. Or `use_safetensors=False` was given: nothing is ever unpickled.
        """
        if kwargs.pop("use_safetensors", True) is False:
            raise ValueError("`use_safetensors=False` asks for pickled weights, which run code and are never read.")
        if backend != "torch":
            asked = {"model_args": bool(model_args), "output_loading_info": output_loading_info}
            options = {**kwargs, **{name: value for name, value in asked.items() if value}}
            return load_exported(cls, pretrained_model_name_or_path, backend, options)
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
        # mismatches are collected here rather than raised by transformers, whose message leaves the names to a log
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
        check_download(name_or_path, kwargs)
        mismatched = [entry for entry in info["mismatched_keys"] if not (wants_mismatched and cls._is_head(entry[0]))]
        if mismatched:
            rows = "; ".join(f"{name}: checkpoint {tuple(a)}, model {tuple(b)}" for name, a, b in sorted(mismatched))
            advice = (
                " The head can be started anew with `ignore_mismatched_sizes=True`."
                if all(cls._is_head(entry[0]) for entry in mismatched)
                else " The checkpoint and its config.json do not belong together."
            )
            raise ValueError(f"{name_or_path}: tensors of another shape: {rows}.{advice}")
        missing = sorted(key for key in info["missing_keys"] if not cls._is_head(key))
        if missing:
            raise ValueError(
                f"{name_or_path} lacks {len(missing)} tensor(s) that {cls.__name__} needs: "
                f"{', '.join(missing[:8])}{' ...' if len(missing) > 8 else ''}. A partly loaded model would give "
                "wrong answers; is this a checkpoint of another model, or was its file cut short?"
            )
        new_head = model.__dict__.pop("_new_head", set())
        info["missing_keys"] = info["missing_keys"] | new_head
        if new_head and not names_labels:
            warn_of_new_head(name_or_path, model)
        return (model, info) if output_loading_info else model

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        """Leave a backbone's new head out of transformers' report of what went wrong: it is what a backbone is for."""
        super()._adjust_missing_and_unexpected_keys(loading_info)
        head = {key for key in self.state_dict() if self._is_head(key)}
        # a checkpoint that says it is of this very class has lost its head: that is reported
        is_backbone = type(self).__name__ not in (self.config.architectures or ())
        if head and head <= loading_info.missing_keys and is_backbone:
            loading_info.missing_keys = loading_info.missing_keys - head
            self._new_head = head

    @classmethod
    def lacked_head(cls, info: dict[str, Any]) -> bool:
        """Whether a checkpoint had no head, or not all of it, by the loading information of `from_pretrained`."""
        return any(cls._is_head(key) for key in info["missing_keys"])

    @classmethod
    def _is_head(cls, key: str) -> bool:
        return key.startswith(cls._head_keys)


def load_exported(model_class: type, name: str | os.PathLike | None, backend: str, options: dict[str, Any]) -> Any:
    """What `from_pretrained` gives for another backend than torch.

    Args:
        model_class: whose `from_pretrained` was called.
        name, backend, options: as [`backends.load_exported`] takes them.

    Raises:
        ImportError: the package, or one that the backend needs, is not installed.
        TypeError: the class is not that of students with a head.
        OSError, ValueError: as [`backends.load_exported`].
    """
    try:
        # by its name: this module may travel with a checkpoint's code, where the rest of the package may be absent
        backends = import_module("dlink_hf.backends")
    except ModuleNotFoundError as error:
        raise ImportError(f"backend={backend!r} needs dlink_hf: pip install 'dlink-hf[export]' ({error}).") from error
    backends.check_backend(backend)
    if "MiCForEEGClassification" not in {parent.__name__ for parent in model_class.__mro__} or name is None:
        raise TypeError(
            f"backend={backend!r} is for students with a head, by name: MiCForEEGClassification.from_pretrained("
            f"'dlink-mic-small-eegmat', backend={backend!r}); asked for was {name!r} of {model_class.__name__}."
        )
    return backends.load_exported(name, backend, **options)


def warn_of_new_head(name: str | None, model: PreTrainedModel) -> None:
    """Say that a model's head is random, to those who did not say which classes they want."""
    logger.warning(
        f"{name} is a backbone without a head: the head of {model.config.num_labels} classes is new, and its "
        "predictions are random until it is trained. Say which classes it is for: `num_labels=` or `id2label=`."
    )


def at_least_single(values: torch.Tensor) -> torch.Tensor:
    """A tensor of 16 bits in single precision, any other as it is: logarithms and softmax do not survive 16 bits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


_HUB_KWARGS = ("repo_id", "token", "private", "commit_message", "commit_description", "create_pr", "revision", "tags")
_HUB_KWARGS += ("remote_code",)

__all__ = [
    "LABEL_FIELDS",
    "DLinkPreTrainedModel",
    "at_least_single",
    "check_input_values",
    "load_exported",
    "warn_of_new_head",
]
