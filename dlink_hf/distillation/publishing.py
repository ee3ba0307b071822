# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A trainer that keeps what the student's card tells, writes it, and publishes the student."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from huggingface_hub import CommitInfo
from transformers.trainer_utils import EvalLoopOutput

from ..data.aligned_windows import alignment_text
from ..data.collator import TEACHER_VALUES
from ..data.model_contract import label_names
from ..data.targets import is_single_label, target_values
from ..data.views import teacher_view
from ..evaluation.metrics import score_names, scores_for
from ..evaluation.predict import predict_outputs
from ..hub.model_card import save_model_card
from ..hub.publish import publish_folder
from .training_card import SPLITS, TrainingRecord, build_training_card


class PublishingMixin:
    """`create_model_card` and `push_to_hub` of a [`DLinkTrainer`], from what its evaluations and its log have shown.

    Attributes:
        record ([`TrainingRecord`]): predictions of every split evaluated since the training, and its windows.
        train_minutes (`float`): how long the training took; None before it.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self.train_minutes: float | None = None
        self._loop_output: EvalLoopOutput | None = None
        super().__init__(*args, **kwargs)
        self.record = TrainingRecord(self.args.group_column)

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; see [`transformers.Trainer.train`]."""
        started = time.perf_counter()
        result = super().train(*args, **kwargs)
        self.train_minutes = (time.perf_counter() - started) / 60
        # what was seen on the way may not be what was kept
        self.record = TrainingRecord(self.args.group_column)
        return result

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Return the loop of `Trainer`; its predictions are kept for the card."""
        self._loop_output = super().evaluation_loop(*args, **kwargs)
        return self._loop_output

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Score the student; see [`transformers.Trainer.evaluate`]. The card will tell the scores.

        Args:
            eval_dataset: windows, or a dictionary of them; those of the trainer by default.
            ignore_keys: as for `Trainer`.
            metric_key_prefix: `"eval"` is the validation split of the card, anything else its name, such as `"test"`.
        """
        metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        output, self._loop_output = self._loop_output, None
        if isinstance(dataset, Dataset) and output is not None and output.label_ids is not None:
            split = SPLITS.get(metric_key_prefix, metric_key_prefix.removeprefix("eval_"))
            self.record.add(split, output.predictions, output.label_ids, dataset)
        return metrics

    def teacher_score(self, dataset: Dataset) -> float | None:
        """Balanced accuracy of the first teacher on labelled windows; of another problem type its first score.

        It reads them as the student does, or its own view next to them (`with_teacher_view`); None where it sees more
        than its student and they lack that.
        """
        teacher = self.studio.teachers[0]
        if self.studio.config.teacher_sees_more and TEACHER_VALUES not in dataset.column_names:
            return None
        dataset = teacher_view(dataset)
        config = teacher.config
        labels = np.asarray(dataset["labels"][:]) if is_single_label(teacher) else target_values(dataset)
        scores = scores_for(config, labels, predict_outputs(teacher, dataset), None, label_names(teacher))
        return float(scores[score_names(config)[0]])

    def dataset_facts(self) -> dict[str, Any]:
        """Return how many windows, and of how many subjects, the student was trained and scored on."""
        facts: dict[str, Any] = {"subject_wise": self.args.group_column == "subject"}
        for split, dataset in {"train": self.train_dataset, **self.record.datasets}.items():
            if not isinstance(dataset, Dataset):
                continue
            facts[f"{split}_windows"] = len(dataset)
            if self.args.group_column in dataset.column_names:
                facts[f"{split}_{self.args.group_column}s"] = len(set(dataset[self.args.group_column][:]))
        if isinstance(self.train_dataset, Dataset) and (text := alignment_text(self.train_dataset)):
            facts["alignment"] = text
        return facts

    def create_model_card(self, model_name: str | None = None, model_id: str | None = None, **facts: Any) -> None:
        """Write the student's card and its plots into `args.output_dir`; what users wrote in a card there stays.

        Where no split was evaluated since the training, `eval_dataset` is.

        Args:
            model_name: heading of the card; the folder's name by default.
            model_id: what `from_pretrained` takes in the snippet; the folder by default.
            **facts: as [`build_model_card`] takes them: `dataset={"name": ..., "license": ...}`, `teacher`, `limits`,
                `license`, `tags` ... They replace what the trainer knows; `dataset` is added to it.
        """
        if not self.record.predictions and isinstance(self.eval_dataset, Dataset):
            self.evaluate()
        if not self.is_world_process_zero():
            return
        folder = Path(self.args.output_dir)
        if "dataset" in facts:
            facts["dataset"] = {**facts["dataset"], **self.dataset_facts()}
        name = model_name or folder.absolute().name
        card = build_training_card(self, folder, name, model_id or str(folder), **facts)
        save_model_card(card, folder)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        create_pr: bool = False,
        remote_code: bool | None = None,
        despite_no_derivatives: bool = False,
        **kwargs: Any,
    ) -> CommitInfo | None:
        """Save the student with its feature extractor and card, and publish it in one commit.

        Args:
            commit_message: of the commit.
            blocking: only True: the upload is of a few hundred kilobytes.
            token: that of `args.hub_token`, or of the user who is logged in, by default.
            revision: branch; `args.hub_revision` by default.
            private: whether a new repository is private; `args.hub_private_repo` by default.
            create_pr, remote_code, despite_no_derivatives: as for [`publish.publish_folder`].
            **kwargs: as for `create_model_card`.

        Returns:
            `huggingface_hub.CommitInfo`; None in processes other than the first.

        Raises:
            ValueError, OSError: as [`publish.publish_folder`]. The student is saved all the same.
        """
        if not blocking:
            raise ValueError("`blocking=False`: a student is published in a second or two, and only while one waits.")
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        self.save_model(_internal_call=True)
        folder = Path(self.args.output_dir)
        repo_id = self.hub_model_id or self.args.hub_model_id or folder.absolute().name
        self.create_model_card(kwargs.pop("model_name", repo_id.split("/")[-1]), repo_id, **kwargs)
        if not self.is_world_process_zero():
            return None
        return publish_folder(
            folder,
            repo_id,
            commit_message=commit_message,
            token=token or self.args.hub_token,
            revision=revision or self.args.hub_revision,
            private=self.args.hub_private_repo if private is None else private,
            create_pr=create_pr,
            remote_code=remote_code,
            despite_no_derivatives=despite_no_derivatives,
        )


__all__ = ["PublishingMixin"]
