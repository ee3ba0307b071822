# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the configs share: fields that are unknown or contradict each other are errors that name them."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers.configuration_utils import PreTrainedConfig

from ..core.checkpoint_names import ShortNamesMixin
from ..core.checks import MALFORMED
from ..core.config_checks import (
    MOST_CHANNELS,
    MOST_LABELS,
    MOST_SAMPLES,
    SINGLE_LABEL,
    check_signal_fields,
    in_bounds,
    require,
    settle_labels,
)
from ..core.fetch import read_json


# the 19 electrodes of the 10-20 system, the montage that most EEG corpora share
DEFAULT_CH_NAMES = "Fp1 Fp2 F7 F3 Fz F4 F8 T7 C3 Cz C4 T8 P7 P3 Pz P4 P8 O1 O2".split()

# keyword arguments that transformers itself passes through a config's constructor (its Trainer writes `use_cache`)
_TRANSFORMERS_FIELDS = {
    "num_labels",
    "name_or_path",
    "model_type",
    "output_attentions",
    "attn_implementation",
    "experts_implementation",
    "torch_dtype",
    "auto_map",
    "custom_pipelines",
    "per_layer_config",
    "use_cache",
    "quantization_config",
}


def reject_unknown_fields(config: PreTrainedConfig, kwargs: dict[str, Any]) -> None:
    """Refuse keyword arguments that no field of the config takes, so that a typo is not stored in silence.

    Args:
        config: the config that is being built.
        kwargs: the keyword arguments that are left once every declared field has taken its own.

    Raises:
        ValueError: naming each unknown field.
    """
    unknown = sorted(key for key in set(kwargs) - _TRANSFORMERS_FIELDS if not key.startswith("_"))
    if unknown:
        known = sorted({field.name for field in fields(config)} - {field.name for field in fields(PreTrainedConfig)})
        raise ValueError(
            f"{type(config).__name__} has no field {', '.join(map(repr, unknown))}. Its own are: {', '.join(known)}."
        )


class DLinkPreTrainedConfig(ShortNamesMixin, PreTrainedConfig):
    """Base class of the configs: fields given at `from_pretrained` are checked like those of a new config."""

    @classmethod
    def read_config_dict(cls, name_or_path: str | os.PathLike, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a config.json of any model; see `transformers.PreTrainedConfig.get_config_dict`.

        Raises:
            OSError: there is none, or it can't be reached.
            ValueError: it is no JSON object.
        """
        return super().get_config_dict(name_or_path, **kwargs)

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a config.json; see `transformers.PreTrainedConfig.get_config_dict`.

        Raises:
            OSError: there is none, for which transformers would give a config of defaults.
            ValueError: it holds what no config of this class does; the message names file and field.
        """
        config_dict, unused = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        if not config_dict:
            raise OSError(f"{pretrained_model_name_or_path} holds no config.json: it is not a checkpoint of a model.")
        # by itself, before anything that was given takes part: it is an error of the file, and named so
        try:
            cls.from_dict(dict(config_dict))
        except (*MALFORMED, StrictDataclassError) as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"config.json of {pretrained_model_name_or_path}: {text}") from error
        return config_dict, unused

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike) -> dict[str, Any]:
        return cls._decode_special_floats(read_json(Path(json_file)))

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a config from a dict, such as that of a config.json; see `transformers.PreTrainedConfig.from_dict`.

        Fields among the keyword arguments take part in the building, where transformers would set them afterwards:
        other classes (`num_labels`, `id2label`) replace those of the dict, another montage (`ch_names`) brings its own
        positions, and what contradicts another field is an error.
        """
        config_dict = dict(config_dict)
        # another kind of problem has other labels
        before = config_dict.get("problem_type")
        if (kwargs.get("problem_type", before) or SINGLE_LABEL) != (before or SINGLE_LABEL):
            for field in ("num_labels", "id2label", "label2id", "target_mean", "target_std"):
                config_dict.pop(field, None)
        if "problem_type" in kwargs:
            config_dict["problem_type"] = kwargs.pop("problem_type")
        if {"num_labels", "id2label", "label2id"} & set(kwargs):
            for field in ("target_mean", "target_std"):
                config_dict.pop(field, None)
            for field in ("num_labels", "id2label", "label2id"):
                config_dict.pop(field, None)
                if field in kwargs:
                    config_dict[field] = kwargs.pop(field)
        elif config_dict.get("id2label"):
            config_dict.pop("label2id", None)  # code that renames the classes often forgets the inverse
        if "ch_names" in kwargs:
            config_dict.pop("channel_positions", None)
        for name in {field.name for field in fields(cls)} - {field.name for field in fields(PreTrainedConfig)}:
            if name in kwargs:
                config_dict[name] = kwargs.pop(name)
        return super().from_dict(config_dict, **kwargs)


__all__ = [
    "DEFAULT_CH_NAMES",
    "MOST_CHANNELS",
    "MOST_LABELS",
    "MOST_SAMPLES",
    "DLinkPreTrainedConfig",
    "check_signal_fields",
    "in_bounds",
    "reject_unknown_fields",
    "require",
    "settle_labels",
]
