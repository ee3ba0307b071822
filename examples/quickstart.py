# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune the packaged student, score it on people it has not seen, classify a recording. No network is needed.

python examples/quickstart.py
python examples/quickstart.py --recordings my_recordings --labels labels.csv
"""

import argparse

from transformers import Trainer, TrainingArguments

import dlink_hf as dl


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument(
    "--recordings", help="folder of EDF, BDF, FIF, GDF or BrainVision files; synthetic EEG if left out"
)
parser.add_argument("--labels", help="CSV with the columns recording, label, and where known onset, duration, subject")
parser.add_argument("--output_dir", default="outputs/quickstart")
parser.add_argument("--epochs", type=float, default=10)
args = parser.parse_args()

# windows of 5 s at 200 Hz, whatever montage and rate the recordings have
extractor = dl.EEGFeatureExtractor(l_freq=0.5, h_freq=75.0)
if args.recordings:
    windows = dl.build_dataset(args.recordings, extractor, dl.TableLabels(args.labels))
else:
    windows = dl.synthetic_dataset(n_subjects=10, n_trials=16, extractor=extractor)
# no subject is in two splits
splits = dl.split_by_subject(windows, validation=0.2, test=0.3)

# the backbone is trained, the head is new: for these channels and these classes
student = dl.MiCForEEGClassification.from_pretrained("dlink-mic-small", **dl.signal_fields(splits["train"]))
settings = TrainingArguments(args.output_dir, num_train_epochs=args.epochs, learning_rate=1e-3, report_to="none")
trainer = Trainer(
    student,
    settings,
    data_collator=dl.EEGDataCollator(),
    train_dataset=splits["train"],
    eval_dataset=splits["test"],
    compute_metrics=dl.compute_metrics,
)
trainer.train()
scores = trainer.evaluate()
print(f"people unseen: balanced accuracy {scores['eval_balanced_accuracy']:.3f}, AUROC {scores['eval_auroc']:.3f}")

student.save_pretrained(args.output_dir)
extractor.save_pretrained(args.output_dir)
classify = dl.pipeline("eeg-classification", model=args.output_dir)
# a path, an MNE Raw, or {"array": x, "ch_names": [...], "sfreq": 256.0, "unit": "uV"}; here the Raw of one more person
recording = dl.make_synthetic_recordings(n_subjects=11, n_trials=4, progress=False)[10]
for window in classify(recording)[:3]:
    print(window)
