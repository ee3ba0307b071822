# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Distil CBraMod into a student of 97 k parameters on motor imagery, teacher and data from the Hub.

    pip install "dlink-hf[teachers,hub-data]"
    python examples/distill_cbramod_bcic2a.py
    python examples/distill_cbramod_bcic2a.py --push_to me/dlink-mic-small-bcic2a

A GPU is used where there is one; without, expect hours. `--teacher` and `--dataset` take other Hub ids of braindecode.
"""

import argparse

from transformers import TrainingArguments

import dlink_hf as dl


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--teacher", default="braindecode/cbramod-pretrained")
parser.add_argument("--dataset", default="braindecode/bcic2a", help="nine people, four imagined movements")
parser.add_argument("--size", default="small", choices=["tiny", "small", "base"])
parser.add_argument("--teacher_epochs", type=float, default=20)
parser.add_argument("--epochs", type=float, default=60)
parser.add_argument("--output_dir", default="outputs/bcic2a")
parser.add_argument("--push_to", help="user/name on the Hub")
args = parser.parse_args()

# windows of 4 s at the teacher's rate
extractor = dl.EEGFeatureExtractor(sfreq=200.0, n_times=800, l_freq=0.5, h_freq=75.0)
windows = dl.load_public_set(args.dataset, extractor)
splits = dl.split_by_subject(windows, validation=0.2, test=0.3)
signal = dl.signal_fields(splits["train"])

# the published weights know no task yet: fine-tune them
teacher = dl.DLinkTeacherForEEGClassification.from_pretrained(args.teacher, **signal)
settings = TrainingArguments(
    f"{args.output_dir}/teacher",
    num_train_epochs=args.teacher_epochs,
    per_device_train_batch_size=32,
    learning_rate=5e-4,
    eval_strategy="epoch",
    save_strategy="epoch",
    save_only_model=True,
    save_total_limit=1,
    load_best_model_at_end=True,
    metric_for_best_model="auroc",
    report_to="none",
)
dl.make_trainer(teacher, splits, settings, learning_rate_decay=0.8).train()

student = dl.MiCForEEGClassification(dl.MiCConfig.from_size(args.size, **signal))
studio = dl.DLinkStudioModel.from_parts(teacher, student)
distillation = dl.DLinkTrainingArguments(
    f"{args.output_dir}/student",
    num_train_epochs=args.epochs,
    # the recipe of `dlink distill`
    per_device_train_batch_size=32,
    learning_rate=2e-3,
    weight_decay=0.05,
    warmup_steps=0.1,
    lr_scheduler_type="cosine",
    class_weighting="balanced",
    # the frozen teacher is read once, not once an epoch
    teacher_cache_dir=f"{args.output_dir}/features",
    save_strategy="no",
    report_to="none",
)
trainer = dl.DLinkTrainer(
    studio,
    distillation,
    processing_class=extractor,
    train_dataset=splits["train"],
    eval_dataset=splits["validation"],
)
trainer.train()
trainer.evaluate()
scores = trainer.evaluate(splits["test"], metric_key_prefix="test")
print(f"people unseen: balanced accuracy {scores['test_balanced_accuracy']:.3f}, AUROC {scores['test_auroc']:.3f}")

trainer.save_model()
facts = {"dataset": {"name": args.dataset, "id": args.dataset.removeprefix("hub:")}}
trainer.create_model_card(model_name=f"dlink-mic-{args.size}-bcic2a", **facts)
print(f"student and card: {distillation.output_dir}")
if args.push_to:
    print("published:", dl.publish_folder(distillation.output_dir, args.push_to).commit_url)
