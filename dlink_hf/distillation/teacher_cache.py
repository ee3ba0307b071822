# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Features of a frozen teacher, computed once: layer-normalised hidden states and logits of every window, on disk.

The cache holds what a distillation reads of a teacher: LN(h_l) of every layer in half precision (it never exceeds
sqrt(D), so it never overflows), its mean over channels and patches in single precision, from which the router scores
the layers, and the logits in single precision.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors.numpy import save_file
from tqdm.auto import tqdm

from ..core.atomic_files import is_disk_full, staged
from ..core.checks import MALFORMED
from ..data.cache import default_cache_dir
from ..models.teacher.modeling_teacher import DLinkTeacherForEEGClassification
from ..models.token_grid import windows_for
from .modeling_router import normalise_layers
from .teacher_windows import (
    BATCH,
    CACHE_VERSION,
    Augment,
    read_windows,
    readable,
    reader_fingerprint,
    windows_fingerprint,
)


logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
_DTYPES = {"states": "float16", "pooled": "float32", "logits": "float32"}
_SAFETENSORS_DTYPES = {"float16": "F16", "float32": "F32"}
_SHARD_BYTES = 128 * 2**20


@dataclass(frozen=True)
class _Shard:
    """One file of the cache: where each of its arrays begins."""

    path: Path
    offsets: dict[str, int]


