# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the router that weighs the teacher's layers."""

from huggingface_hub.dataclasses import strict

from .configuration_mic import DLinkPreTrainedConfig, reject_unknown_fields, require, settle_labels


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
        router_size (`int`, *optional*, defaults to 32):
            Features to which each pooled layer is reduced before they are scored.
        routing (`str`, *optional*, defaults to `"input"`):
            `"input"`: one set of weights per input; `"static"`: learned, but the same for every input; `"uniform"`:
            the plain average; `"last"`: the last layer alone.
        temperature (`float`, *optional*, defaults to 1.0):
            Divides the scores before the softmax; smaller is sharper.
        router_dropout (`float`, *optional*, defaults to 0.1):
            Dropout on the pooled features.

    Raises:
        ValueError: a field is unknown or out of range; the message names it.
    """

    model_type = "dlink_router"

    hidden_size: int = 200
    num_layers: int = 12
    router_size: int = 32
    routing: str = "input"
    temperature: float | int = 1.0
    router_dropout: float | int = 0.1

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        settle_labels(self, kwargs)
        for field in ("hidden_size", "num_layers", "router_size"):
            require(getattr(self, field) > 0, field, getattr(self, field), "a positive integer")
        require(self.routing in ROUTINGS, "routing", self.routing, f"one of {', '.join(map(repr, ROUTINGS))}")
        require(self.temperature > 0, "temperature", self.temperature, "positive")
        require(0 <= self.router_dropout < 1, "router_dropout", self.router_dropout, "in [0, 1)")
        super().__post_init__(**kwargs)


__all__ = ["ROUTINGS", "DLinkRouterConfig"]
