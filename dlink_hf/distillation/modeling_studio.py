# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The studio: frozen teacher or teachers, router, student and the decoder that exists only in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from ..core.batch_statistics import is_shared, process_mean
from ..core.checks import one_of
from ..core.config_checks import MULTI_LABEL, REGRESSION
from ..core.licences import join_licences
from ..models.mic.configuration_mic import MiCConfig
from ..models.mic.modeling_mic import MiCModelOutput, MiCWithHead, student_class
from ..models.mic.token_classification import MiCForEEGTokenClassification
from ..models.modeling_base import DLinkPreTrainedModel
from ..models.task_losses import as_targets, head_loss, in_target_unit
from ..models.teacher.modeling_teacher import (
    DLinkTeacherWithHead,
    teacher_class,
)
from ..models.teacher.token_classification import DLinkTeacherForEEGTokenClassification
from ..models.token_grid import common_grid, shared_tokens, to_grid, windows_for
from .configuration_studio import DLinkStudioConfig
from .losses import (
    classification_loss,
    label_distillation_loss,
    logit_distillation_loss,
    router_balance_loss,
    router_entropy,
    target_distillation_loss,
)
from .modeling_router import DLinkRouter, normalise_layers
from .objective import mean_logits, mimic_terms, place_terms


STAGES = ("mimic", "compress")


@dataclass
class DLinkStudioOutput(ModelOutput):
    """Output of [`DLinkStudioModel`].

    C and P are those of the grid on which student and teacher are compared: their own where they share it, else the
    coarser of both; of a teacher that sees more, what it shares with its student. See `token_grid`.

    Args:
        loss (`torch.Tensor`, scalar): the weighted sum of the stage's terms, where `labels` were given.
        logits (`torch.Tensor`, (B, num_labels)): the student's.
        losses (`dict[str, torch.Tensor]`): every term before its weight, by name, detached.
        teacher_logits (`torch.Tensor`, (B, num_labels)): the teacher's; of several, the log of the mean of their
            probabilities.
        router_logits (`torch.Tensor`, (B, num_labels)): those of the router's own head.
        router_weights (`torch.Tensor`, (B, L)): how much each layer counts for each input; the layers of the first
            teacher come first.
        routed_state (`torch.Tensor`, (B, C, P, D)): the student's target, detached.
        mimic_state (`torch.Tensor`, (B, C, P, D)): the student's reply to it.
        compressed_state (`torch.Tensor`, (B, K, Q, c)): after the compression.
        decoded_state (`torch.Tensor`, (B, C, P, D)): the compressed state, brought back to the teacher's layout.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    teacher_logits: torch.Tensor | None = None
    router_logits: torch.Tensor | None = None
    router_weights: torch.Tensor | None = None
    routed_state: torch.Tensor | None = None
    mimic_state: torch.Tensor | None = None
    compressed_state: torch.Tensor | None = None
    decoded_state: torch.Tensor | None = None


class MiCDecoder(nn.Module):
    """Bring a compressed state back to (B, C, P, D), so that its spectrum can be held against the teacher's.

    Space and time are unfolded by the weights that folded them, transposed and renormalised; only the features have
    weights of their own. Used only in training.
    """

    def __init__(self, config: MiCConfig):
        super().__init__()
        self.features = nn.Linear(config.compressed_size, config.mimic_size)

    def forward(self, student: MiCModelOutput) -> torch.Tensor:
        """Decode the student's compressed state (B, K, Q, c) to (B, C, P, D)."""
        spatial = student.spatial_weights.transpose(1, 2)
        spatial = spatial / spatial.sum(-1, keepdim=True).clamp_min(1e-6)
        temporal = student.temporal_weights.transpose(0, 1)
        temporal = temporal / temporal.sum(-1, keepdim=True).clamp_min(1e-6)
        slots = torch.matmul(temporal, student.compressed_state)  # (B, K, P, c)
        tokens = torch.matmul(spatial[:, None], slots.transpose(1, 2))  # (B, P, C, c)
        return self.features(tokens).transpose(1, 2)


