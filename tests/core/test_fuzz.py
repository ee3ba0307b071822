# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A small fuzz: 2,000 seeded mutations of recordings, checkpoints and corpora. Each is read right, or refused by name.

What counts: a recording gives the samples that plain MNE reads, or a `ValueError` or `OSError`; so do the others. A
mutation of bits, lengths, numbers of headers and JSON values is drawn by a seed, so a failure is met again by number.
"""

from __future__ import annotations

import json
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from data_recordings import SFREQ, save_raw

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, check_shards, load_shards, prepare_shards
from dlink_hf.preprocessing.recordings import read_recording


NAMES = ["C3", "Cz", "C4", "Oz"]
VALUES = [None, True, "64", "", [], [1], {}, -1, 0, 1, 2, 1e308, 10**9, 10**30, "\ud800", float("nan"), [[]], 0.5]
# seconds that one try may take: a tag loop or an absurd length is found at once
MOST_SECONDS = 30.0


def mutate_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bits, a cut, a hole, a repetition, or digits of a header turned into others."""
    data = bytearray(content)
    kind = int(rng.integers(6))
    # headers are where lengths and types stand
    reach = len(data) if rng.random() < 0.4 else min(len(data), 2048)
    if kind == 0:
        for place in rng.integers(0, reach, int(rng.integers(1, 8))):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del data[int(rng.integers(0, len(data))) :]
    elif kind == 2:
        start = int(rng.integers(0, reach))
        del data[start : start + int(rng.integers(1, 64))]
    elif kind == 3:
        start = int(rng.integers(0, reach))
        data[start:start] = data[start : start + int(rng.integers(1, 64))]
    elif kind == 4:
        digits = [place for place in range(min(reach, len(data))) if 48 <= data[place] <= 57]
        for place in rng.choice(digits or [0], min(len(digits) or 1, 3)):
            data[place] = int(rng.integers(48, 58)) if rng.random() < 0.8 else int(rng.choice([32, 45, 0, 255]))
    else:
        start = int(rng.integers(0, reach))
        length = int(rng.integers(1, 16))
        data[start : start + length] = bytes([int(rng.choice([0, 255, 32]))] * length)
    return bytes(data)


def mutate_json(content: bytes, rng: np.random.Generator) -> bytes:
    """One value anywhere replaced, removed or doubled; or the bytes themselves."""
    if rng.random() < 0.2:
        return mutate_bytes(content, rng)
    value = json.loads(content)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = places[int(rng.integers(len(places)))]
    kind = rng.random()
    if kind < 0.75:
        node[key] = VALUES[int(rng.integers(len(VALUES)))]
    elif kind < 0.9 or isinstance(node, list):
        del node[key]
    else:
        node[f"{key}x"] = node[key]
    return json.dumps(value).encode()


def run_tries(number: int, seed: int, attempt: Callable[[np.random.Generator], str]) -> Counter:
    """How the tries ended; anything but right or a clear error fails, with its number."""
    outcomes: Counter = Counter()
    for index in range(number):
        # of the processor, not of the clock: a busy machine is no fault
        start = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcomes[attempt(np.random.default_rng([seed, index]))] += 1
        except (ValueError, OSError) as error:
            assert str(error), (seed, index)
            outcomes[type(error).__name__] += 1
        except Exception as error:
            raise AssertionError(f"try {index} of seed {seed}: {error!r}") from error
        assert time.process_time() - start < MOST_SECONDS, (seed, index)
    return outcomes


def named(error: BaseException, name: str) -> None:
    assert name in str(error), error
    raise error


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("ending", "tries"), [("fif", 250), ("edf", 350), ("bdf", 200), ("vhdr", 200)])
def test_readers_give_what_mne_reads_or_name_the_file(tmp_path: Path, ending: str, tries: int) -> None:
    raw = mne.io.read_raw_fif(save_raw(tmp_path, "whole_raw.fif", duration=6.0), preload=True, verbose="ERROR")
    whole = tmp_path / {"fif": "whole_raw.fif"}.get(ending, f"whole.{ending}")
    if ending == "bdf":
        whole.write_bytes(_bdf(raw.get_data()))
    elif ending == "vhdr":
        raw.get_data().T.astype("<f4").tofile(tmp_path / "whole.eeg")
        whole.write_text(
            _VHDR.format(n=len(NAMES), channels="\n".join(map("Ch{0[0]}={0[1]},,1,V".format, enumerate(NAMES, 1))))
        )
    elif ending != "fif":
        mne.export.export_raw(whole, raw, verbose="ERROR")
    content = whole.read_bytes()
    path = tmp_path / f"mutated_raw.{ending}"

    def attempt(rng: np.random.Generator) -> str:
        path.write_bytes(mutate_bytes(content, rng))
        try:
            found = read_recording(path)
            samples = found.get_data()
        except (ValueError, OSError) as error:
            named(error, path.name)
        try:
            plain = mne.io.read_raw(path, preload=True, verbose="ERROR")
        except Exception as error:
            # annotations that are not UTF-8: MNE refuses the signal, this package reads on in Latin-1
            assert "invalid byte in at least one annotations channel" in str(error), error
            return "read where MNE does not"
        common = [name for name in found.ch_names if name in plain.ch_names]
        if samples.shape[1] == plain.n_times and common == found.ch_names:
            rows = plain.get_data(picks=common)
            assert np.array_equal(samples, rows, equal_nan=True)
            return "as MNE reads it"
        return "read otherwise"

    outcomes = run_tries(tries, 1, attempt)
    print(ending, dict(outcomes))
    assert outcomes["as MNE reads it"] > 0 and outcomes.total() == tries


