# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""transformers' `Trainer` for a general student: batches of one montage each, with labels or without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from ...core.checks import one_of
from ...data.collator import EEGDataCollator
from ...data.description import alignment_info, signal_info
from ...data.unlabelled import MixedWindows, MontageBatchSampler
from ...evaluation.metrics import compute_metrics
from ...training.augmentation import EEGAugmentation
from ...training.base_trainer import CLASS_WEIGHTINGS, AugmentedTrainer, StudioTrainer, balanced_class_weights
from .backbone_distillation import BackboneStudio, BackboneStudioOutput, LabelledSet


# windows of each source that the statistics of the batch normalisation are taken from
_SETTLING_WINDOWS = 128
FILTER_RATE = 1 / 64
# terms that every batch has, and that are measured on subjects held out
_MIMIC_TERMS = ("route_", "magnitude_", "phase_")


@dataclass(frozen=True)
class WindowSource:
    """Windows of one montage, of one set of recordings.

    Args:
        dataset: with signal facts (`set_signal_info`), `input_values` and, where they count, `labels`.
        name: of the set.
        labelled: whether the labels count.
        group_column: column that training and held-out windows of the same set must not share a value of.
    """

    dataset: Dataset
    name: str
    labelled: bool = False
    group_column: str = "subject"

    @cached_property
    def ch_names(self) -> tuple[str, ...]:
        """The channels."""
        return signal_info(self.dataset).ch_names

    @cached_property
    def key(self) -> str:
        """Name of the set, and of the alignment where there is one."""
        alignment = alignment_info(self.dataset)
        return self.name if alignment is None else f"{self.name}_{alignment['method']}"

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return self.dataset.features["labels"].num_classes

    @property
    def groups(self) -> set[str]:
        """Who is in it."""
        return set(map(str, self.dataset[self.group_column][:]))


def labelled_sets(sources: Sequence[WindowSource]) -> dict[str, LabelledSet]:
    """Return what the heads of a [`BackboneStudio`] depend on, by name of the set.

    Raises:
        ValueError: two sources of one set differ in channels or classes.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for source in sources:
        if source.labelled:
            facts = (source.ch_names, tuple(source.dataset.features["labels"].names))
            if found.setdefault(source.name, facts) != facts:
                raise ValueError(f"Labelled windows of {source.name} differ: {found[source.name]} and {facts}.")
    return {name: LabelledSet(len(ch_names), len(labels)) for name, (ch_names, labels) in found.items()}


class SourceWindows(MixedWindows):
    """Windows of several sources as one dataset; each row says which source it is of.

    Args:
        sources: none of them empty.
    """

    def __init__(self, sources: Sequence[WindowSource]):
        self.sources = sources
        columns = [["input_values", "labels"] if source.labelled else ["input_values"] for source in sources]
        super().__init__(
            [source.dataset.select_columns(names) for source, names in zip(sources, columns, strict=True)]
        )

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        which = int(np.searchsorted(self.ends, index, side="right"))
        start = 0 if which == 0 else self.ends[which - 1]
        return {**self.datasets[which][int(index - start)], "source": which}

    @staticmethod
    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return a batch of [`EEGDataCollator`], and `source` (B,): the number of the source, the same in all rows."""
        return {**EEGDataCollator()(rows), "source": torch.tensor([row["source"] for row in rows])}


