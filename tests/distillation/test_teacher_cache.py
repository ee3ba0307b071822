# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Stored teacher features: what they hold, when they are found again, what kills and damage do, training from them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets
from safetensors.numpy import load_file, save_file


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import arguments, same, toy_dataset, toy_studio, toy_teacher, weights  # noqa: E402

from dlink_hf import DLinkTrainer  # noqa: E402
from dlink_hf.distillation.teacher_cache import TeacherCache, _check_disk  # noqa: E402
from dlink_hf.distillation.teacher_windows import NotCacheableError, teacher_fingerprint, windows_fingerprint  # noqa: E402


ROOT = Path(__file__).resolve().parents[2]
# What another processor, another number of threads or another batch size may change: it sums in another order. Values
# are of order one and single precision has 24 bits: the rounding of some hundred terms is far below 1e-5; half
# precision has 11, so that a value at the edge between two of its numbers moves by 2**-10 of itself.
ANOTHER_ORDER = {
    "teacher_states": {"rtol": 2**-10, "atol": 1e-4},
    "teacher_pooled": {"rtol": 1e-4, "atol": 1e-5},
    "teacher_logits": {"rtol": 1e-4, "atol": 1e-5},
}
SHARD = 8 * (2 * 2 * 4 * 2 * 200 + 4 * 2 * 200 + 4 * 2)  # bytes of eight windows: 2 layers, 4 channels, 2 patches


@pytest.fixture(scope="module")
def train_set():
    return toy_dataset(["S1", "S2", "S3"])


@pytest.fixture(scope="module")
def cache(train_set, tmp_path_factory):
    return TeacherCache.build(toy_teacher(dropout=0.0), train_set, tmp_path_factory.mktemp("cache"), shard_bytes=SHARD)


def counted(teacher: torch.nn.Module) -> list[int]:
    """A list that grows by the size of every batch that the teacher reads."""
    sizes: list[int] = []
    teacher.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    return sizes


def layer_norm(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + 1e-5)


def louder(window: torch.Tensor, view: int, row: int) -> torch.Tensor:
    """A view that can be checked by hand: it depends on view and row alone."""
    return window * (1 + 0.3 * view) + 0.1 * row


# --- what is stored ---------------------------------------------------------------------------------------------


def test_what_is_read_is_what_the_teacher_says(cache, train_set):
    rows = [35, 0, 7, 8, 20, 7]  # of several files, out of order, twice
    read = cache.read(rows)
    with torch.no_grad():
        output = toy_teacher(dropout=0.0).eval()(
            torch.tensor(train_set[rows]["input_values"]), output_hidden_states=True
        )
    expected = np.stack([layer_norm(state.numpy()) for state in output.hidden_states], axis=1)
    assert read["teacher_states"].shape == (6, 2, 4, 2, 200) and read["teacher_states"].dtype == torch.float16
    np.testing.assert_allclose(read["teacher_states"].numpy(), expected, atol=4e-3, rtol=1e-3)
    np.testing.assert_allclose(read["teacher_pooled"].numpy(), expected.mean((2, 3)), atol=2e-5)
    np.testing.assert_allclose(read["teacher_logits"].numpy(), output.logits.numpy(), atol=1e-5)
    assert read["teacher_pooled"].dtype == read["teacher_logits"].dtype == torch.float32
    for wrong in ([36], [-1]):
        with pytest.raises(IndexError, match="rows 0 ... 35"):
            cache.read(wrong)
    with pytest.raises(IndexError, match="view 1"):
        cache.read([0], view=1)


def test_huge_states_do_not_overflow(train_set, tmp_path):
    teacher = toy_teacher(dropout=0.0)
    with torch.no_grad():
        teacher.teacher.backbone.encoder.layers[0].linear2.bias[3] = 1e6  # far beyond half precision
    read = TeacherCache.build(teacher, train_set.select(range(4)), tmp_path).read([0, 1, 2, 3])
    assert torch.isfinite(read["teacher_states"]).all()
    assert read["teacher_states"].abs().max() == pytest.approx(np.sqrt(199), rel=1e-3)


def test_the_files_are_plain_safetensors(cache):
    files = sorted(cache.folder.glob("*.safetensors"))
    assert len(files) == 5 and {path.name for path in cache.folder.iterdir()} - {path.name for path in files} == {
        "manifest.json"
    }
    tensors = load_file(files[0])
    assert {name: (array.shape, str(array.dtype)) for name, array in tensors.items()} == {
        "states": ((8, 2, 2, 4, 200), "float16"),
        "pooled": ((8, 2, 200), "float32"),
        "logits": ((8, 2), "float32"),
    }
    np.testing.assert_array_equal(tensors["states"][5].transpose(0, 2, 1, 3), cache.read([5])["teacher_states"][0])
    assert cache.size == sum(array.nbytes for path in files for array in load_file(path).values())