_VHDR = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=whole.eeg
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels={n}
SamplingInterval=5000
[Binary Infos]
BinaryFormat=IEEE_FLOAT_32
[Channel Infos]
{channels}
"""


def _bdf(volts: np.ndarray) -> bytes:
    """(C, T) volts at 200 Hz as BDF of 1 s records."""
    n_chans, n_records = len(volts), volts.shape[1] // int(SFREQ)

    def field(text: Any, width: int) -> bytes:
        return str(text).ljust(width).encode()

    head = b"\xffBIOSEMI" + field("X", 80) + field("X", 80) + b"01.01.2001.01.01" + field(256 * (n_chans + 1), 8)
    head += field("24BIT", 44) + field(n_records, 8) + field(1, 8) + field(n_chans, 4)
    for texts, width in (
        (NAMES[:n_chans], 16),
        (["x"] * n_chans, 80),
        (["uV"] * n_chans, 8),
        ([-8388608] * n_chans, 8),
        ([8388607] * n_chans, 8),
        ([-8388608] * n_chans, 8),
        ([8388607] * n_chans, 8),
        ([""] * n_chans, 80),
        ([int(SFREQ)] * n_chans, 8),
        ([""] * n_chans, 32),
    ):
        head += b"".join(field(text, width) for text in texts)
    counts = np.round(volts * 1e6).astype("<i4")
    blocks = counts[:, : n_records * int(SFREQ)].reshape(n_chans, n_records, -1).transpose(1, 0, 2)
    return head + np.ascontiguousarray(blocks)[..., None].view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_checkpoints_are_whole_or_refused_by_name(tmp_path: Path) -> None:
    folder, whole = tmp_path / "mutated", tmp_path / "whole"
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=NAMES)).eval()
    model.save_pretrained(whole)
    EEGFeatureExtractor(ch_names=NAMES, l_freq=0.5, alignment="monge").save_pretrained(whole)
    tensors = model.state_dict()
    files = ["config.json", "config.json", "preprocessor_config.json", "model.safetensors"]

    def attempt(rng: np.random.Generator) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        file = files[int(rng.integers(len(files)))]
        mutate = mutate_json if file.endswith("json") else mutate_bytes
        (folder / file).write_bytes(mutate((whole / file).read_bytes(), rng))
        try:
            if file.startswith("pre"):
                return f"loaded as {type(EEGFeatureExtractor.from_pretrained(folder)).__name__}"
            loaded = MiCForEEGClassification.from_pretrained(folder)
        except (ValueError, OSError) as error:
            named(error, folder.name)
        if file == "config.json":
            # what the config can change is not a tensor
            assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in tensors.items())
            return "the same tensors"
        # without a hash there is no telling other numbers from the right ones; names and shapes are the config's
        assert {name: value.shape for name, value in loaded.state_dict().items()} == {
            name: value.shape for name, value in tensors.items()
        }
        return "the same shapes"

    outcomes = run_tries(500, 2, attempt)
    print("checkpoints", dict(outcomes))
    assert outcomes.total() == 500 and outcomes["ValueError"] > 100


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_corpora_give_the_windows_that_were_written_or_are_refused_by_name(tmp_path: Path, format: str) -> None:
    source, whole, folder = tmp_path / "recordings", tmp_path / "whole", tmp_path / "mutated"
    source.mkdir()
    notes = ((0.0, 4.0, "rest"), (4.0, 4.0, "task"))
    for person in range(2):
        save_raw(source, f"s{person}_raw.fif", annotations=notes, subject=f"S{person}", seed=person, duration=8.0)
    extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=400)
    prepare_shards(source, whole, extractor, shard_mb=0.05, format=format, progress=False)
    rows = {int(row["row"]): row for row in load_shards(whole).with_format("numpy")}
    shards = sorted(path.relative_to(whole).as_posix() for path in (whole / "data").iterdir())
    files = ["manifest.json", "manifest.json", *shards]

    def attempt(rng: np.random.Generator) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        file = files[int(rng.integers(len(files)))]
        mutate = mutate_json if file == "manifest.json" else mutate_bytes
        (folder / file).write_bytes(mutate((whole / file).read_bytes(), rng))
        try:
            for row in load_shards(folder, verify="none").with_format("numpy"):
                expected = rows[int(row["row"])]
                assert np.array_equal(row["input_values"], expected["input_values"])
                assert (row["subject"], row["recording"]) == (expected["subject"], expected["recording"])
                assert row["onset"] == expected["onset"] and row["labels"] == expected["labels"]
            check_shards(folder, progress=False)
        except (ValueError, OSError) as error:
            named(error, folder.name)
        return "the same windows"

    outcomes = run_tries(250, 3, attempt)
    print(format, dict(outcomes))
    assert outcomes.total() == 250 and outcomes["the same windows"] > 0