class DLinkStudioModel(DLinkPreTrainedModel):
    """Everything that takes part in a distillation. The teachers are frozen; router, student and decoder learn.

    Args:
        config ([`DLinkStudioConfig`]): the sub-configs and the weights of the losses.
        teachers, student, router: parts that fit the config; fresh ones by default. See [`from_parts`].
    """

    config_class = DLinkStudioConfig
    config: DLinkStudioConfig
    base_model_prefix = "studio"

    def __init__(
        self,
        config: DLinkStudioConfig,
        teachers: Sequence[DLinkTeacherWithHead] | None = None,
        student: MiCWithHead | None = None,
        router: DLinkRouter | None = None,
    ):
        super().__init__(config)
        given: dict[str, nn.Module | None] = {"router": router, "student": student}
        if teachers is not None:
            given["teacher"] = teachers[0]
            given["more_teachers"] = nn.ModuleList(teachers[1:]) if len(teachers) > 1 else None
        else:
            kind: Any = teacher_class(config.student_config.problem_type)
            if config.labels_patches:
                kind = DLinkTeacherForEEGTokenClassification
            self.teacher = kind(config.teacher_config)
            if config.teacher_configs is not None:
                self.more_teachers = nn.ModuleList(map(kind, config.all_teachers[1:]))
        if router is None:
            self.router = DLinkRouter(config.router_config)
        if student is None:
            own: Any = student_class(config.student_config.problem_type)
            self.student = (MiCForEEGTokenClassification if config.labels_patches else own)(config.student_config)
        self.decoder = MiCDecoder(config.student_config)
        self.post_init()
        # parts that hold weights already join after the initialisation of those that are new
        for name, part in given.items():
            if part is not None:
                setattr(self, name, part)
        self.freeze_teacher()

    @classmethod
    def from_parts(
        cls,
        teacher: DLinkTeacherWithHead | Sequence[DLinkTeacherWithHead],
        student: MiCWithHead,
        router: DLinkRouter | None = None,
        **fields: Any,
    ) -> DLinkStudioModel:
        """Put a studio together from trained or fresh parts. None of them is copied.

        Args:
            teacher: fine-tuned for the task; or several of them, the one whose width, channels, rate and window are
                the student's first.
            student: the one to distil into; the licences of the teachers' weights are noted in its config.
            router: a fresh one that fits the teachers by default.
            **fields: fields of [`DLinkStudioConfig`], such as `kd_weight=0.5`.

        Raises:
            ValueError: the parts do not fit each other; the message names the field.
        """
        teachers = list(teacher) if isinstance(teacher, (list, tuple)) else [teacher]
        if not teachers:
            raise ValueError("`teacher` is an empty list: a studio needs at least one teacher.")
        labels_patches = isinstance(student, MiCForEEGTokenClassification)
        for one in teachers:
            if isinstance(one, DLinkTeacherForEEGTokenClassification) != labels_patches:
                raise ValueError(
                    f"{type(one).__name__} and {type(student).__name__} do not go together: one labels patches, the "
                    "other whole windows. Give DLinkTeacherForEEGTokenClassification with "
                    "MiCForEEGTokenClassification."
                )
        if labels_patches:
            fields["labels_patches"] = True
        # what is made from weights keeps their licences
        given = [part.config.weights_licenses for part in (student, *teachers)]
        student.config.weights_licenses = join_licences(*given)
        several = {"teacher_configs": [one.config for one in teachers]} if len(teachers) > 1 else {}
        config = DLinkStudioConfig(
            teacher_config=teachers[0].config,
            student_config=student.config,
            router_config=fields.pop("router_config", None) if router is None else router.config,
            **several,
            **fields,
        )
        return cls(config, teachers, student, router)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a saved studio, the teachers frozen; see [`DLinkPreTrainedModel.from_pretrained`]."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze_teacher()
        return loaded

    def get_input_embeddings(self) -> None:
        """None: the input is a signal, there is no table of embeddings."""
        return None

    @property
    def teachers(self) -> list[DLinkTeacherWithHead]:
        """All teachers, the first one first."""
        return [self.teacher, *getattr(self, "more_teachers", ())]

    def freeze_teacher(self) -> None:
        """Take the teachers out of training: no gradient, no dropout, and nothing to send between processes.

        Router and decoder learn only where a term of the objective reads the teacher's layers.
        """
        for part in (self.router, self.decoder):
            part.requires_grad_(self.config.uses_layers)
        for teacher in self.teachers:
            teacher.requires_grad_(False)
            teacher.eval()
        # read by DistributedDataParallel, which would send all weights once and all buffers in every step
        tensors = chain(self.named_parameters(), self.named_buffers())
        frozen = ("teacher.", "more_teachers.")
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in tensors if name.startswith(frozen)]

    def train(self, mode: bool = True) -> DLinkStudioModel:
        """Switch router, student and decoder; the teachers stay in evaluation mode."""
        self.training = mode
        for name, part in self.named_children():
            if not name.endswith(("teacher", "teachers")):
                part.train(mode)
        # a trainer calls this in every step, and a teacher has hundreds of modules
        for teacher in self.teachers:
            if any(module.training for module in teacher.modules()):
                teacher.eval()
        return self

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # the sub-models initialise themselves; only the decoder is left
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)

    def training_only_state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights that a distillation needs besides the student's to be resumed: router and decoder."""
        return {k: v for k, v in self.state_dict().items() if k.startswith(("router.", "decoder."))}

    def forward(
        self,
        input_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        class_weights: torch.Tensor | None = None,
        stage: str = "compress",
        return_dict: bool | None = None,
        teacher_states: torch.Tensor | Sequence[torch.Tensor] | None = None,
        teacher_pooled: torch.Tensor | Sequence[torch.Tensor] | None = None,
        teacher_logits: torch.Tensor | Sequence[torch.Tensor] | None = None,
        soft_targets: torch.Tensor | None = None,
        teacher_input_values: torch.Tensor | None = None,
    ) -> DLinkStudioOutput | tuple[Any, ...]:
        r"""
        Args:
            input_values (`torch.Tensor`, (B, C, T)): windows in microvolts, as the student reads them.
            labels (`torch.Tensor`, *optional*): class indices (B,), -1 for a window without a label, which takes
                part in all terms but the cross-entropies; without any labels there is no loss. Of several labels at
                once (B, num_labels) zeros and ones, -1 where one is not known; of a regression (B, num_labels)
                targets in their unit, NaN where there is none. Of models that label patches (B, S), -100 for a place
                without a label.
            class_weights (`torch.Tensor`, (num_labels,), *optional*): weights of the classes in both cross-entropies;
                of several labels at once, of a label that holds over one that does not.
            stage (`str`, *optional*, defaults to `"compress"`): `"mimic"`: the feature and spectral terms, and the
                router's own; `"compress"`: all terms.
            return_dict (`bool`, *optional*): return a [`DLinkStudioOutput`] rather than a tuple.
            teacher_states (`torch.Tensor`, (B, L, C, P, D), *optional*): layer-normalised hidden states of the
                teacher for these windows, of any floating-point type, as a [`TeacherCache`] holds them; the teacher
                is then not run. Of this and the next two, several teachers give a tuple.
            teacher_pooled (`torch.Tensor`, (B, L, D), *optional*): their means over channels and patches.
            teacher_logits (`torch.Tensor`, (B, num_labels), *optional*): the teacher's, with `teacher_states`.
            soft_targets (`torch.Tensor`, (B, num_labels), *optional*): probabilities of the classes by other models,
                such as [`cross_fitted_soft_targets`], or of each label, or their numbers; the student is distilled
                from them too.
            teacher_input_values (`torch.Tensor`, (B, C_t, T_t), *optional*): the same windows as the teachers read
                them, in microvolts, where these see more than the student; `input_values` by default.

        Returns:
            [`DLinkStudioOutput`].

        Raises:
            ValueError: the stage is unknown, the input does not fit the teacher, only one of `teacher_states` and
                `teacher_logits` is given, or `teacher_input_values` are needed.
        """
        one_of("`stage`", stage, STAGES)
        return_dict = self.config.return_dict if return_dict is None else return_dict
        if self.config.labels_patches:
            windows = input_values if teacher_input_values is None else teacher_input_values
            return self._distil_places(input_values, windows, labels, class_weights, teacher_logits, return_dict)
        if (teacher_states is None) != (teacher_logits is None):
            raise ValueError(
                "`teacher_states` and `teacher_logits` replace the teacher together: give both or neither."
            )
        trains = self.training and labels is not None
        uses_layers = self.config.uses_layers or not trains or stage == "mimic"
        if teacher_states is None and (uses_layers or self.config.kd_weight > 0):
            if teacher_input_values is None:
                self._check_one_view()
                teacher_input_values = input_values
            teacher_states, teacher_pooled, teacher_logits = self._run_teachers(teacher_input_values, uses_layers)
        if not uses_layers:
            return self._distil_logits(input_values, labels, class_weights, teacher_logits, soft_targets, return_dict)
        router = self.router(normalised_states=teacher_states, pooled_states=teacher_pooled)
        # left attached, the router would pick whichever layer is easiest to copy
        target = router.routed_state.detach()
        student = self.student.mic(input_values, return_dict=True)
        logits = self.student.classify(student.compressed_state, student.signed_state)
        mimic_state, decoded = student.mimic_state, self.decoder(student)
        # the router has read all that the teacher sees
        parts = self.config.teacher_config, self.config.student_config
        target = shared_tokens(target, *parts, n_patches=mimic_state.shape[2])
        grid = common_grid(mimic_state.shape, target.shape)
        target, mimic_state, decoded = (to_grid(state, *grid) for state in (target, mimic_state, decoded))
        output = DLinkStudioOutput(
            logits=logits,
            teacher_logits=mean_logits(teacher_logits, self.student.config.problem_type),
            router_logits=router.logits,
            router_weights=router.weights,
            routed_state=target,
            mimic_state=mimic_state,
            compressed_state=student.compressed_state,
            decoded_state=decoded,
        )
        if labels is not None:
            labels = as_targets(self.student.config, labels, logits, allow_unlabelled=True)
            loss, losses = self._objective(output, labels, class_weights, stage, soft_targets)
            # rebuilt: a tuple holds its items in the order in which they were set, and the loss comes first
            output = DLinkStudioOutput(**{**output, "loss": loss, "losses": losses})
        return output if return_dict else output.to_tuple()

    def _distil_logits(
        self,
        input_values: torch.Tensor,
        labels: torch.Tensor,
        class_weights: torch.Tensor | None,
        teacher_logits: torch.Tensor | Sequence[torch.Tensor] | None,
        soft_targets: torch.Tensor | None,
        return_dict: bool,
    ) -> DLinkStudioOutput | tuple[Any, ...]:
        """A training step in which no layer of the teacher takes part: router and decoder are left out."""
        student = self.student(input_values, return_dict=True)
        output = DLinkStudioOutput(
            logits=student.logits,
            teacher_logits=None
            if teacher_logits is None
            else mean_logits(teacher_logits, self.student.config.problem_type),
        )
        labels = as_targets(self.student.config, labels, output.logits, allow_unlabelled=True)
        over = {"over_processes": process_mean} if is_shared() else {}
        terms = self._logit_terms(output, labels, class_weights, soft_targets, **over)
        loss = sum(weight * term for weight, term in terms.values() if weight > 0)
        losses = {name: term.detach() for name, (_, term) in terms.items()}
        output = DLinkStudioOutput(**{**output, "loss": loss, "losses": losses})
        return output if return_dict else output.to_tuple()

    def _distil_places(
        self,
        input_values: torch.Tensor,
        teacher_input_values: torch.Tensor,
        labels: torch.Tensor | None,
        class_weights: torch.Tensor | None,
        teacher_logits: torch.Tensor | Sequence[torch.Tensor] | None,
        return_dict: bool,
    ) -> DLinkStudioOutput | tuple[Any, ...]:
        """A step of models that label patches: each place of a stretch counts as a window of its own."""
        config = self.config
        logits = self.student(input_values, return_dict=True).logits
        if teacher_logits is None and (config.kd_weight > 0 or labels is None):
            teacher_logits = self._run_teachers(teacher_input_values, with_states=False)[2]
        told = None if teacher_logits is None else mean_logits(teacher_logits)
        output = DLinkStudioOutput(logits=logits, teacher_logits=told)
        if labels is not None:
            over = {"over_processes": process_mean} if is_shared() else {}
            terms = place_terms(config, logits, told, labels, class_weights, **over)
            loss = sum(weight * term for weight, term in terms.values() if weight > 0)
            losses = {name: term.detach() for name, (_, term) in terms.items()}
            output = DLinkStudioOutput(**{**output, "loss": loss, "losses": losses})
        return output if return_dict else output.to_tuple()

    def _check_one_view(self) -> None:
        """Refuse to give the student's windows to a teacher that reads others."""
        if self.config.teacher_sees_more:
            seen = [
                f"{len(config.ch_names)} channels and {config.n_times} samples"
                for config in (self.config.teacher_config, self.config.student_config)
            ]
            raise ValueError(
                f"The teacher reads {seen[0]}, the student {seen[1]}: each needs windows of its own. Give the "
                "teacher's as `teacher_input_values`: with_teacher_view(student_windows, teacher_windows)."
            )

    @torch.no_grad()
    def _run_teachers(self, input_values: torch.Tensor, with_states: bool = True) -> tuple[Any, Any, Any]:
        """What the router reads of each teacher (None without states), and its logits; of several, tuples of each."""
        outputs = []
        for teacher in self.teachers:
            windows = windows_for(input_values, self.config.teacher_config, teacher.config)
            output = teacher(windows, output_hidden_states=with_states, return_dict=True)
            states = normalise_layers(output.hidden_states) if with_states else (None, None)
            outputs.append((*states, output.logits))
        return outputs[0] if len(outputs) == 1 else tuple(zip(*outputs, strict=True))

    def _objective(
        self,
        output: DLinkStudioOutput,
        labels: torch.Tensor,
        class_weights: torch.Tensor | None,
        stage: str,
        soft_targets: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted sum of the stage's terms, and every term by its name."""
        config = self.config
        # all processes come here in every step with the same terms
        over = {"over_processes": process_mean} if is_shared() else {}
        terms = mimic_terms(config, output.routed_state, output.mimic_state, output.decoded_state, **over)
        terms["router_task_loss"] = (
            config.router_task_weight,
            self._task_loss(in_target_unit(self.student.config, output.router_logits), labels, class_weights, **over),
        )
        balance = router_balance_loss(output.router_weights, **over)
        terms["router_balance_loss"] = (config.router_balance_weight, balance)
        terms["router_entropy"] = (config.router_entropy_weight, router_entropy(output.router_weights))
        if stage == "compress":
            terms |= self._logit_terms(output, labels, class_weights, soft_targets, **over)
        loss = sum(weight * term for weight, term in terms.values() if weight > 0)
        return loss, {name: term.detach() for name, (_, term) in terms.items()}

    def _task_loss(
        self, logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None, **over: Any
    ) -> torch.Tensor:
        """The loss of logits (B, num_labels) by the labels, whatever the problem type."""
        config = self.student.config
        if config.problem_type in (REGRESSION, MULTI_LABEL):
            return head_loss(config, logits, labels, class_weights, **over)
        return classification_loss(logits, labels, class_weights, **over)

    def _taught(self, logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
        """How far the student's logits are from the teacher's, whatever the problem type."""
        config, temperature = self.student.config, self.config.kd_temperature
        if config.problem_type == REGRESSION:
            return target_distillation_loss(config, logits, teacher_logits)
        loss = label_distillation_loss if config.problem_type == MULTI_LABEL else logit_distillation_loss
        return loss(logits, teacher_logits, temperature)

    def _logit_terms(
        self,
        output: DLinkStudioOutput,
        labels: torch.Tensor,
        class_weights: torch.Tensor | None,
        soft_targets: torch.Tensor | None,
        **over: Any,
    ) -> dict[str, tuple[float, torch.Tensor]]:
        """The terms of the student's logits, by name, each with its weight."""
        config = self.config
        task = self._task_loss(output.logits, labels, class_weights, **over)
        terms = {"task_loss": (config.task_weight, task)}
        if output.teacher_logits is not None:
            terms["kd_loss"] = (config.kd_weight, self._taught(output.logits, output.teacher_logits))
        if soft_targets is not None:
            told = soft_targets
            if self.student.config.problem_type != REGRESSION:
                # a probability of zero has no logarithm
                several = self.student.config.problem_type == MULTI_LABEL
                told = soft_targets.logit(1e-4) if several else soft_targets.clamp_min(1e-4).log()
            terms["soft_target_loss"] = (config.soft_target_weight, self._taught(output.logits, told))
        return terms


__all__ = ["STAGES", "DLinkStudioModel", "DLinkStudioOutput", "MiCDecoder"]
