# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the router that weighs the teacher's layers."""

from collections.abc import Sequence
from typing import Any

from huggingface_hub.dataclasses import strict

from ..core.checks import one_of
from ..core.config_checks import MOST_CHANNELS, in_bounds, require, settle_labels
from ..models.configuration_base import DLinkPreTrainedConfig, reject_unknown_fields


ROUTINGS = ("input", "static", "uniform", "last")


@strict
class DLinkRouterConfig(DLinkPreTrainedConfig):
    r"""
    Configuration of [`DLinkRouter`].

    Args:
        hidden_size (`int`, *optional*, defaults to 200):
            Width D of the teacher's layers; of the first teacher's, where there are several.
        num_layers (`int`, *optional*, defaults to 12):
            Number L of layers to weigh, of all teachers together.
        n_chans (`int`, *optional*, defaults to 19):
            Channels C of the (first) teacher's tokens, which the router's own head keeps apart.
        layers_per_teacher, hidden_sizes (`list[int]`, *optional*):
            Number of layers and their width, one of each a teacher; None for a single teacher.
        router_size (`int`, *optional*, defaults to 32):
            Features to which each pooled layer is reduced before it is scored, and each channel of the routed state
            before it is classified.
        routing (`str`, *optional*, defaults to `"input"`):
            `"input"`: one set of weights per input; `"static"`: learned, but the same for every input; `"uniform"`:
            the plain average; `"last"`: the last layer only.
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
    layers_per_teacher: list[int] | None = None
    hidden_sizes: list[int] | None = None
    router_size: int = 32
    routing: str = "input"
    temperature: float | int = 1.0
    router_dropout: float | int = 0.1

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        settle_labels(self, kwargs)
        in_bounds(self, 1, hidden_size=16_384, num_layers=4096, n_chans=MOST_CHANNELS, router_size=16_384)
        for field in ("layers_per_teacher", "hidden_sizes"):
            numbers = getattr(self, field)
            require(numbers is None or all(0 < number <= 16_384 for number in numbers), field, numbers, "positive")
        if self.layers_per_teacher is not None or self.hidden_sizes is not None:
            require(
                len(self.layers_per_teacher or ()) == len(self.hidden_sizes or ()) > 0,
                "hidden_sizes",
                self.hidden_sizes,
                f"one a teacher, like `layers_per_teacher` ({self.layers_per_teacher})",
            )
            require(
                sum(self.layers_per_teacher) == self.num_layers,
                "num_layers",
                self.num_layers,
                f"the sum of `layers_per_teacher` ({self.layers_per_teacher})",
            )
            require(
                self.hidden_sizes[0] == self.hidden_size,
                "hidden_sizes",
                self.hidden_sizes,
                f"of the first teacher's width ({self.hidden_size}) first",
            )
        one_of("`routing`", self.routing, ROUTINGS)
        require(self.temperature > 0, "temperature", self.temperature, "positive")
        require(0 <= self.router_dropout < 1, "router_dropout", self.router_dropout, "in [0, 1)")
        super().__post_init__(**kwargs)

    @property
    def teacher_layers(self) -> list[tuple[int, int]]:
        """Number and width of the layers of each teacher."""
        if self.layers_per_teacher is None:
            return [(self.num_layers, self.hidden_size)]
        return list(zip(self.layers_per_teacher, self.hidden_sizes, strict=True))

    @classmethod
    def from_teacher(
        cls, teacher_config: DLinkPreTrainedConfig | Sequence[DLinkPreTrainedConfig], **fields: Any
    ) -> "DLinkRouterConfig":
        """Return the config of a router that fits a teacher, or several.

        Args:
            teacher_config: [`DLinkTeacherConfig`], or a list of them.
            **fields: fields that do not follow from the teacher, such as `routing`.
        """
        configs = list(teacher_config) if isinstance(teacher_config, (list, tuple)) else [teacher_config]
        first = configs[0]
        if len(configs) > 1:
            fields = {
                "layers_per_teacher": [config.num_hidden_layers for config in configs],
                "hidden_sizes": [config.hidden_size for config in configs],
                **fields,
            }
        return cls(
            hidden_size=first.hidden_size,
            num_layers=sum(config.num_hidden_layers for config in configs),
            n_chans=first.token_chans,
            id2label=first.id2label,
            label2id=first.label2id,
            problem_type=first.problem_type,
            **fields,
        )


__all__ = ["ROUTINGS", "DLinkRouterConfig"]
