# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the studio: teacher, router and student together, and the weights of the losses."""

import math
from typing import Any

from huggingface_hub.dataclasses import strict

from ..core.checks import one_of
from ..core.config_checks import SINGLE_LABEL, require
from ..core.model_facts import label_samples
from ..models.configuration_base import DLinkPreTrainedConfig, reject_unknown_fields
from ..models.mic.configuration_mic import MiCConfig
from ..models.teacher.configuration_teacher import DLinkTeacherConfig
from ..models.token_grid import missing_channels, resampled_length, sees_more, student_fields
from .configuration_router import DLinkRouterConfig
from .losses import DISTANCES, MAGNITUDES, SPECTRAL_AXES


PLACEMENTS = ("mimic", "compressed")

_WEIGHTS = (
    "task_weight",
    "kd_weight",
    "soft_target_weight",
    "route_weight",
    "spectral_weight",
    "magnitude_weight",
    "phase_weight",
    "router_task_weight",
    "router_balance_weight",
    "router_entropy_weight",
)


@strict
class DLinkStudioConfig(DLinkPreTrainedConfig):
    r"""
    Configuration of [`DLinkStudioModel`]: three sub-configs and the objective

    `task_weight * CE + kd_weight * T^2 * KL(teacher) + soft_target_weight * T^2 * KL(soft targets) + route_weight *
    distance(m, r) + spectral_weight * (magnitude_weight * magnitude + phase_weight * phase) + router_task_weight *
    CE(router) + router_balance_weight * balance + router_entropy_weight * entropy`.

    Args:
        teacher_config (`DLinkTeacherConfig` or `dict`, *optional*): the teacher.
        teacher_configs (`list`, *optional*): several teachers, where there are more than one; `teacher_config` is then
            the first of them, whose width, channels, rate and window are the student's. The others may have other
            widths, patches and rates, and some of its channels: see `token_grid`.
        router_config (`DLinkRouterConfig` or `dict`, *optional*): the router; one to fit the teacher by default.
        student_config (`MiCConfig` or `dict`, *optional*): the student; a `small` one that fits the teacher where left
            out. It may have some of the teacher's channels, in an order of its own, and a shorter window, which is the
            end of the teacher's: both then read windows of their own (`with_teacher_view`).
        task_weight (`float`, defaults to 1.0): the student's cross-entropy.
        kd_weight (`float`, defaults to 3.0): distillation of the logits.
        kd_temperature (`float`, defaults to 2.0): its temperature T.
        soft_target_weight (`float`, defaults to 3.0): distillation of soft targets, where the windows have some (see
            [`cross_fitted_soft_targets`]), at the same temperature.
        route_weight (`float`, defaults to 0.0): distance of the mimic state to the routed target. Off by default, like
            the spectral terms: no benchmark has shown that they add to the logits (benchmarks/NOTES.md).
        route_distance (`str`, defaults to `"mse"`): `"mse"`, `"smooth_l1"` or `"cosine"`.
        spectral_weight (`float`, defaults to 0.0): both spectral terms, at every placement.
        magnitude_weight, phase_weight (`float`, default to 1.0): the one and the other inside it.
        magnitude_kind (`str`, defaults to `"relative"`): `"relative"` or `"log"`.
        spectral_axes (`list[str]`, defaults to `["time"]`): axes of the transform: `"space"`, `"time"`, `"features"`.
        spectral_placement (`list[str]`, defaults to `["mimic", "compressed"]`): compare the mimic state, or the
            compressed state brought back to the teacher's layout by a decoder that exists only in training, or both.
        router_task_weight (`float`, defaults to 1.0): cross-entropy of the router's own head.
        router_balance_weight (`float`, defaults to 0.1): keeps the mean weights of a batch from collapsing.
        router_entropy_weight (`float`, defaults to 0.0): pushes every input's weights to be sharp.
        labels_patches (`bool`, defaults to `False`): whether teacher and student label every patch, or every few, of a
            stretch. They are then compared by the logits of each place alone; labels last as long in both.

    Raises:
        ValueError: a field is unknown, out of range, or contradicts another; the message names it.

    Example:

    ```python
    >>> from dlink_hf import DLinkStudioConfig, DLinkTeacherConfig, MiCConfig

    >>> names = ["C3", "Cz", "C4"]
    >>> config = DLinkStudioConfig(
    ...     teacher_config=DLinkTeacherConfig(ch_names=names), student_config=MiCConfig(ch_names=names)
    ... )
    >>> config.router_config.num_layers
    12
    ```
    """

    model_type = "dlink_studio"
    sub_configs = {
        "teacher_config": DLinkTeacherConfig,
        "router_config": DLinkRouterConfig,
        "student_config": MiCConfig,
    }

    teacher_config: dict | DLinkTeacherConfig | None = None
    teacher_configs: list | None = None
    router_config: dict | DLinkRouterConfig | None = None
    student_config: dict | MiCConfig | None = None
    task_weight: float | int = 1.0
    kd_weight: float | int = 3.0
    kd_temperature: float | int = 2.0
    soft_target_weight: float | int = 3.0
    route_weight: float | int = 0.0
    route_distance: str = "mse"
    spectral_weight: float | int = 0.0
    magnitude_weight: float | int = 1.0
    phase_weight: float | int = 1.0
    magnitude_kind: str = "relative"
    spectral_axes: list[str] | None = None
    spectral_placement: list[str] | None = None
    router_task_weight: float | int = 1.0
    router_balance_weight: float | int = 0.1
    router_entropy_weight: float | int = 0.0
    labels_patches: bool = False

    def __post_init__(self, **kwargs):
        reject_unknown_fields(self, kwargs)
        for name, config_class in type(self).sub_configs.items():
            if isinstance(getattr(self, name), dict):
                try:
                    setattr(self, name, config_class.from_dict(getattr(self, name)))
                except ValueError as error:
                    raise ValueError(f"`{name}`: {error}") from error
        if self.teacher_configs is not None:
            require(
                len(self.teacher_configs) > 1, "teacher_configs", self.teacher_configs, "a list of several configs"
            )
            good = all(isinstance(config, dict | DLinkTeacherConfig) for config in self.teacher_configs)
            require(good, "teacher_configs", self.teacher_configs, "a list of configs of teachers")
            self.teacher_configs = [
                DLinkTeacherConfig.from_dict(config) if isinstance(config, dict) else config
                for config in self.teacher_configs
            ]
            self.teacher_config = self.teacher_configs[0]
        if self.teacher_config is None:
            self.teacher_config = DLinkTeacherConfig()
        teacher = self.teacher_config
        if self.router_config is None:
            self.router_config = DLinkRouterConfig.from_teacher(self.all_teachers)
        if self.student_config is None:
            self.student_config = MiCConfig.from_size(
                "small",
                ch_names=teacher.ch_names,
                sfreq=teacher.sfreq,
                n_times=teacher.n_times,
                id2label=teacher.id2label,
                label2id=teacher.label2id,
                problem_type=teacher.problem_type,
                **student_fields(teacher),
            )
        self.spectral_axes = ["time"] if self.spectral_axes is None else self.spectral_axes
        self.spectral_placement = list(PLACEMENTS) if self.spectral_placement is None else self.spectral_placement
        self._check_objective()
        self._check_agreement()
        if self.labels_patches:
            self._check_places()
        num_labels = kwargs.get("num_labels")
        require(
            num_labels in (None, self.student_config.num_labels),
            "num_labels",
            num_labels,
            f"left to the sub-configs, which have {self.student_config.num_labels}",
        )
        self.id2label, self.label2id = self.student_config.id2label, self.student_config.label2id
        super().__post_init__(**kwargs)

    def _check_objective(self) -> None:
        for field in _WEIGHTS:
            require(0 <= getattr(self, field) < math.inf, field, getattr(self, field), "zero or more")
        require(self.kd_temperature > 0, "kd_temperature", self.kd_temperature, "positive")
        one_of("`route_distance`", self.route_distance, DISTANCES)
        one_of("`magnitude_kind`", self.magnitude_kind, MAGNITUDES)
        require(
            len(self.spectral_axes) > 0
            and len(set(self.spectral_axes)) == len(self.spectral_axes)
            and all(axis in SPECTRAL_AXES for axis in self.spectral_axes),
            "spectral_axes",
            self.spectral_axes,
            f"a list of some of {tuple(SPECTRAL_AXES)}, each once",
        )
        require(
            all(place in PLACEMENTS for place in self.spectral_placement),
            "spectral_placement",
            self.spectral_placement,
            f"a list of some of {PLACEMENTS}",
        )

    def _check_agreement(self) -> None:
        teacher, router, student = self.teacher_config, self.router_config, self.student_config
        pairs = [
            ("router_config.hidden_size", router.hidden_size, "teacher_config.hidden_size"),
            ("router_config.n_chans", router.n_chans, "teacher_config.token_chans"),
            ("router_config.num_labels", router.num_labels, "teacher_config.num_labels"),
            ("student_config.mimic_size", student.mimic_size, "teacher_config.hidden_size"),
            ("student_config.sfreq", student.sfreq, "teacher_config.sfreq"),
            ("student_config.num_labels", student.num_labels, "teacher_config.num_labels"),
        ]
        if self.teacher_configs is None:
            pairs.insert(0, ("router_config.num_layers", router.num_layers, "teacher_config.num_hidden_layers"))
        for field, value, other in pairs:
            expected = getattr(teacher, other.removeprefix("teacher_config."))
            require(value == expected, field, value, f"equal to `{other}`, which is {expected!r}")
        kinds = [config.problem_type or SINGLE_LABEL for config in (*self.all_teachers, router, student)]
        fields = f"that of the teacher, {kinds[0]!r}, for all teachers, the router and the student"
        require(len(set(kinds)) == 1, "problem_type", kinds, fields)
        unseen = missing_channels(teacher, student)
        require(not unseen, "student_config.ch_names", unseen, f"among `teacher_config.ch_names`, {teacher.ch_names}")
        require(
            student.n_times <= teacher.n_times,
            "student_config.n_times",
            student.n_times,
            f"at most `teacher_config.n_times`, which is {teacher.n_times}: the student's window is its last part",
        )
        layers = [(config.num_hidden_layers, config.hidden_size) for config in self.all_teachers]
        require(
            router.teacher_layers == layers,
            "router_config.layers_per_teacher",
            router.teacher_layers,
            f"those of the teachers, (layers, width) {layers}",
        )
        for number, other in enumerate(self.all_teachers[1:], start=1):
            self._check_further_teacher(f"teacher_configs[{number}]", other)
        # names of one's own are fine; the same names in another order would distil every class into the wrong one
        names, expected = list(student.id2label.values()), list(teacher.id2label.values())
        require(
            names == expected or set(names) != set(expected),
            "student_config.id2label",
            names,
            f"in the order of `teacher_config.id2label`, which is {expected}",
        )

    def _check_places(self) -> None:
        """Labels of patches are of the same times, and nothing but their logits is compared."""
        fields = "zero where patches are labelled: their distillation compares the logits of each place alone"
        for weight in ("route_weight", "spectral_weight"):
            require(getattr(self, weight) == 0, weight, getattr(self, weight), fields)
        student = self.student_config
        for config in self.all_teachers:
            require(
                config.n_times / config.sfreq == student.n_times / student.sfreq,
                "n_times",
                config.n_times,
                f"as long as the student's stretch, {student.n_times / student.sfreq:g} s",
            )
            seconds = [label_samples(one) / one.sfreq for one in (config, student)]
            require(
                seconds[0] == seconds[1],
                "patches_per_label",
                config.patches_per_label,
                f"such that labels of teacher and student last as long: {seconds[0]:g} and {seconds[1]:g} s",
            )

    def _check_further_teacher(self, field: str, other: DLinkTeacherConfig) -> None:
        """Another teacher reads the same windows, as far as its channels and rate go, and knows the same classes."""
        first = self.teacher_config
        missing = missing_channels(first, other)
        require(not missing, f"{field}.ch_names", missing, f"among the channels of the windows, {first.ch_names}")
        n_times = resampled_length(first.n_times, first.sfreq, other.sfreq)
        seconds = f"{first.n_times / first.sfreq:g} s of the windows at {other.sfreq:g} Hz"
        require(other.n_times == n_times, f"{field}.n_times", other.n_times, f"{n_times} samples, the {seconds}")
        names, expected = list(other.id2label.values()), list(first.id2label.values())
        require(names == expected, f"{field}.id2label", names, f"that of the first teacher, {expected}")

    @property
    def teacher_sees_more(self) -> bool:
        """Whether teacher and student read windows of their own: other channels, or another length."""
        return sees_more(self.teacher_config, self.student_config)

    @property
    def uses_layers(self) -> bool:
        """Whether a term reads the teacher's layers; else router and decoder take no part."""
        return self.route_weight > 0 or (self.spectral_weight > 0 and self.magnitude_weight + self.phase_weight > 0)

    @property
    def all_teachers(self) -> list[DLinkTeacherConfig]:
        """The configs of the teachers, one or several."""
        return [self.teacher_config] if self.teacher_configs is None else self.teacher_configs

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; see `transformers.PreTrainedConfig.to_dict`."""
        output = super().to_dict()
        if self.teacher_configs is None:
            output.pop("teacher_configs", None)
        else:
            output["teacher_configs"] = [config.to_dict() for config in self.teacher_configs]
        return output


__all__ = ["PLACEMENTS", "DLinkStudioConfig"]