def test_views_are_stored_beside_the_windows(train_set, tmp_path):
    few = train_set.select(range(10))
    cache = TeacherCache.build(toy_teacher(dropout=0.0), few, tmp_path, augment=louder, n_views=3, shard_bytes=SHARD)
    assert len(cache) == 30
    for view in range(3):
        read = cache.read([9, 2], view)
        windows = torch.tensor(few[[9, 2]]["input_values"])
        if view:
            windows = torch.cat([louder(window[None], view, row) for window, row in zip(windows, (9, 2), strict=True)])
        with torch.no_grad():
            logits = toy_teacher(dropout=0.0).eval()(windows).logits
        torch.testing.assert_close(read["teacher_logits"], logits, atol=1e-5, rtol=1e-4)


# --- found again, or not ----------------------------------------------------------------------------------------


def test_the_same_features_are_found_again(cache, train_set):
    before = {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    teacher = toy_teacher(dropout=0.0).train()
    sizes = counted(teacher)
    teacher.config.id2label = {0: "renamed", 1: "too"}
    # the same windows out of another dataset, in another format, with other labels
    again = concatenate_datasets([train_set.select(range(12)), train_set.select(range(12, 36))])
    again = again.remove_columns(["labels", "subject"]).with_format(None)
    found = TeacherCache.build(teacher, again, cache.folder.parent)
    assert found.folder == cache.folder and not sizes and teacher.training
    assert before == {path: path.stat().st_mtime_ns for path in cache.folder.iterdir()}
    found.check(toy_teacher(dropout=0.0), train_set)


def test_other_weights_windows_or_views_are_other_features(cache, train_set):
    teacher, root = toy_teacher(dropout=0.0), cache.folder.parent
    with torch.no_grad():
        next(teacher.parameters()).view(-1)[0] += 1e-6
    other = TeacherCache.build(teacher, train_set.select(range(4)), root)
    assert teacher_fingerprint(teacher) != teacher_fingerprint(toy_teacher(dropout=0.0))
    scaled = toy_teacher(dropout=0.0)
    scaled.config.input_scale = 0.5
    assert teacher_fingerprint(scaled) != teacher_fingerprint(toy_teacher(dropout=0.0))
    with pytest.raises(ValueError, match="made with another teacher"):
        cache.check(teacher, train_set)
    for changed in (train_set.select(range(35)), train_set.select([1, 0, *range(2, 36)])):
        assert windows_fingerprint(changed)[0] != windows_fingerprint(train_set)[0]
        with pytest.raises(ValueError, match="made with other windows"):
            cache.check(toy_teacher(dropout=0.0), changed)
    views = {windows_fingerprint(train_set, louder, 2), windows_fingerprint(train_set, lambda w, v, r: w + v, 2)}
    assert len(views | {windows_fingerprint(train_set)}) == 3
    assert other.folder != cache.folder


# --- kills, two at once, damage ---------------------------------------------------------------------------------

BUILD = """
import sys, torch
torch.set_num_threads(1)
from test_teacher_cache import SHARD, counted
from toy_training import toy_dataset, toy_teacher
from dlink_hf.distillation.teacher_cache import TeacherCache
teacher = toy_teacher(dropout=0.0)
sizes = counted(teacher)
print("begin", flush=True)
TeacherCache.build(teacher, toy_dataset(["S1"], n_windows=int(sys.argv[2])), sys.argv[1], shard_bytes=SHARD)
print("computed", sum(sizes), flush=True)
"""


def start_build(folder: Path, n_windows: int) -> subprocess.Popen:
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", textwrap.dedent(BUILD), str(folder), str(n_windows)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    n_windows = 1000
    process = start_build(tmp_path, n_windows)
    while len(list(tmp_path.glob("teacher-*/shard-*.safetensors"))) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (folder,) = tmp_path.glob("teacher-*")
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.safetensors")}
    assert 3 <= len(kept) < n_windows // 8
    with pytest.raises(FileNotFoundError, match="not complete.*goes on where it stopped"):
        TeacherCache(folder)

    teacher, dataset = toy_teacher(dropout=0.0), toy_dataset(["S1"], n_windows=n_windows)
    sizes = counted(teacher)
    cache = TeacherCache.build(teacher, dataset, tmp_path)
    assert cache.folder == folder and sum(sizes) == n_windows - 8 * len(kept)
    assert {name: (folder / name).stat().st_mtime_ns for name in kept} == kept
    assert not list(folder.glob(".saving-*"))
    rows = [0, 9, 23, 24, 25, 500, 999]
    fresh = TeacherCache.build(toy_teacher(dropout=0.0), dataset.select(rows), tmp_path / "fresh")
    for name, values in fresh.read(range(len(rows))).items():
        torch.testing.assert_close(cache.read(rows)[name], values, **ANOTHER_ORDER[name])


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_no_file(tmp_path):
    n_windows, dice = 4000, random.Random(0)
    whole = start_build(tmp_path / "whole", n_windows)
    out, err = whole.communicate(timeout=1000)
    assert whole.returncode == 0, err
    for kill in range(11):
        process = start_build(tmp_path / "killed", n_windows)
        if kill < 10:
            # behind the imports: anywhere in the fingerprint, the features and the files
            assert process.stdout.readline() == "begin\n"
            time.sleep(dice.uniform(0, 1.5))
            process.send_signal(signal.SIGKILL)
            process.communicate()
    out, err = process.communicate(timeout=1000)
    assert process.returncode == 0, err
    # their names hold the hashes of their contents
    names = [sorted(path.name for path in (tmp_path / run).glob("teacher-*/*")) for run in ("whole", "killed")]
    assert names[0] == names[1] and len(names[0]) == n_windows // 8 + 1


@pytest.mark.slow
def test_two_processes_at_once_compute_each_entry_once(tmp_path):
    processes = [start_build(tmp_path, 400) for _ in range(2)]
    texts = [process.communicate(timeout=1000) for process in processes]
    assert all(process.returncode == 0 for process in processes), texts
    # the first also looks at the shapes with one window; the second finds all that it did
    assert sorted(int(out.split()[-1]) for out, _ in texts) == [0, 401]
    (folder,) = tmp_path.glob("teacher-*")
    assert len(TeacherCache(folder)) == 400


@pytest.mark.parametrize("damage", ["truncated", "flipped", "header", "empty", "manifest"])
def test_damage_is_found_and_mended_on_request(damage, cache, train_set, tmp_path):
    shutil.copytree(cache.folder.parent, tmp_path, dirs_exist_ok=True)
    folder = tmp_path / cache.folder.name
    path = sorted(folder.glob("shard-*"))[2] if damage != "manifest" else folder / "manifest.json"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "header":
        content[:12] = b"x" * 12
    else:
        content = content[: 0 if damage == "empty" else len(content) // 2]
    path.write_bytes(content)
    for attempt in (
        lambda: TeacherCache(folder),
        lambda: TeacherCache.build(toy_teacher(dropout=0.0), train_set, tmp_path),
    ):
        with pytest.raises(ValueError, match=f"{path.name}.*damaged.*overwrite=True"):
            attempt()
    if damage != "manifest":
        path.unlink()  # as the message advises
        teacher = toy_teacher(dropout=0.0)
        sizes = counted(teacher)
        TeacherCache.build(teacher, train_set, tmp_path)
        assert sum(sizes) == 8
    path.write_bytes(b"")
    TeacherCache.build(toy_teacher(dropout=0.0), train_set, tmp_path, overwrite=True)
    # computed in batches of 32 windows where the first were computed in batches of 8: sums in another order
    mended = TeacherCache(folder).read(range(36))
    for name, value in cache.read(range(36)).items():
        torch.testing.assert_close(
            mended[name], value, **ANOTHER_ORDER[name], msg=lambda text, name=name: f"{name}: {text}"
        )


def test_features_of_another_machine_are_found_and_read(cache, train_set, tmp_path):
    """Other processors round otherwise: files are verified by the hashes in their names, never by computing again."""
    folder = tmp_path / cache.folder.name
    folder.mkdir()
    shutil.copy(cache.folder / "manifest.json", folder)
    for path in cache.folder.glob("shard-*"):
        arrays = {
            name: np.nextafter(array, np.array(np.inf, dtype=array.dtype)) for name, array in load_file(path).items()
        }
        save_file(arrays, folder / "shard.safetensors")
        digest = hashlib.sha256((folder / "shard.safetensors").read_bytes()).hexdigest()[:16]
        (folder / "shard.safetensors").rename(folder / f"{path.stem.rpartition('-')[0]}-{digest}.safetensors")
    TeacherCache(folder).check(toy_teacher(dropout=0.0), train_set)
    teacher = toy_teacher(dropout=0.0)
    sizes = counted(teacher)
    found = TeacherCache.build(teacher, train_set, tmp_path)
    assert found.folder == folder and not sizes
    for name, value in cache.read(range(36)).items():
        read = found.read(range(36))[name]
        assert (read > value).all()
        torch.testing.assert_close(read, value, **ANOTHER_ORDER[name])


def test_a_file_that_shrinks_while_it_is_read_is_an_error(cache, train_set, tmp_path):
    shutil.copytree(cache.folder.parent, tmp_path, dirs_exist_ok=True)
    opened = TeacherCache(tmp_path / cache.folder.name)
    path = sorted(opened.folder.glob("shard-*"))[0]
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(OSError, match="shorter than it was"):
        opened.read([7])


def test_a_full_disk_and_bad_input_are_said_before_it_starts(train_set, tmp_path):
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OSError, match=r"need .* GB \(456 kB each\), and .* has .* GB free"):
        _check_disk(tmp_path / "not" / "there", free // 456_000 + 1, 456_000)
    with pytest.raises(ValueError, match="dataset is empty"):
        TeacherCache.build(toy_teacher(dropout=0.0), train_set.select([]), tmp_path)
    with pytest.raises(ValueError, match="needs an `augment`"):
        TeacherCache.build(toy_teacher(dropout=0.0), train_set, tmp_path, n_views=2)
    silent = train_set.select(range(6)).map(
        lambda row, index: {"input_values": row["input_values"] * (np.nan if index == 4 else 1)}, with_indices=True
    )
    with pytest.raises(ValueError, match="row 4 of the dataset is not finite"):
        TeacherCache.build(toy_teacher(dropout=0.0), silent, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"manifest.json is missing"):
        TeacherCache(tmp_path / "nowhere")


# --- training from it -------------------------------------------------------------------------------------------


def fit(folder, train_set, resume=None, studio=None, trainer_arguments=None, **fields) -> DLinkTrainer:
    trainer = DLinkTrainer(
        toy_studio(dropout=0.0) if studio is None else studio,
        arguments(folder, **{"num_train_epochs": 3, "mimic_epochs": 1, "learning_rate": 3e-4, **fields}),
        train_dataset=train_set,
        **(trainer_arguments or {}),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def steps(trainer: DLinkTrainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def assert_same_numbers(live: DLinkTrainer, stored: DLinkTrainer) -> None:
    """Every term of every step to two parts in a thousand: half precision, and what nine steps make of it."""
    first, second = steps(live), steps(stored)
    assert len(first) == len(second) > 5
    for one, two in zip(first, second, strict=True):
        assert one.keys() == two.keys()
        for name in set(one) - {"grad_norm"}:
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=1e-4), name
    assert first[-1]["router_weight_1"] != pytest.approx(0.5, abs=1e-5)  # the router did learn something


def test_training_from_stored_features_gives_the_numbers_of_the_live_teacher(cache, train_set, tmp_path):
    live = fit(tmp_path / "live", train_set)
    studio = toy_studio(dropout=0.0)
    sizes = counted(studio.teacher)
    stored = fit(tmp_path / "stored", train_set, studio=studio, trainer_arguments={"teacher_cache": cache})
    assert not sizes  # the teacher never ran
    assert_same_numbers(live, stored)
    # the same features, machine, threads and batches: the same bits. By the folder alone, and found there by the
    # second training; in other processes
    for _ in range(2):
        by_folder = fit(tmp_path / "folder", train_set, teacher_cache_dir=str(cache.folder.parent))
        assert steps(by_folder) == steps(stored) and same(weights(by_folder.model), weights(stored.model))
    workers = fit(
        tmp_path / "workers", train_set, teacher_cache_dir=str(cache.folder.parent), dataloader_num_workers=2,
        remove_unused_columns=False,
    )  # fmt: skip
    assert steps(workers) == steps(stored)


def test_resuming_from_stored_features_changes_nothing(cache, train_set, tmp_path):
    """Same machine, threads and batches: equal bits, as the trainer promises."""
    fields = dict(teacher_cache_dir=str(cache.folder.parent), save_strategy="steps", save_steps=4)
    whole = fit(tmp_path / "whole", train_set, **fields)
    resumed = fit(tmp_path / "rest", train_set, resume=str(tmp_path / "whole" / "checkpoint-4"), **fields)
    assert same(weights(whole.model), weights(resumed.model))
    assert steps(whole)[4:] == steps(resumed)[-5:]


@pytest.mark.parametrize("resume", [False, True])
def test_augmented_views_take_turns_and_can_be_stored(resume, train_set, tmp_path):
    views = []

    def augment(window: torch.Tensor, view: int, row: int) -> torch.Tensor:
        views.append((view, row))
        return louder(window, view, row)

    fields = dict(augmented_views=2, save_strategy="steps", save_steps=7)
    live = fit(tmp_path / "live", train_set, trainer_arguments={"augmentation": augment}, **fields)
    # three epochs of three steps: view 0, which stays as it is, view 1, view 0
    assert sorted(views) == [(1, row) for row in range(36)]
    fields["teacher_cache_dir"] = str(tmp_path / "cache")
    stored = fit(tmp_path / "stored", train_set, trainer_arguments={"augmentation": augment}, **fields)
    assert_same_numbers(live, stored)
    (manifest,) = (tmp_path / "cache").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["n_views"] == 2
    if resume:
        point = tmp_path / "stored" / "checkpoint-7"
        again = fit(tmp_path / "again", train_set, str(point), None, {"augmentation": augment}, **fields)
        assert same(weights(stored.model), weights(again.model))


def test_what_can_not_be_stored_is_said_aloud(train_set, tmp_path, caplog):
    def random(window: torch.Tensor, view: int, row: int) -> torch.Tensor:
        return window + torch.randn(())

    class Collator:
        def __call__(self, rows):
            batch = toy_collator(rows)
            batch["input_values"] = 2 * batch["input_values"]
            return batch

    from dlink_hf import EEGDataCollator

    toy_collator = EEGDataCollator()
    transformed = train_set.with_transform(lambda rows: {k: np.asarray(v) for k, v in rows.items()})
    cases = [
        (train_set, {"augmentation": louder}, {}, "another view of each window in every epoch"),
        (train_set, {"augmentation": random}, {"augmented_views": 2}, "differ from one reading to the next"),
        (train_set, {"data_collator": Collator()}, {}, "data collator changes the windows"),
        (transformed, {}, {}, "set_transform"),
    ]
    for index, (dataset, more, fields, message) in enumerate(cases):
        caplog.clear()
        folder = tmp_path / str(index)
        trainer = fit(
            folder, dataset, None, None, more, teacher_cache_dir=str(folder / "cache"), num_train_epochs=1,
            mimic_epochs=0, **fields,
        )  # fmt: skip
        assert len(steps(trainer)) == 3
        assert "teacher runs in every step" in caplog.text and message in caplog.text, caplog.text
        assert not list(folder.glob("cache/teacher-*"))
    with pytest.raises(NotCacheableError, match="set_transform"):
        TeacherCache.build(toy_teacher(dropout=0.0), transformed, tmp_path)


def test_a_cache_of_another_teacher_or_of_other_windows_is_refused(cache, train_set, tmp_path):
    studio = toy_studio(dropout=0.0)
    with torch.no_grad():
        next(studio.teacher.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="another teacher"):
        DLinkTrainer(studio, arguments(tmp_path), train_dataset=train_set, teacher_cache=cache)
    with pytest.raises(ValueError, match="other windows"):
        DLinkTrainer(
            toy_studio(dropout=0.0), arguments(tmp_path), train_dataset=train_set.shuffle(1), teacher_cache=cache
        )
    with pytest.raises(ValueError, match="augmented_views"):
        arguments(tmp_path, augmented_views=-1)


# --- the benchmark ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_benchmark_prints_what_it_writes(tmp_path):
    flags = "--n_windows 8 --batch_size 4 --student_size tiny --teacher_layers 2 --n_chans 3 --n_times 400 --repeats 2"
    script, file = ROOT / "benchmarks" / "teacher_cache.py", tmp_path / "cache.json"
    done = subprocess.run(
        [sys.executable, str(script), *flags.split(), "--output", str(file)], capture_output=True, text=True,
        timeout=1000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert f"| ratio | {result['ratio']:.1f} | | {result['cpu_ratio']:.1f} |" in done.stdout
    assert list(result["memory"]) == ["8", "32"] and result["losses_apart"] < 0.05
    assert result["memory"]["32"]["cache"] == 32 * (2 * 2 * 3 * 2 * 200 + 4 * 2 * 200 + 4 * 2)
    assert all(f"| {n} | {row['cache'] / 2**20:.0f} |" in done.stdout for n, row in result["memory"].items())
