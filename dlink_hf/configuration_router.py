# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the router that weighs the teacher's layers."""

from typing import Any

from huggingface_hub.dataclasses import strict

from .configuration_base import DLinkPreTrainedConfig, reject_unknown_fields, require, settle_labels


ROUTINGS = ("input", "static", "uniform", "last")


@strict
class DLinkRouterConfig(DLinkPreTrainedConfig):
    r"""
    Configuration of [`DLinkRouter`].

    Args:
        hidden_size (`int`, *optional*, defaults to 200):
            Width D of the teacher's layers.
        num_layers (`int`, *optional*, defaults to 12):
            Number L of layers to weigh.
        n_chans (`int`, *optional*, defaults to 19):
            Channels C of the teacher's layers, which the router's own head keeps apart.
        router_size (`int`, *optional*, defaults to 32):
            Features to which each pooled layer is reduced before it is scored, and each channel of the routed state
            before it is classified.
        routing (`str`, *optional*, defaults to `"input"`):
            `"input"`: one set of weights per input; `"static"`: learned, but the same for every input; `"uniform"`:
            the plain average; `"last"`: the last layer alone.
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the scores before the softmax; smaller is sharper.
        router_dropout (`float`, *optional*, defaults to 0.1):
            Dropout on the pooled features, of layers and of channels.

    Raises:
        ValueError: a field is unknown or out of range; the message names it.
    """

    model_type = "dlink_router"

    hidden_size: int = 200
    num_layers: int = 12
    n_chans: int = 19
    router_size: int = 32
    routing: str = "input"
    temperature: float | int = 1.0
    router_dropout: float | int = 0.1

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        settle_labels(self, kwargs)
        for field in ("hidden_size", "num_layers", "n_chans", "router_size"):
            require(getattr(self, field) > 0, field, getattr(self, field), "a positive integer")
        require(self.routing in ROUTINGS, "routing", self.routing, f"one of {', '.join(map(repr, ROUTINGS))}")
        require(self.temperature > 0, "temperature", self.temperature, "positive")
        require(0 <= self.router_dropout < 1, "router_dropout", self.router_dropout, "in [0, 1)")
        super().__post_init__(**kwargs)

    @classmethod
    def from_teacher(cls, teacher_config: DLinkPreTrainedConfig, **fields: Any) -> "DLinkRouterConfig":
        """The config of a router that fits a teacher.

        Args:
            teacher_config: [`DLinkTeacherConfig`].
            **fields: fields that do not follow from the teacher, such as `routing`.
        """
        return cls(
            hidden_size=teacher_config.hidden_size,
            num_layers=teacher_config.num_hidden_layers,
            n_chans=teacher_config.n_chans,
            id2label=teacher_config.id2label,
            label2id=teacher_config.label2id,
            **fields,
        )


__all__ = ["ROUTINGS", "DLinkRouterConfig"]
