# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What `hub_protocol.py` will cost: gigabytes by the metadata of the Hub, hours by the time of a few steps here."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


sys.path.insert(0, str(Path(__file__).resolve().parent))

from hub_protocol import Located, device, device_name, has_bfloat16, locate_set, locate_teacher  # noqa: E402
from regimes import ALONE, LAYERS  # noqa: E402


# untimed steps, then timed ones, of each kind of step
WARM_UP, TIMED = 2, 5
# folds of the experts of `same_view`
EXPERT_FOLDS = 3
GB = 1e9


@dataclass(frozen=True)
class SetSize:
    """What the Hub's metadata tell of a set; windows are those of its first recording times its recordings.

    Args:
        found: the set.
        download: bytes of its files.
        n_recordings, n_windows, n_chans: counts.
        n_labels: classes of the first recording's windows.
        recorded: bytes of the recordings as they are kept.
        ch_names: its EEG channels.
    """

    found: Located
    download: int
    n_recordings: int
    n_windows: int
    n_chans: int
    n_labels: int
    recorded: int
    ch_names: list[str]


def size_of_set(found: Located) -> SetSize:
    """Read the sizes of a set off the list of its files, and off the small files of its first recording.

    Raises:
        ValueError: it is no set of braindecode's format.
    """
    import pandas as pd
    from huggingface_hub import HfApi

    from dlink_hf.core.fetch import fetch, read_json
    from dlink_hf.data.public.hub_sets import _find_store, _info

    if found.revision == "folder":
        hub, download = {}, 0
    else:
        hub = {"repo_type": "dataset", "revision": found.revision}
        info = HfApi().dataset_info(found.name, revision=found.revision, files_metadata=True)
        download = sum(file.size or 0 for file in info.siblings)
    root, store = _find_store(found.path, hub)
    count = read_json(root / store / "zarr.json")["attributes"]["n_datasets"]
    names = ("zarr.json", "data/zarr.json", "metadata.tsv")
    first = [fetch(found.path, f"{store}/recording_0/{name}", hub) for name in names]
    if None in first:
        raise ValueError(f"{found.name} holds no windows: its first recording lacks {names[first.index(None)]}.")
    facts, array = read_json(first[0])["attributes"], read_json(first[1])
    metadata = pd.read_csv(first[2], sep="\t", index_col=0)
    signal = _info(facts["info"], found.name)
    names = [name for name, kind in zip(signal["ch_names"], signal.get_channel_types(), strict=True) if kind == "eeg"]
    samples = 1
    for size in array["shape"]:
        samples *= size
    return SetSize(
        found=found,
        download=download,
        n_recordings=count,
        n_windows=count * len(metadata),
        n_chans=len(names),
        n_labels=max(2, metadata["target"].nunique()),
        recorded=4 * samples * count,
        ch_names=names,
    )


def teacher_bytes(checkpoint: Located) -> int:
    """Bytes of a teacher's files that are downloaded."""
    from huggingface_hub import HfApi

    if checkpoint.revision == "folder":
        return 0
    info = HfApi().model_info(checkpoint.name, revision=checkpoint.revision, files_metadata=True)
    return sum(file.size or 0 for file in info.siblings if file.rfilename.endswith((".json", ".safetensors")))


def random_teacher(checkpoint: Located, signal: Mapping[str, Any]) -> Any:
    """A teacher of the checkpoint's design with random weights; the config is read, and the names of the tensors."""
    from huggingface_hub import HfApi
    from safetensors import safe_open

    from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification
    from dlink_hf.models.teacher.checkpoints import find_checkpoint, identify, settle_fields

    revision = None if checkpoint.revision == "folder" else checkpoint.revision
    braindecodes = find_checkpoint(checkpoint.path, {"revision": revision})
    if braindecodes is None:
        config = DLinkTeacherConfig.from_pretrained(checkpoint.path, revision=revision)
        for name, value in signal.items():
            setattr(config, name, value)
        return DLinkTeacherForEEGClassification(config)
    if revision is None:
        with safe_open(Path(checkpoint.path, "model.safetensors"), "pt") as file:
            names = list(file.keys())
    else:
        metadata = HfApi().get_safetensors_metadata(checkpoint.name, revision=revision)
        names = [name for file in metadata.files_metadata.values() for name in file.tensors]
    backbone = identify(names)
    if backbone is None:
        raise ValueError(f"{checkpoint.name}: its tensors are those of no known teacher.")
    fields, _ = settle_fields(braindecodes, backbone, dict(signal))
    return DLinkTeacherForEEGClassification(DLinkTeacherConfig(backbone=backbone, **fields))