class TeacherCache:
    """A frozen teacher's features of every window, and of every augmented view of it, on disk.

    Make one with [`build`], which finds the one that is there already. Reading copies the rows that are asked for and
    no more: memory does not grow with the size of the cache. Safe to use from several processes at once.

    What is read has the bits that were written, so trainings from one cache agree bit for bit on one machine with the
    same number of threads and the same batches. Features that are computed again agree to rounding: another processor,
    number of threads or batch size sums in another order (some 1e-6 in single precision, 1e-3 of a value in half).
    Nothing depends on that: files are verified by hashes of their contents, and the folder is named after the
    teacher's weights and the windows. A cache written on one machine is found, verified and read on another.

    Args:
        folder: of a complete cache.
        verify: hash every file and compare, so that damage is found before a training and not in its results.
        progress: show a bar where that takes a while.

    Raises:
        FileNotFoundError: there is no complete cache.
        ValueError: a file is damaged.
    """

    def __init__(self, folder: str | Path, verify: bool = True, progress: bool = True):
        self.folder = Path(folder)
        manifest = _read_manifest(self.folder)
        if manifest is None:
            raise FileNotFoundError(f"{self.folder} holds no teacher features: {MANIFEST_NAME} is missing.")
        self.manifest = manifest
        self.n_windows: int = manifest["n_windows"]
        self.n_views: int = manifest["n_views"]
        self.shapes: dict[str, tuple[int, ...]] = {name: tuple(s) for name, s in manifest["shapes"].items()}
        self.rows_per_shard: int = manifest["rows_per_shard"]
        found = _find_shards(self.folder, manifest)
        n_shards = -(-len(self) // self.rows_per_shard)
        missing = [index for index in range(n_shards) if index not in found]
        if missing:
            raise FileNotFoundError(
                f"{self.folder} is not complete: {len(missing)} of {n_shards} files are missing. "
                "`TeacherCache.build` with the same teacher and windows goes on where it stopped."
            )
        self._shards = [found[index] for index in range(n_shards)]
        if verify:
            _verify([shard.path for shard in self._shards], progress)

    def __len__(self) -> int:
        """Number of entries: windows times views."""
        return self.n_windows * self.n_views

    @property
    def size(self) -> int:
        """Bytes of all entries."""
        return len(self) * _entry_bytes(self.shapes)

    def read(self, rows: Sequence[int], view: int = 0) -> dict[str, torch.Tensor]:
        """Return the features of some windows.

        Args:
            rows: B numbers of rows of the dataset, in any order.
            view: number of the augmented view; 0 is the window itself.

        Returns:
            `teacher_states` (B, L, C, P, D) float16, layer-normalised, in memory patch by patch; `teacher_pooled`
            (B, L, D) and `teacher_logits` (B, num_labels) float32.

        Raises:
            IndexError: there is no such row or view.
            OSError: a file is gone or too short.
        """
        if len(rows) and not (0 <= min(rows) and max(rows) < self.n_windows and 0 <= view < self.n_views):
            raise IndexError(
                f"The cache holds rows 0 ... {self.n_windows - 1} in {self.n_views} view(s), asked for rows "
                f"{min(rows)} ... {max(rows)} of view {view}."
            )
        arrays = {name: np.empty((len(rows), *shape), _DTYPES[name]) for name, shape in self.shapes.items()}
        # files are opened each time: nothing is mapped or stays in memory, and workers share no position in a file
        by_shard: dict[int, list[tuple[int, int]]] = {}
        for place, row in enumerate(rows):
            shard, offset = divmod(view * self.n_windows + int(row), self.rows_per_shard)
            by_shard.setdefault(shard, []).append((place, offset))
        for number, entries in by_shard.items():
            shard = self._shards[number]
            with open(shard.path, "rb", buffering=0) as file:
                for place, offset in entries:
                    for name, array in arrays.items():
                        target = memoryview(array[place]).cast("B")
                        file.seek(shard.offsets[name] + offset * target.nbytes)
                        if file.readinto(target) != target.nbytes:
                            raise OSError(f"{shard.path} is shorter than it was. {_ADVICE}")
        states = torch.from_numpy(arrays["states"]).transpose(2, 3)
        return {
            "teacher_states": states,
            "teacher_pooled": torch.from_numpy(arrays["pooled"]),
            "teacher_logits": torch.from_numpy(arrays["logits"]),
        }

    @classmethod
    def build(
        cls,
        teacher: DLinkTeacherForEEGClassification,
        dataset: Any,
        cache_dir: str | Path | None = None,
        augment: Augment | None = None,
        n_views: int = 1,
        signal: Any = None,
        overwrite: bool = False,
        progress: bool = True,
        shard_bytes: int = _SHARD_BYTES,
    ) -> TeacherCache:
        """Compute a teacher's features of all windows, or find those that were computed before.

        The folder is named after the teacher's weights and config and the windows' values: where any of them changes,
        another is made. Files are written one by one and renamed when whole; a run that was killed goes on behind the
        last of them, and on the same machine with the same number of threads leaves the files of a run that was not. A
        second process that wants the same features waits for the first.

        Args:
            teacher: frozen, in evaluation mode while it runs here.
            dataset: rows with `input_values` (C, T) in microvolts, or `teacher_input_values` where the teacher sees
                more than its student; a `datasets.Dataset`, or anything with numbered rows.
            cache_dir: where caches go; `teachers` in the user's cache by default.
            augment: called as `augment(window (1, C, T), view, row)` for the views 1, 2 ...; the same arguments must
                give the same window, as [`EEGAugmentation`] does.
            n_views: views of each window; view 0 is the window itself.
            signal: config that says the windows' `ch_names` and `sfreq` (Hz), where the teacher reads only some of
                their channels or has another rate; see `token_grid.windows_for`.
            overwrite: compute again what is there.
            progress: show bars.
            shard_bytes: size of a file, about.

        Returns:
            the cache, complete and verified.

        Raises:
            NotCacheableError: the windows differ from one reading to the next.
            OSError: the disk has not enough room; the message gives the numbers.
            ValueError: a file of an earlier run is damaged, the teacher's output is not finite, or there are no
                windows.
        """
        if n_views < 1 or (n_views > 1 and augment is None):
            raise ValueError(f"`n_views` ({n_views}) above 1 needs an `augment`, and must be at least 1.")
        windows_name, n_windows = windows_fingerprint(dataset, augment, n_views, progress)
        names = {"teacher": reader_fingerprint(teacher, signal), "windows": windows_name}
        fingerprint = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()[:16]
        root = Path(cache_dir) if cache_dir is not None else default_cache_dir() / "teachers"
        folder = root / f"teacher-{fingerprint}"
        root.mkdir(parents=True, exist_ok=True)
        with _lock(root / f".teacher-{fingerprint}.lock"):
            if overwrite:
                shutil.rmtree(folder, ignore_errors=True)
            dataset = readable(dataset)
            manifest = _read_manifest(folder)
            if manifest is None:
                shapes = _shapes(_features(teacher, read_windows(dataset, np.arange(1), None, 0), [0], signal))
                rows = max(1, min(n_windows * n_views, shard_bytes // _entry_bytes(shapes)))
                manifest = {
                    **names, "version": CACHE_VERSION, "n_windows": n_windows, "n_views": n_views,
                    "rows_per_shard": rows, "shapes": shapes,
                }  # fmt: skip
            _complete(folder, manifest, teacher, dataset, augment, signal, progress)
        # every file was verified just now, or hashed while it was written
        return cls(folder, verify=False)

    def check(
        self,
        teacher: DLinkTeacherForEEGClassification,
        dataset: Any,
        augment: Augment | None = None,
        signal: Any = None,
    ) -> None:
        """Refuse to be used with another teacher, or with other windows. The arguments are those of [`build`].

        Raises:
            NotCacheableError: the windows differ from one reading to the next.
            ValueError: saying which of the two it was made with.
        """
        windows, _ = windows_fingerprint(dataset, augment, self.n_views)
        for what, expected in (("teacher", reader_fingerprint(teacher, signal)), ("windows", windows)):
            if self.manifest[what] != expected:
                raise ValueError(
                    f"{self.folder} was made with {'another teacher' if what == 'teacher' else 'other windows'}: its "
                    "features would be wrong here. `TeacherCache.build(teacher, dataset)` finds the right one, or "
                    "makes it."
                )


_ADVICE = "Delete the file and build again, which computes it again, or build with overwrite=True."


def _lock(path: Path) -> Any:
    """The lock of a folder, once it is free; a wait is logged."""
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=1)
    except Timeout:
        logger.warning("another process computes the same teacher features (%s); waiting for it", path)
        return lock.acquire()


def _entry_bytes(shapes: dict[str, Sequence[int]]) -> int:
    return sum(int(np.prod(shape)) * np.dtype(_DTYPES[name]).itemsize for name, shape in shapes.items())


def _shapes(features: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: list(array.shape[1:]) for name, array in features.items()}


@torch.no_grad()
def _features(teacher: Any, windows: torch.Tensor, rows: Sequence[int], signal: Any) -> dict[str, np.ndarray]:
    """What is stored of a batch: states (B, L, P, C, D), pooled (B, L, D), logits (B, num_labels)."""
    if signal is not None:
        windows = windows_for(windows, signal, teacher.config)
    training = teacher.training
    try:
        output = teacher.eval()(windows.to(teacher.device), output_hidden_states=True, return_dict=True)
    finally:
        teacher.train(training)
    states, pooled = normalise_layers([state.float() for state in output.hidden_states])
    values = {"states": states.transpose(2, 3), "pooled": pooled, "logits": output.logits}
    arrays = {name: value.to(getattr(torch, _DTYPES[name])).cpu().numpy() for name, value in values.items()}
    for name in ("pooled", "logits"):
        bad = ~np.isfinite(arrays[name]).reshape(len(rows), -1).all(1)
        if bad.any():
            raise ValueError(
                f"The teacher's output for row {int(np.asarray(rows)[bad][0])} of the dataset is not finite "
                f"({name}). Look for NaN or huge values in its `input_values`, and at the teacher's weights."
            )
    return arrays


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["version"]
        _ = [manifest[key] for key in ("teacher", "windows", "n_windows", "n_views", "rows_per_shard", "shapes")]
    except MALFORMED as error:
        raise ValueError(f"{path} is damaged ({error!r}). Delete its folder, or build with overwrite=True.") from error
    if version != CACHE_VERSION:
        raise ValueError(
            f"{folder} was written in version {version} of the format, this is version {CACHE_VERSION}. Build again."
        )
    return manifest


def _shard_offsets(path: Path, manifest: dict[str, Any], rows: int) -> dict[str, int]:
    """Where each array begins in a safetensors file: 8 bytes, the header's length; the header, JSON; the arrays."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length) if length < 10**6 else b"")
        except MALFORMED as error:
            raise ValueError(f"{path} is damaged: its header can't be read. {_ADVICE}") from error
    end = 8 + length
    offsets = {}
    for name, shape in manifest["shapes"].items():
        entry = header.get(name, {})
        if entry.get("shape") != [rows, *shape] or entry.get("dtype") != _SAFETENSORS_DTYPES[_DTYPES[name]]:
            raise ValueError(f"{path} is damaged: `{name}` is {entry}, not {rows} x {shape}. {_ADVICE}")
        offsets[name] = 8 + length + entry["data_offsets"][0]
        end = max(end, 8 + length + entry["data_offsets"][1])
    if path.stat().st_size != end:
        raise ValueError(f"{path} is damaged: it has {path.stat().st_size} bytes and should have {end}. {_ADVICE}")
    return offsets


def _find_shards(folder: Path, manifest: dict[str, Any]) -> dict[int, _Shard]:
    """The whole files that are there, by number."""
    found = {}
    total = manifest["n_windows"] * manifest["n_views"]
    for path in sorted(folder.glob("shard-*-*.safetensors")):
        number = int(path.name.split("-")[1])
        rows = min(manifest["rows_per_shard"], total - number * manifest["rows_per_shard"])
        found[number] = _Shard(path, _shard_offsets(path, manifest, rows))
    return found


def _verify(paths: Sequence[Path], progress: bool) -> None:
    """Hash files whose names hold their hash."""
    for path in tqdm(paths, desc="checking teacher features", unit="file", disable=not progress, delay=2):
        if _hash(path) != path.stem.split("-")[2]:
            raise ValueError(f"{path} is damaged: its contents are not those that were written. {_ADVICE}")


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _complete(
    folder: Path,
    manifest: dict[str, Any],
    teacher: Any,
    dataset: Any,
    augment: Augment | None,
    signal: Any,
    progress: bool,
) -> None:
    """Verify the files that are there and write those that are missing."""
    found = _find_shards(folder, manifest)
    _verify([shard.path for shard in found.values()], progress)
    n_windows, rows_per_shard = manifest["n_windows"], manifest["rows_per_shard"]
    total = n_windows * manifest["n_views"]
    missing = [number for number in range(-(-total // rows_per_shard)) if number not in found]
    if not missing:
        return
    entry = _entry_bytes(manifest["shapes"])
    spans = {number: range(number * rows_per_shard, min((number + 1) * rows_per_shard, total)) for number in missing}
    n_entries = sum(map(len, spans.values()))
    _check_disk(folder, n_entries, entry)
    if not (folder / MANIFEST_NAME).is_file():
        with staged(folder) as partial:
            (partial / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    # leftovers of a run that was killed: whoever holds the lock is the only one who writes here
    for leftover in folder.glob(".saving-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tqdm(total=n_entries, desc="teacher features", unit="window", disable=not progress) as bar:
        for number in missing:
            span = spans[number]
            arrays = {name: np.empty((len(span), *s), _DTYPES[name]) for name, s in manifest["shapes"].items()}
            done = 0
            while done < len(span):
                view, row = divmod(span[done], n_windows)
                rows = np.arange(row, min(row + BATCH, n_windows, row + len(span) - done))
                features = _features(teacher, read_windows(dataset, rows, augment, view), rows, signal)
                for name, array in arrays.items():
                    array[done : done + len(rows)] = features[name]
                done += len(rows)
                bar.update(len(rows))
            _write_shard(folder, number, arrays)


def _write_shard(folder: Path, number: int, arrays: dict[str, np.ndarray]) -> None:
    try:
        with staged(folder) as partial:
            path = partial / f"shard-{number:05d}.safetensors"
            save_file(arrays, path)
            path.rename(partial / f"shard-{number:05d}-{_hash(path)}.safetensors")
    except OSError as error:
        if is_disk_full(error):
            raise OSError(
                error.errno,
                f"there is no more room for teacher features in {folder} ({error.strerror}). What is whole is kept: "
                "free some space and build again, or name another folder",
            ) from error
        raise


def _check_disk(folder: Path, n_entries: int, entry: int) -> None:
    """Refuse what the disk can't hold, before the teacher has run for an hour."""
    needed = n_entries * entry
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(existing).free
    logger.info("teacher features: %d windows x %.0f kB = %.2f GB in %s", n_entries, entry / 1e3, needed / 1e9, folder)
    if needed * 1.02 > free:
        raise OSError(
            errno.ENOSPC,
            f"The teacher's features of {n_entries} windows need {needed / 1e9:.2f} GB ({entry / 1e3:.0f} kB each), "
            f"and {existing} has {free / 1e9:.2f} GB free. Free some space, name another folder, or train with the "
            "live teacher",
        )


__all__ = ["TeacherCache"]
