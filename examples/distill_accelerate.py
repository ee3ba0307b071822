# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Distil a teacher into a student with Accelerate, the training loop in plain sight.

    python examples/distill_accelerate.py --teacher outputs/teacher --dataset windows
    accelerate launch --config_file examples/configs/multi_gpu.yaml examples/distill_accelerate.py --teacher ...

Steps, losses and files are those of `DLinkTrainer` with the same settings; take that one unless the loop itself is to
be changed. `examples/configs/` holds configurations for one and several processors, GPUs and nodes.
"""

import argparse
import json
import math
import shutil
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import datasets
import numpy as np
import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.utils import DistributedType, set_seed
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import Trainer, get_scheduler

import dlink_hf as dl
from dlink_hf.core.atomic_files import staged
from dlink_hf.data.model_contract import check_training_windows, label_names
from dlink_hf.distillation.training_card import router_facts, teacher_facts
from dlink_hf.evaluation.metrics import SCORES
from dlink_hf.models.token_grid import student_fields
from dlink_hf.training.base_trainer import balanced_class_weights


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset", default="synthetic", help="`synthetic`, or a folder of `save_to_disk`, or of `dlink prepare`")
    add("--shuffle_buffer", type=int, default=2000, help="windows that are mixed while shards are streamed")
    add("--teacher", required=True, help="fine-tuned for these windows: folder or Hub id")
    add("--student", help="start from this student: folder, Hub id or short name")
    add("--student_size", default="small", choices=["tiny", "small", "base"], help="of a fresh student")
    add("--feature_extractor", help="what the windows were made with: folder or Hub id; saved with the student")
    add("--output_dir", default="outputs/distill_accelerate", help="on a disk that all nodes share")
    add("--num_train_epochs", type=float, default=30)
    add("--max_train_steps", type=int, help="in place of the epochs")
    add(
        "--mimic_epochs", type=float, default=0, help="epochs of a first stage of layers and spectra alone, out of all"
    )
    for name in ("kd_weight", "route_weight", "spectral_weight"):
        add(f"--{name}", type=float, default=getattr(dl.DLinkStudioConfig(), name), help="see DLinkStudioConfig")
    add("--per_device_train_batch_size", type=int, default=32)
    add("--per_device_eval_batch_size", type=int, default=64)
    add("--gradient_accumulation_steps", type=int, default=1)
    add("--learning_rate", type=float, default=2e-3)
    add("--weight_decay", type=float, default=0.0)
    add("--max_grad_norm", type=float, default=1.0)
    add("--lr_scheduler_type", default="linear")
    add("--num_warmup_steps", type=int, default=0)
    add("--class_weighting", default="none", choices=["none", "balanced"])
    add("--mixed_precision", choices=["no", "fp16", "bf16"], help="that of `accelerate config` by default")
    add("--router_dropout", type=float, default=0.1)
    add("--dtype", default="float32", choices=["float32", "float64"], help="float64 to compare two trainings")
    add("--seed", type=int, default=42)
    add("--logging_steps", type=int, default=10)
    add("--checkpointing_steps", help="a number of steps, or `epoch`; none are written by default")
    add("--resume_from_checkpoint", help="a folder `step_N`, or `latest`: the newest one, if there is any")
    add("--with_tracking", action="store_true")
    add("--report_to", default="all", help="tensorboard, wandb, trackio ...")
    add("--process_timeout", type=float, default=60, help="seconds after which a process no longer waits for another")
    add("--push_to_hub", action="store_true")
    add("--hub_model_id", help="user/name; that of the folder by default")
    args = parser.parse_args()
    if args.mimic_epochs > 0 and not args.route_weight and not args.spectral_weight:
        parser.error("--mimic_epochs is about the teacher's layers: give --route_weight or --spectral_weight too")
    return args


def load_windows(args: argparse.Namespace):
    """Return training and validation windows, no subject in both; every training label; the extractor, if known."""
    if "://" in args.dataset or (Path(args.dataset) / "manifest.json").is_file():
        manifest = dl.ShardManifest.read(args.dataset)
        train = dl.load_shards(args.dataset).shuffle(seed=args.seed, buffer_size=args.shuffle_buffer)
        labels = np.repeat(range(len(manifest.label_names)), list(manifest.label_counts("train").values()))
        extractor = dl.EEGFeatureExtractor.from_pretrained(args.dataset) if Path(args.dataset).is_dir() else None
        return train, dl.load_shards(args.dataset, "validation", streaming=False), labels, extractor
    if args.dataset == "synthetic":
        extractor = dl.EEGFeatureExtractor(n_times=1000, l_freq=0.5)
        windows = dl.synthetic_dataset(extractor=extractor, progress=False)
        extractor.ch_names = dl.signal_fields(windows)["ch_names"]
    else:
        windows, extractor = datasets.load_from_disk(args.dataset), None
    splits = windows if isinstance(windows, dict) else dl.split_by_subject(windows, validation=0.2)
    dl.check_no_shared_subjects({name: splits[name] for name in ("train", "validation")})
    train, validation = (splits[name].with_format("numpy") for name in ("train", "validation"))
    return train, validation, train["labels"][:], extractor


@torch.no_grad()
def evaluate(
    accelerator: Accelerator, student: torch.nn.Module, loader: DataLoader, people: Iterable[str], names: list
) -> dict:
    """Scores over all windows and of each person; every window counts once, however many processes there are."""
    student.eval()
    parts = []
    for batch in loader:
        with accelerator.autocast():
            logits = student(batch["input_values"]).logits.float()
        # the last batch is filled up so that all processes have one; what fills it is dropped here
        parts.append(accelerator.gather_for_metrics((logits, batch["labels"], batch["person"])))
    logits, labels, person = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    probabilities = logits.double().softmax(-1).numpy()
    return dl.classification_scores(labels.numpy(), probabilities, [list(people)[i] for i in person], names)


def save_checkpoint(accelerator: Accelerator, folder: Path, progress: dict) -> None:
    """Write all that a training needs to go on, under another name until it is whole."""
    partial = folder.with_name(f".saving-{folder.name}")
    if accelerator.is_main_process:
        shutil.rmtree(partial, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(partial))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (partial / "progress.json").write_text(json.dumps(progress), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def find_checkpoint(args: argparse.Namespace, same: dict) -> tuple[Path | None, dict]:
    """The checkpoint to go on from and how far it is; refused where windows would come in another order."""
    folder = Path(args.resume_from_checkpoint or "")
    if args.resume_from_checkpoint == "latest":
        found = sorted(Path(args.output_dir).glob("step_*"), key=lambda path: int(path.name.split("_")[1]))
        folder = found[-1] if found else None
    if args.resume_from_checkpoint is None or folder is None:
        return None, {"step": 0, "epoch": 0, "batch": 0, "trained": 0.0, "history": [], **same}
    progress = json.loads((folder / "progress.json").read_text("utf-8"))
    changed = [f"{key} {progress[key]}, now {value}" for key, value in same.items() if progress[key] != value]
    if changed:
        raise ValueError(
            f"{folder} was written with {'; '.join(changed)}: windows and random numbers would come in another order. "
            "Resume with the same settings, or start a new training from its weights with --student."
        )
    return folder, progress


def main() -> None:
    args = parse_arguments()
    output_dir = Path(args.output_dir)
    accelerator = Accelerator(
        # without a GPU, processes find each other only if they are told that there is none
        cpu=not torch.accelerator.is_available(),
        mixed_precision=args.mixed_precision,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        log_with=args.report_to if args.with_tracking else None,
        project_dir=output_dir,
        # one step of the schedule a step of the optimizer, however many processes there are
        step_scheduler_with_optimizer=False,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
        kwargs_handlers=[
            # the classifier has no gradient in a first stage. The frozen teacher is left out of what processes send
            # each other: see `DLinkStudioModel.freeze_teacher`
            DistributedDataParallelKwargs(find_unused_parameters=True),
            InitProcessGroupKwargs(timeout=timedelta(seconds=args.process_timeout)),
        ],
    )
    train, validation, labels, extractor = load_windows(args)
    if args.feature_extractor:
        extractor = dl.EEGFeatureExtractor.from_pretrained(args.feature_extractor)
    people = {name: number for number, name in enumerate(sorted(set(validation["subject"][:])))}

    set_seed(args.seed)
    teacher = dl.DLinkTeacherForEEGClassification.from_pretrained(args.teacher)
    signal = dl.signal_fields(train)
    if args.student:
        student = dl.MiCForEEGClassification.from_pretrained(args.student, ignore_mismatched_sizes=True, **signal)
    else:
        fields = {**signal, **student_fields(teacher.config)}
        student = dl.MiCForEEGClassification(dl.MiCConfig.from_size(args.student_size, **fields))
    router = dl.DLinkRouterConfig.from_teacher(teacher.config, router_dropout=args.router_dropout)
    objective = {name: getattr(args, name) for name in ("kd_weight", "route_weight", "spectral_weight")}
    studio = dl.DLinkStudioModel.from_parts(teacher, student, router_config=router, **objective)
    studio = studio.to(getattr(torch, args.dtype))
    check_training_windows(studio, train)
    class_weights = None
    if args.class_weighting == "balanced":
        class_weights = balanced_class_weights(labels, student.config.num_labels).to(accelerator.device)

    collate = dl.EEGDataCollator()

    def collate_with_person(rows: list[dict]) -> dict[str, torch.Tensor]:
        return {**collate(rows), "person": torch.tensor([people[row["subject"]] for row in rows])}

    # as Trainer has it: biases and norms do not decay
    decaying = Trainer.get_decay_parameter_names(None, studio)
    learning = [(name, parameter) for name, parameter in studio.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for name, p in learning if name in decaying], "weight_decay": args.weight_decay},
        {"params": [p for name, p in learning if name not in decaying], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, fused=True)
    # the order of the windows depends only on the seed
    set_seed(args.seed)
    # a stream is in random order already
    shuffle = isinstance(train, datasets.Dataset)
    train_loader = DataLoader(train, args.per_device_train_batch_size, shuffle=shuffle, collate_fn=collate)
    eval_loader = DataLoader(validation, args.per_device_eval_batch_size, collate_fn=collate_with_person)
    accumulated = accelerator.gradient_accumulation_steps
    n_batches = math.ceil(len(labels) / (args.per_device_train_batch_size * accelerator.num_processes))
    steps_per_epoch = math.ceil(n_batches / accumulated)
    max_steps = args.max_train_steps or math.ceil(args.num_train_epochs * steps_per_epoch)
    scheduler = get_scheduler(args.lr_scheduler_type, optimizer, args.num_warmup_steps, max_steps)
    model, optimizer, train_loader, eval_loader, scheduler = accelerator.prepare(
        studio, optimizer, train_loader, eval_loader, scheduler
    )

    def save_learning_parts(models: list, weights: list, folder: str) -> None:
        # the teacher stays as it is and is in no checkpoint; student and router are safetensors. Not for FSDP and
        # DeepSpeed, which write their parts themselves and pass no weights
        if weights and accelerator.is_main_process:
            studio.student.save_pretrained(folder)
            save_file(studio.training_only_state_dict(), Path(folder) / "training_only.safetensors")
        weights.clear()

    def load_learning_parts(models: list, folder: str) -> None:
        if models:
            studio.student.load_state_dict(load_file(Path(folder) / "model.safetensors"))
            studio.load_state_dict(load_file(Path(folder) / "training_only.safetensors"), strict=False)
        models.clear()

    accelerator.register_save_state_pre_hook(save_learning_parts)
    accelerator.register_load_state_pre_hook(load_learning_parts)
    # evaluated by itself, as it will be used; sharded weights are whole only inside of the studio's own forward
    alone = model if accelerator.distributed_type == DistributedType.FSDP else studio.student

    same = {
        "num_processes": accelerator.num_processes,
        "per_device_train_batch_size": args.per_device_train_batch_size,
        "gradient_accumulation_steps": accumulated,
        "training windows": len(labels),
        "seed": args.seed,
    }
    checkpoint, progress = find_checkpoint(args, same)
    step, trained, history, skipped = (progress[key] for key in ("step", "trained", "history", "batch"))
    if checkpoint is not None and not skipped:
        accelerator.load_state(str(checkpoint))
    if args.with_tracking:
        accelerator.init_trackers("dlink", config=vars(args))

    def report(values: dict) -> None:
        history.append({"step": step, "epoch": trained, **values})
        accelerator.log(values, step=step)
        accelerator.print(json.dumps(history[-1]), flush=True)

    def is_due() -> bool:
        return (args.checkpointing_steps or "").isdigit() and step % int(args.checkpointing_steps) == 0

    def save(epoch: int, batch: int) -> None:
        place = {"epoch": epoch + batch // n_batches, "batch": batch % n_batches}
        now = {"step": step, "trained": trained, "history": history, **place, **same}
        save_checkpoint(accelerator, output_dir / f"step_{step}", now)

    scores, collected = None, []
    for epoch in range(progress["epoch"], math.ceil(max_steps / steps_per_epoch)):
        model.train()
        train_loader.set_epoch(epoch)
        batches = accelerator.skip_first_batches(train_loader, skipped) if skipped else train_loader
        for index, batch in enumerate(batches, skipped):
            if skipped:
                # not before the data loader has drawn its own random number, as it did in the first run
                accelerator.load_state(str(checkpoint))
                done, skipped = skipped, 0
            if step >= max_steps:
                break
            with accelerator.accumulate(model):
                stage = "mimic" if trained < args.mimic_epochs else "compress"
                outputs = model(**batch, class_weights=class_weights, stage=stage)
                # the last step of an epoch may have fewer batches
                share = min(accumulated, n_batches - index // accumulated * accumulated)
                accelerator.backward(outputs.loss * (accumulated / share))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), args.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
            done = index + 1
            # there are none where no term reads the layers
            routed = [] if outputs.router_weights is None else outputs.router_weights.detach().float().mean(0)
            weights = {f"router_weight_{layer}": weight for layer, weight in enumerate(routed, 1)}
            collected.append({"loss": outputs.loss.detach(), **outputs.losses, **weights})
            if not accelerator.sync_gradients:
                continue
            learning_rate = scheduler.get_last_lr()[0]
            if not accelerator.optimizer_step_was_skipped:
                scheduler.step()
            step, trained = step + 1, epoch + done / n_batches
            if step % args.logging_steps == 0:
                names = sorted({name for terms in collected for name in terms})
                means = [torch.stack([one[name] for one in collected if name in one]).mean() for name in names]
                means = accelerator.reduce(torch.stack(means), "mean").tolist()
                report({**dict(zip(names, means, strict=True)), "learning_rate": learning_rate})
                collected = []
            if is_due() and done < n_batches:
                save(epoch, done)
        # in the first stage the classifier is not trained yet
        if trained > args.mimic_epochs:
            scores = evaluate(accelerator, alone, eval_loader, people, label_names(student))
            report({f"eval_{name}": scores[name] for name in SCORES})
        if args.checkpointing_steps == "epoch" or (is_due() and done == n_batches):
            save(epoch, done)

    scores = scores or evaluate(accelerator, alone, eval_loader, people, label_names(student))
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        own = {name.removeprefix("student."): value for name, value in weights.items() if name.startswith("student.")}
        student.save_pretrained(output_dir, state_dict=own)
        if extractor is not None:
            extractor.save_pretrained(output_dir)
        with staged(output_dir) as partial:
            (partial / "all_results.json").write_text(json.dumps(scores, indent=2), encoding="utf-8")
            (partial / "log_history.json").write_text(json.dumps(history, indent=2), encoding="utf-8")
        name = args.hub_model_id or output_dir.absolute().name
        settings = ("num_train_epochs", "max_train_steps", "mimic_epochs", "learning_rate", "weight_decay", "seed")
        objective = {key: value for key, value in studio.config.to_dict().items() if key.endswith("_weight")}
        synthetic = args.dataset == "synthetic"
        counts = {"train_windows": len(labels), "validation_windows": len(validation), "subject_wise": True}
        card = dl.build_model_card(
            student.config,
            name=name.split("/")[-1],
            model_id=name if args.push_to_hub else str(output_dir),
            results={"validation": {**scores, "n_subjects": len(people)}},
            training={"loss_weights": objective, **same, **{key: str(getattr(args, key)) for key in settings}},
            teacher=teacher_facts(teacher.config),
            dataset={"name": Path(args.dataset).name, **counts, **({"synthetic": True} if synthetic else {})},
            router=router_facts(history),
        )
        dl.save_model_card(card, output_dir)
        if args.push_to_hub:
            print("published:", dl.publish_folder(output_dir, name).commit_url)
    accelerator.end_training()


if __name__ == "__main__":
    main()
