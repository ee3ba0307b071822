# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Auto classes: student or teacher, whichever a checkpoint holds.

Importing this module also makes the package's classes known to transformers' own `AutoConfig`, `AutoModel`,
`AutoFeatureExtractor` and, as the nearest of its tasks, `AutoModelForAudioClassification`. Those take a folder or a
full Hub id: short names are known only to this package's classes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from ..core.checkpoint_names import found_checkpoint
from ..core.fetch import HUB_OPTIONS, fetch, read_json
from ..core.weight_files import check_weight_files
from ..export.loading import load_exported
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCForEEGClassification, MiCForEEGRegression, MiCModel
from ..models.modeling_base import LABEL_FIELDS, DLinkPreTrainedModel, warn_of_new_head
from ..models.teacher.configuration_teacher import DLinkTeacherConfig
from ..models.teacher.modeling_teacher import (
    DLinkTeacherForEEGClassification,
    DLinkTeacherForEEGRegression,
    DLinkTeacherModel,
)
from ..preprocessing.feature_extraction_eeg import EEGFeatureExtractor


class AutoModelForEEGClassification(_BaseAutoModelClass):
    """A student or a teacher with a classification head, whichever a checkpoint's config.json says.

    Example:

    ```python
    >>> from dlink_hf import AutoModelForEEGClassification, MiCConfig

    >>> model = AutoModelForEEGClassification.from_config(MiCConfig.from_size("tiny", num_labels=3))
    >>> type(model).__name__
    'MiCForEEGClassification'
    ```
    """

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *model_args: Any,
        output_loading_info: bool = False,
        backend: str = "torch",
        **kwargs: Any,
    ) -> Any:
        """Load a student or a teacher in evaluation mode.

        Args:
            pretrained_model_name_or_path: short name (`dlink-mic-small`), Hub id or folder; see
                [`checkpoint_names.resolve_checkpoint`]. Checkpoints in braindecode's own format say no class of this
                package: [`DLinkTeacherForEEGClassification`] reads those.
            *model_args: passed to the model's constructor.
            output_loading_info: also return which tensors were missing, left over or of another shape.
            backend: `"torch"`; `"onnx"` or `"executorch"` for a student that another runtime runs, of an export or
                exported at once: [`loading.load_exported`] says what goes with it.
            **kwargs: as the model's own `from_pretrained` takes them: `num_labels`, `id2label`, `ch_names`,
                `revision`, `cache_dir`, `local_files_only`, `token` ...

        Returns:
            [`MiCForEEGClassification`] or [`DLinkTeacherForEEGClassification`], or a class registered with
            `AutoModelForEEGClassification.register`; of another backend [`OnnxStudent`] or [`ExecutorchStudent`].

        Raises:
            ImportError: of another backend, a package is missing.
            OSError: there is no such checkpoint, or it can't be reached; of a short name, the known ones are listed.
            ValueError: it holds another kind of model, or what the model's own `from_pretrained` refuses.
        """
        if backend != "torch":
            asked = {"model_args": bool(model_args), "output_loading_info": output_loading_info}
            options = {**kwargs, **{name: value for name, value in asked.items() if value}}
            student = load_exported(pretrained_model_name_or_path, backend, **options)
            if student.labels_patches:
                raise ValueError(
                    f"{pretrained_model_name_or_path} labels patches, not whole windows: load_exported(..., "
                    f"{backend!r}) is the student itself, dlink_hf.pipeline(model=..., backend={backend!r}) labels "
                    "recordings."
                )
            return student
        names_labels = bool(LABEL_FIELDS & set(kwargs)) or kwargs.get("config") is not None
        with found_checkpoint(
            pretrained_model_name_or_path, kwargs.get("revision"), kwargs.get("subfolder")
        ) as resolved:
            _check_files(resolved, kwargs)
            model, info = super().from_pretrained(resolved, *model_args, output_loading_info=True, **kwargs)
        # the model's own `from_pretrained` is given a whole config, which hides whether the classes were named
        if isinstance(model, DLinkPreTrainedModel) and not names_labels and model.lacked_head(info):
            warn_of_new_head(resolved, model)
        return (model, info) if output_loading_info else model


class AutoModelForEEGRegression(AutoModelForEEGClassification):
    """A student or a teacher that gives numbers, whichever a checkpoint's config.json says.

    Its `from_pretrained` is that of [`AutoModelForEEGClassification`]; a backbone gets a new head for numbers.

    Example:

    ```python
    >>> from dlink_hf import AutoModelForEEGRegression, MiCConfig

    >>> model = AutoModelForEEGRegression.from_config(MiCConfig.from_size("tiny", problem_type="regression"))
    >>> type(model).__name__
    'MiCForEEGRegression'
    ```
    """

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, OrderedDict())


def _check_files(name: str, options: dict[str, Any]) -> None:
    """Refuse what transformers would follow before the model's own class is asked: an adapter, a malformed config."""
    check_weight_files(name, options)
    hub = {key: options[key] for key in HUB_OPTIONS if options.get(key) is not None}
    path = fetch(name, "config.json", hub)
    kind = None if path is None else read_json(path).get("model_type")
    for config in (MiCConfig, DLinkTeacherConfig):
        if kind == config.model_type:
            config.get_config_dict(name, **hub)


for _config, _model, _classifier, _regressor in (
    (MiCConfig, MiCModel, MiCForEEGClassification, MiCForEEGRegression),
    (DLinkTeacherConfig, DLinkTeacherModel, DLinkTeacherForEEGClassification, DLinkTeacherForEEGRegression),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModel.register(_config, _model)
    AutoModelForEEGClassification.register(_config, _classifier)
    AutoModelForEEGRegression.register(_config, _regressor)
    # transformers' nearest task: `input_values` of a signal in, logits of classes out
    AutoModelForAudioClassification.register(_config, _classifier)
    AutoFeatureExtractor.register(_config, EEGFeatureExtractor)


__all__ = ["AutoModelForEEGClassification", "AutoModelForEEGRegression"]