class BackboneTrainer(AugmentedTrainer, StudioTrainer):
    """Train a [`BackboneStudio`]: [`transformers.Trainer`] on mixed montages, every term logged.

    What is saved is the student and the feature extractor; a `checkpoint-*` folder also holds router, decoder and
    heads, from which `resume_from_checkpoint` goes on, on one process exactly where it stopped
    (the same bits on the same machine with the same number of threads).

    Args:
        model ([`BackboneStudio`]): teacher, router, student and heads. Where its normalisation is fixed, the
            statistics are taken from `train_sources` here, and never again; a checkpoint brings its own.
        args ([`transformers.TrainingArguments`]): as for `Trainer`.
        train_sources: windows to train on; a source that is listed twice is seen twice an epoch.
        eval_sources: windows of other subjects, which the held-out terms and scores are of.
        augmentation ([`EEGAugmentation`], *optional*): changes the windows of each step, for teacher and student.
        class_weighting: `"balanced"` weighs each class by N / (num_labels * its count) in its set, or `"none"`.
        filter_rate: learning rate of the kernels of the student's filter bank over that of everything else. Their
            values are some 64 times smaller than other weights, and AdamW moves all by as much: at a rate of 1 they
            lose their bands within an epoch, and a task of narrow bands that comes later finds none.
        **kwargs: as for `Trainer`, such as `processing_class` (the feature extractor).

    Raises:
        ValueError: there are no windows to train on, a set has windows of the same subjects on both sides, a class
            does not occur, or sources of a set contradict each other.
    """

    # a process may have had no batch of some set since the last log
    _same_terms = False

    def __init__(
        self,
        model: BackboneStudio,
        args: TrainingArguments,
        train_sources: Sequence[WindowSource],
        eval_sources: Sequence[WindowSource] = (),
        augmentation: EEGAugmentation | None = None,
        class_weighting: str = "balanced",
        filter_rate: float = FILTER_RATE,
        **kwargs: Any,
    ):
        if not 0 <= filter_rate <= 1:
            raise ValueError(f"`filter_rate` must lie in 0 ... 1, got {filter_rate}.")
        self.filter_rate = filter_rate
        train_sources, eval_sources = (
            [s for s in sources if len(s.dataset)] for sources in (train_sources, eval_sources)
        )
        if not train_sources:
            raise ValueError("`train_sources` hold no window.")
        one_of("`class_weighting`", class_weighting, CLASS_WEIGHTINGS)
        labelled_sets([*train_sources, *eval_sources])
        self._class_weights: dict[str, torch.Tensor] = {}
        for name in dict.fromkeys(source.name for source in train_sources):
            seen, held = (
                [source for source in sources if source.name == name] for sources in (train_sources, eval_sources)
            )
            shared = sorted(set.union(*(s.groups for s in seen)) & set().union(*(s.groups for s in held)))
            if shared:
                raise ValueError(f"{name}: {', '.join(shared)} are in the training and in the held-out windows.")
            labels = [np.asarray(source.dataset["labels"][:]) for source in seen if source.labelled]
            if labels and class_weighting == "balanced":
                n_labels = next(source.num_labels for source in seen if source.labelled)
                self._class_weights[name] = balanced_class_weights(np.concatenate(labels), n_labels)
        self.sources, self.eval_sources = train_sources, eval_sources
        args.remove_unused_columns = False
        # a batch leaves the heads of other sets without gradients
        if args.ddp_find_unused_parameters is None:
            args.ddp_find_unused_parameters = True
        super().__init__(
            model=model,
            args=args,
            train_dataset=SourceWindows(train_sources),
            eval_dataset=SourceWindows(eval_sources) if eval_sources else None,
            data_collator=SourceWindows.collate,
            augmentation=augmentation,
            **kwargs,
        )
        if model.fixed_normalisation:
            self._settle_normalisation()

    def _settle_normalisation(self) -> None:
        """Take the statistics of the student's batch normalisation from windows spread evenly over each source."""

        def batches() -> Iterator[torch.Tensor]:
            for source in {id(source.dataset): source for source in self.sources}.values():
                n_rows = len(source.dataset)
                rows = np.linspace(0, n_rows - 1, min(n_rows, _SETTLING_WINDOWS)).round().astype(int)
                windows = source.dataset.select_columns(["input_values"]).with_format("torch")
                yield windows[rows]["input_values"].to(self.args.device)

        self.studio.settle_normalisation(batches())

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer that the arguments name, with a slower rate for the kernels of the filter bank."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        kernels = self.studio.student.filter_bank.filters.weight
        if not is_new or self.filter_rate == 1:
            return optimizer
        for group in list(optimizer.param_groups):
            rest = [parameter for parameter in group["params"] if parameter is not kernels]
            if len(rest) < len(group["params"]):
                group["params"] = rest
                slower = {**group, "params": [kernels], "lr": self.filter_rate * group["lr"]}
                optimizer.add_param_group(slower)
        return optimizer

    def get_train_dataloader(self) -> DataLoader:
        """Shuffled batches, each of one source."""
        sampler = MontageBatchSampler(self.train_dataset, self._train_batch_size, seed=self.args.seed)
        return self._loader(self.train_dataset, batch_sampler=sampler)

    def _loader(self, windows: SourceWindows, **kwargs: Any) -> DataLoader:
        loader = DataLoader(
            windows,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            **kwargs,
        )
        return self.accelerator.prepare(loader)

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the objective of a batch; its terms are added up for the log."""
        output = self._run(model, inputs, self.sources[int(inputs["source"][0])])
        self.collect_terms(output)
        return (output.loss, output) if return_outputs else output.loss

    def _run(self, model: nn.Module, inputs: Mapping[str, Any], source: WindowSource) -> BackboneStudioOutput:
        """The model on a batch of a source."""
        windows = inputs["input_values"]
        if not source.labelled:
            return model(windows, source.ch_names)
        weights = self._class_weights.get(source.name)
        weights = None if weights is None else weights.to(windows.device)
        return model(windows, source.ch_names, source.name, inputs["labels"], weights)

    @torch.no_grad()
    def evaluate(
        self,
        eval_dataset: Sequence[WindowSource] | None = None,
        ignore_keys: Any = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Held-out terms and scores.

        Args:
            eval_dataset: sources; those of the trainer by default.
            ignore_keys: not used.
            metric_key_prefix: of the names below.

        Returns:
            `eval_loss`; `eval_route_error`, the squared distance of mimic and routed state over the latter's square (1
            is what zeros get), and of each set (and alignment) `eval_SET_route_error`; the means of the spectral
            terms; of each labelled set `eval_SET_balanced_accuracy` and `eval_SET_router_balanced_accuracy` (AUROC
            alike), by the student's and by the router's head, and their means over the sets.
        """
        self.model.eval()
        rows, squares, scores = [], {}, {}
        for source in self.eval_sources if eval_dataset is None else eval_dataset:
            terms, logits = self._measure(source)
            rows.append(terms)
            # squares of the distance and of the target come first
            squares.setdefault(source.key, []).append(terms["squares"])
            if logits is not None:
                student, router, labels = logits
                for kind, given in (("", student), ("router_", router)):
                    found = compute_metrics((given.numpy(), labels.numpy()))
                    for score in ("balanced_accuracy", "auroc"):
                        scores[f"{source.key}_{kind}{score}"] = found[score]
        metrics = {name: torch.cat([row[name] for row in rows]).mean().item() for name in rows[0] if name != "squares"}
        for key, found in squares.items():
            metrics[f"{key}_route_error"] = _relative(found)
        metrics["route_error"] = _relative([one for found in squares.values() for one in found])
        for kind in ("router_balanced_accuracy", "router_auroc", "balanced_accuracy", "auroc"):
            of_kind = [v for k, v in scores.items() if k.endswith(kind) and ("router_" in k) == ("router_" in kind)]
            if of_kind:
                metrics[kind] = float(np.mean(of_kind))
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in {**metrics, **scores}.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _measure(self, source: WindowSource) -> tuple[dict[str, torch.Tensor], tuple[torch.Tensor, ...] | None]:
        """Terms of each window of a source; where it is labelled, logits of student and router, and the labels."""
        terms: dict[str, list[torch.Tensor]] = {}
        logits: list[tuple[torch.Tensor, ...]] = []
        for batch in self._loader(SourceWindows([source]), batch_size=self.args.per_device_eval_batch_size):
            inputs = self._prepare_inputs(batch)
            with self.compute_loss_context_manager():
                output = self._run(self.model, inputs, source)
            target, distance = output.routed_state.float(), output.mimic_state.float() - output.routed_state.float()
            found = {name: value for name, value in output.losses.items() if name.startswith(_MIMIC_TERMS)}
            found = {name: value.expand(len(target)) for name, value in {"loss": output.loss, **found}.items()}
            found["squares"] = torch.stack([distance.square().sum((1, 2, 3)), target.square().sum((1, 2, 3))], dim=1)
            for name, value in found.items():
                terms.setdefault(name, []).append(
                    self.accelerator.gather_for_metrics(value.contiguous()).cpu().double()
                )
            if source.labelled:
                given = (output.logits.float(), output.router_logits.float(), inputs["labels"])
                logits.append(tuple(one.cpu() for one in self.accelerator.gather_for_metrics(given)))
        whole = {name: torch.cat(values) for name, values in terms.items()}
        return whole, tuple(map(torch.cat, zip(*logits, strict=True))) if logits else None


def _relative(squares: Sequence[torch.Tensor]) -> float:
    """Sum of squared distances over that of squared targets, of pairs (N, 2)."""
    distance, target = torch.cat(list(squares)).sum(0).tolist()
    return distance / max(target, 1e-12)


__all__ = ["FILTER_RATE", "BackboneTrainer", "SourceWindows", "WindowSource", "labelled_sets"]
