# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Search learning rate, steps and the weights of a distillation, judged on people who are not trained on.

    pip install "dlink-hf[search]"
    python examples/hyperparameter_search.py
    python examples/hyperparameter_search.py --dataset eegmat --data_dir DATA --n_trials 30

`Trainer.hyperparameter_search` of transformers does it, with Optuna. Trials are judged on the validation people; what
was found is trained once more beside the package's recipe, and both are scored on test people, whom no trial has seen.
Trials are kept in OUTPUT_DIR/study.db: the same command again goes on with the same study.
"""

import argparse
import json
from pathlib import Path

from transformers import TrainingArguments, set_seed

import dlink_hf as dl
from dlink_hf.core.requires import require
from dlink_hf.distillation.student_teacher import load_teacher, student_as_teacher
from dlink_hf.models.token_grid import student_fields
from dlink_hf.training.augmentation import parse_augmentations
from dlink_hf.training.recipe import AUGMENTATION, LABEL_SMOOTHING, LEARNING_RATE, default_steps, training_fields


WEIGHTS = ("kd_weight", "kd_temperature", "route_weight", "spectral_weight")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
add = parser.add_argument
add("--dataset", default="synthetic", help="`synthetic`, or one of dl.EEG_SETS: eegmat, ssvep_exo, eyes_gnb ...")
add("--data_dir", help="folder of the public sets")
add("--alignment", default="euclidean_monge", help="of each person, without labels; `none` for none")
add("--teacher", help="folder, short name or Hub id of a fine-tuned teacher; a student of size base if left out")
add("--size", default="small", help="of the student: tiny, small or base")
add("--n_trials", type=int, default=20)
add("--most_steps", type=int, help="of a trial; twice the recipe's by default")
add("--views", type=int, default=8, help="augmented views of each window that take turns")
add("--output_dir", default="outputs/search")
add("--seed", type=int, default=0)
args = parser.parse_args()
optuna = require("optuna", "The search")
folder = Path(args.output_dir)
folder.mkdir(parents=True, exist_ok=True)

# no person is in two splits
extractor = dl.EEGFeatureExtractor(n_times=1000, l_freq=0.5, h_freq=45.0)
if args.dataset == "synthetic":
    windows = dl.synthetic_dataset(n_subjects=8, n_trials=12, extractor=extractor, progress=False)
else:
    extractor = dl.eeg_set_extractor(args.dataset, l_freq=0.5, h_freq=45.0)
    windows = dl.load_eeg_set(args.dataset, args.data_dir, extractor=extractor)
if args.alignment != "none":
    windows = dl.align_dataset(windows, args.alignment, one_class="drop")
splits = dl.split_by_subject(windows, validation=0.25, test=0.25, seed=args.seed)
train, validation, test = (splits[name].with_format("numpy") for name in ("train", "validation", "test"))
steps = default_steps(len(train))
most = args.most_steps or 2 * steps
quiet = {"disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no", "seed": args.seed}

# the teacher is trained once; every trial distils it
signal = dl.signal_fields(train)
if args.teacher:
    teacher = load_teacher(args.teacher)
else:
    set_seed(args.seed)
    network = dl.MiCForEEGClassification(dl.MiCConfig.from_size("base", **signal))
    settings = TrainingArguments(**training_fields(output_dir=str(folder), max_steps=min(steps, most), **quiet))
    smooth = {"label_smoothing": LABEL_SMOOTHING, "augmentation": AUGMENTATION}
    dl.make_trainer(network, {"train": train}, settings, "balanced", **smooth).train()
    teacher = student_as_teacher(network.cpu().eval())


recipe = {"learning_rate": LEARNING_RATE, "max_steps": min(steps, most)}
recipe |= {name: getattr(dl.DLinkStudioConfig, name) for name in WEIGHTS}


def search_space(trial):
    """What is tried of the arguments of a training."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 3e-4, 6e-3, log=True),
        "max_steps": trial.suggest_int("max_steps", max(1, most // 10), most, log=True),
    }


def weights_space(trial):
    """What is tried of the objective."""
    return {
        "kd_weight": trial.suggest_float("kd_weight", 0.1, 4.0, log=True),
        "kd_temperature": trial.suggest_float("kd_temperature", 1.0, 4.0),
        "route_weight": trial.suggest_categorical("route_weight", [0.0, 0.1, 0.2, 0.5]),
        "spectral_weight": trial.suggest_categorical("spectral_weight", [0.0, 0.1, 0.2]),
    }


def make_studio(settings):
    """The teacher, and a fresh student of always the same first weights; weights of a trial, or those given."""
    if settings is None:
        settings = recipe
    weights = weights_space(settings) if isinstance(settings, optuna.Trial) else {k: settings[k] for k in WEIGHTS}
    set_seed(args.seed)
    config = dl.MiCConfig.from_size(args.size, **signal, **student_fields(teacher.config))
    return dl.DLinkStudioModel.from_parts(teacher, dl.MiCForEEGClassification(config), **weights)


def make_trainer(settings, name, **options):
    """A trainer with those settings; the teacher's features of the training windows are stored once for all."""
    fields = {
        "learning_rate": settings["learning_rate"],
        "max_steps": settings["max_steps"],
        "class_weighting": "balanced",
    }
    fields |= {"teacher_cache_dir": str(folder / "features"), "augmented_views": args.views}
    return dl.DLinkTrainer(
        make_studio(settings),
        dl.DLinkTrainingArguments(**training_fields(output_dir=str(folder / name), **fields, **quiet)),
        train_dataset=train,
        eval_dataset=validation,
        processing_class=extractor,
        augmentation=dl.EEGAugmentation(parse_augmentations(AUGMENTATION), sfreq=signal["sfreq"], seed=args.seed),
        **options,
    )


storage = f"sqlite:///{folder / 'study.db'}"
sampler = optuna.samplers.TPESampler(seed=args.seed)
kept = {"study_name": args.dataset, "storage": storage, "sampler": sampler, "load_if_exists": True}
study = optuna.create_study(direction="maximize", **kept)
if not study.trials:
    # the first trial is the recipe: what is found can't be worse on these people
    study.enqueue_trial(recipe)
best = make_trainer(recipe, "trials", model_init=make_studio).hyperparameter_search(
    search_space,
    compute_objective=lambda scores: scores["eval_balanced_accuracy"],
    n_trials=args.n_trials,
    direction="maximize",
    backend="optuna",
    **kept,
)
found = best.hyperparameters
n_people = {name: len(set(splits[name]["subject"][:])) for name in splits}
print(f"\nthe recipe, {n_people['validation']} validation people: balanced accuracy {study.trials[0].value:.3f}")
print(f"the best of {len(study.trials)} trials: {best.objective:.3f}, with")
for name, value in found.items():
    print(f"  {name} {value:.4g} (recipe: {recipe[name]:.4g})")

# both once more, on people whom no trial has seen: the best of many trials is lucky on those who chose it
results = {"recipe": recipe, "found": found, "validation": {"recipe": study.trials[0].value, "found": best.objective}}
for name, settings in (("recipe", recipe), ("found", found)):
    trainer = make_trainer(settings, name)
    trainer.train()
    scores = trainer.evaluate(test, metric_key_prefix="test")
    trainer.save_model()
    results[f"test, {name}"] = scores["test_balanced_accuracy"]
    print(f"{name}, {n_people['test']} test people: {scores['test_balanced_accuracy']:.3f} ({folder / name})")
(folder / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