def seconds_of_steps(checkpoint: Located, size: SetSize, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a step of each kind on noise, on this device: batches of the recipe, the full view of the set.

    Returns:
        `teacher` (a step of its fine-tuning), `alone`, `logits` (with the live teacher), `layers` (with the live
        teacher, or its features given where they are stored), `features` (the teacher's, of a batch); and
        `feature_bytes`, of one window.
    """
    import torch

    from dlink_hf import DLinkStudioModel, MiCConfig, MiCForEEGClassification
    from dlink_hf.distillation.modeling_router import normalise_layers
    from dlink_hf.models.token_grid import student_fields
    from dlink_hf.training.recipe import BATCH_SIZE

    n_times = round(200 * args.window_seconds)
    signal = {"ch_names": size.ch_names, "sfreq": 200.0, "n_times": n_times, "num_labels": size.n_labels}
    teacher = random_teacher(checkpoint, signal).to(device())
    batch = {
        "input_values": 20 * torch.randn(BATCH_SIZE, size.n_chans, n_times, device=device()),
        "labels": torch.arange(BATCH_SIZE, device=device()) % size.n_labels,
    }

    def student() -> Any:
        config = MiCConfig.from_size("small", **signal, **student_fields(teacher.config))
        return MiCForEEGClassification(config).to(device())

    @torch.no_grad()
    def features() -> Any:
        output = teacher.eval()(batch["input_values"], output_hidden_states=True, return_dict=True)
        return (*normalise_layers([state.float() for state in output.hidden_states]), output.logits)

    with autocast():
        told = {"teacher": _time(_step(teacher, batch)), "alone": _time(_step(student(), batch))}
        told["features"] = _time(features)
    states, pooled, logits = features()
    # as they are stored: half and single precision
    told["feature_bytes"] = (2 * states.numel() + 4 * pooled.numel() + 4 * logits.numel()) / BATCH_SIZE
    given = {"teacher_states": states.half(), "teacher_pooled": pooled, "teacher_logits": logits}
    weights = {"logits": {}, "layers": LAYERS["input"]}
    for name, fields in weights.items():
        routing = {key: value for key, value in fields.items() if key != "routing"}
        studio = DLinkStudioModel.from_parts(teacher, student(), **routing).to(device())
        more = given if name == "layers" and args.cached_views else {}
        with autocast():
            told[name] = _time(_step(studio, {**batch, **more}))
    return told


def autocast() -> Any:
    """bfloat16 where the trainings have it."""
    import torch

    return torch.autocast(device().type, torch.bfloat16, enabled=has_bfloat16())


def _step(model: Any, batch: Mapping[str, Any]) -> Callable[[], None]:
    import torch

    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        model(**batch).loss.backward()
        optimiser.step()

    return step


def _time(step: Callable[[], Any]) -> float:
    """Seconds of a step."""
    import torch

    wait = torch.cuda.synchronize if device().type == "cuda" else (lambda: None)
    for _ in range(WARM_UP):
        step()
    wait()
    started = time.perf_counter()
    for _ in range(TIMED):
        step()
    wait()
    return (time.perf_counter() - started) / TIMED


def count_steps(n_train: int, args: argparse.Namespace) -> dict[str, float]:
    """Steps of each kind over all regimes, folds and seeds of a set.

    Args:
        n_train: training windows of a fold.
        args: flags.

    Returns:
        steps of `teacher`, `alone`, `logits` and `layers`, windows of which `features` are computed, and `trainings`.
    """
    from dlink_hf.training.recipe import default_steps

    budget = args.steps or default_steps(n_train)
    found = dict.fromkeys(("teacher", "alone", "logits", "layers", "features", "trainings"), 0)
    n_folds = args.folds * len(args.seeds)
    # the regime `few` has a teacher of its own
    n_teachers = n_folds * (("few" in args.regimes) + bool(set(args.regimes) - {"few"}))
    found["teacher"], found["trainings"] = n_teachers * args.teacher_steps, n_teachers
    for row in args.rows:
        times, kind, trainings = 1, "alone", 1
        if row in ALONE:
            times = int(row.rsplit("_", 1)[1])
        elif row == "same_view":
            trainings = 1 + EXPERT_FOLDS
        elif row in LAYERS:
            kind = "layers" if LAYERS[row].get("route_weight") else "logits"
        elif row == "teacher":
            continue
        cells = n_folds * len(args.regimes)
        found[kind] += cells * trainings * times * budget
        found["trainings"] += cells * trainings
    if args.cached_views and found["layers"]:
        found["features"] = n_folds * len(args.regimes) * n_train * args.cached_views
    return found


def dry_run(args: argparse.Namespace) -> str:
    """What a run would take: a table, and how it was found."""
    from dlink_hf.training.recipe import BATCH_SIZE

    checkpoint = locate_teacher(args.teacher, download=False)
    download = teacher_bytes(checkpoint)
    out = [
        f"teacher: {checkpoint.name} at {checkpoint.revision}, {download / GB:.3f} GB",
        f"device: {device_name()}",
        "",
        "| set | revision | recordings | windows | channels | download (GB) | windows on disk (GB) | features (GB) | "
        "trainings | steps | hours |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    hours, disk, features = 0.0, 0.0, 0.0
    for text in args.sets:
        size = size_of_set(locate_set(text))
        n_train = max(1, round(0.8 * size.n_windows * (args.folds - 1) / args.folds))
        seconds, steps = seconds_of_steps(checkpoint, size, args), count_steps(n_train, args)
        time_ = sum(steps[kind] * seconds[kind] for kind in ("teacher", "alone", "logits", "layers"))
        time_ += steps["features"] / BATCH_SIZE * seconds["features"]
        windows = 4 * size.n_windows * size.n_chans * 200 * args.window_seconds
        # as they were, aligned, and the student's views; the features of one fold at a time
        kept = size.recorded + 2 * windows * (1 + len({"headset", "short"} & set(args.regimes)) / 2)
        stored = seconds["feature_bytes"] * n_train * args.cached_views if steps["features"] else 0.0
        total = sum(steps[kind] for kind in ("teacher", "alone", "logits", "layers"))
        out.append(
            f"| {size.found.name} | {size.found.revision[:12]} | {size.n_recordings} | {size.n_windows} | "
            f"{size.n_chans} | {size.download / GB:.3f} | {kept / GB:.3f} | {stored / GB:.3f} | "
            f"{steps['trainings']} | {total} | {time_ / 3600:.2f} |"
        )
        hours, disk, features = hours + time_ / 3600, disk + kept, max(features, stored)
        download += size.download
    out += [
        "",
        f"All together: {hours:.1f} hours, {download / GB:.2f} GB to download, "
        f"{(download + disk + features) / GB:.2f} GB on disk at the most.",
        f"Hours: {TIMED} timed steps of each kind on noise here, times the steps of {len(args.regimes)} regimes, "
        f"{args.folds} folds and {len(args.seeds)} seeds; reading, filtering and scoring are not in it. Windows: "
        "those of a set's first recording, times its recordings; a fold trains on 80 % of the subjects that it does "
        "not test. Every regime is counted with the full view.",
    ]
    return "\n".join(out)
