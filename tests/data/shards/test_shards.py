# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Shards stream from anywhere, every window once, in the same order again; what is damaged is an error, by name."""

import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from itertools import islice
from pathlib import Path

import datasets
import fsspec
import numpy as np
import pytest
import torch
from data_recordings import SFREQ, save_raw
from datasets.distributed import split_dataset_by_node
from fake_hub.server import HubServer
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from dlink_hf import (
    EEGDataCollator,
    EEGFeatureExtractor,
    MiCConfig,
    MiCForEEGClassification,
    ShardManifest,
    check_shards,
    load_shards,
    prepare_shards,
    signal_fields,
    signal_info,
)
from dlink_hf.data.shards.load import label_counts, n_windows, sized


N_WINDOWS = 72


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for person in range(8):
        notes = ((0.0, 8.0, "rest"), (8.0, 10.0, "task"))
        save_raw(folder, f"s{person}_raw.fif", annotations=notes, subject=f"S{person}", seed=person, duration=18.0)
    return folder


@pytest.fixture(scope="module")
def folders(recordings, tmp_path_factory):
    """The same windows in both formats, four shards of two people each."""
    extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=400)
    made = {}
    for format in ("parquet", "webdataset"):
        made[format] = tmp_path_factory.mktemp(format)
        prepare_shards(recordings, made[format], extractor, shard_mb=0.11, format=format, progress=False)
    return made


@pytest.fixture(scope="module")
def folder(folders):
    return folders["parquet"]


@pytest.fixture
def copy(folders, tmp_path):
    """A copy of a folder, to be damaged."""

    def make(format="parquet", name="copy"):
        return shutil.copytree(folders[format], tmp_path / name)

    return make


@pytest.fixture(scope="module")
def expected(folder):
    """Window by its number."""
    return {int(row["row"]): row["input_values"].numpy() for row in load_shards(folder)}


def numbers(rows):
    return [int(row["row"]) for row in rows]


def test_a_stream_knows_its_signal_and_shards(folder, expected):
    stream = load_shards(folder)
    assert stream.n_shards == 4 and sorted(expected) == list(range(N_WINDOWS))
    assert signal_info(stream).ch_names == ("C3", "Cz", "C4", "Oz") and signal_info(stream).sfreq == SFREQ
    assert signal_fields(stream.shuffle(seed=0, buffer_size=8))["id2label"] == {0: "rest", 1: "task"}
    row = next(iter(stream))
    assert row["input_values"].shape == (4, 400) and row["input_values"].dtype == torch.float32
    assert isinstance(next(iter(stream.with_format("numpy")))["input_values"], np.ndarray)
    assert label_counts(folder) == {"rest": 32, "task": 40} and n_windows(folder) == N_WINDOWS
    assert ShardManifest.read(folder).hours("train") == pytest.approx(N_WINDOWS * 2 / 3600)
    with pytest.raises(ValueError, match="no split 'test'; there are train"):
        load_shards(folder, "test")


def test_rows_in_the_cache_are_those_of_the_stream(folder, expected, tmp_path):
    for _ in range(2):
        rows = load_shards(folder, streaming=False, cache_dir=tmp_path)
        assert len(rows) == N_WINDOWS and signal_fields(rows) == signal_fields(load_shards(folder))
        assert all(np.array_equal(row["input_values"], expected[int(row["row"])]) for row in rows)
        assert numbers(rows) == numbers(load_shards(folder))
    assert len(list(tmp_path.iterdir())) == 1


def test_webdataset_holds_the_same_windows(folders, expected, tmp_path):
    rows = list(load_shards(folders["webdataset"]))
    assert numbers(rows) == numbers(load_shards(folders["parquet"]))
    assert all(np.array_equal(row["input_values"], expected[int(row["row"])]) for row in rows)
    # and datasets' own reader finds them
    plain = datasets.load_dataset(str(folders["webdataset"]), cache_dir=str(tmp_path), split="train")
    assert len(plain) == N_WINDOWS
    labels = {int(row["row"]): int(row["labels"]) for row in rows}
    for row in plain:
        number = row["json"]["row"]
        assert np.array_equal(np.array(row["input_values.npy"], dtype=np.float32), expected[number])
        assert row["cls"] == labels[number] and row["__key__"] == f"{number:09d}"
        assert row["json"]["label"] == ("rest", "task")[row["cls"]]


@pytest.fixture
def server(folders):
    """Both folders over HTTP on loopback."""
    handler = functools.partial(_Handler, directory=str(folders["parquet"].parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and ranges of them, as web servers do."""

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            return super().send_head()
        content = path.read_bytes()
        begin = int(wanted[1])
        part = content[begin : int(wanted[2]) + 1 if wanted[2] else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)

    def log_message(self, *args):
        pass


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
@pytest.mark.parametrize("scheme", ["file", "memory", "http"])
def test_any_address_gives_the_same_windows(folders, expected, server, format, scheme):
    folder = folders[format]
    if scheme == "memory":
        url = f"memory://{format}"
        fsspec.filesystem("memory").put(str(folder), f"/{format}", recursive=True)
    else:
        url = f"file://{folder}" if scheme == "file" else f"{server}/{folder.name}"
    for verify in ("size", "hash", "none"):
        stream = load_shards(url, verify=verify)
        rows = list(stream)
        assert numbers(rows) == numbers(load_shards(folder))
        assert all(np.array_equal(row["input_values"], expected[int(row["row"])]) for row in rows)
    assert check_shards(url, progress=False) == ShardManifest.read(folder)
    with pytest.raises(FileNotFoundError, match=r"there is no manifest.json in .*dlink prepare"):
        load_shards(url + "-absent")


def test_the_hub_takes_the_folder_and_streams_it(folder, tmp_path):
    """The real client, against a Hub on loopback; DataLoader workers have connections of their own."""
    script = f"""
        import json
        from huggingface_hub import HfApi
        from torch.utils.data import DataLoader
        from dlink_hf import check_shards, load_shards

        def numbers(rows):
            return [[int(row["row"]), float(row["input_values"].double().sum())] for row in rows]

        HfApi().create_repo("me/corpus", repo_type="dataset")
        options = {{"repo_type": "dataset", "ignore_patterns": [".*", ".*/**"]}}
        HfApi().upload_folder(folder_path={str(folder)!r}, repo_id="me/corpus", **options)
        check_shards("hf://datasets/me/corpus", progress=False)
        stream = load_shards("hf://datasets/me/corpus")
        loader = DataLoader(stream, 8, num_workers=2, collate_fn=numbers)
        print(json.dumps([numbers(stream), sum(loader, [])]))
    """
    with HubServer(tmp_path / "hub", tokens={"hf_me": ("me", "write")}) as hub:
        environment = hub.environment(tmp_path / "home", HF_TOKEN="hf_me", HF_HUB_DISABLE_PROGRESS_BARS="1")
        command = [sys.executable, "-c", textwrap.dedent(script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    direct, loaded = json.loads(done.stdout.splitlines()[-1])
    expected = [[int(row["row"]), float(row["input_values"].double().sum())] for row in load_shards(folder)]
    assert direct == expected and sorted(loaded) == sorted(expected)


def test_shards_that_are_not_those_of_the_manifest_are_named(copy, folder):
    names = sorted(path.name for path in (folder / "data").iterdir())
    lost = copy(name="lost")
    (lost / "data" / names[1]).unlink()
    for call in (load_shards, check_shards):
        with pytest.raises(
            FileNotFoundError, match=rf"{names[1]} that the manifest names is not in .*run `dlink prep"
        ):
            call(lost)
    with pytest.raises(FileNotFoundError, match=rf"{names[1]} that the manifest names is not in"):
        list(load_shards(lost, verify="none"))
    strange = copy(name="strange")
    (strange / "data" / "train-00000-of-00009.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="train-00000-of-00009.parquet, which the manifest does not know"):
        load_shards(strange)
    short = copy(name="short")
    path = short / "data" / names[2]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=rf"{names[2]} has \d+ bytes instead of \d+.*delete it and run `dlink"):
        load_shards(short)
    swapped = copy(name="swapped")
    path = swapped / "data" / names[3]
    path.write_bytes(bytes(reversed(path.read_bytes())))
    with pytest.raises(ValueError, match=rf"{names[3]} is damaged"):
        load_shards(swapped, verify="hash")
    with pytest.raises(ValueError, match=rf"{names[3]} is damaged"):
        check_shards(swapped)
    # another shard under this one's name
    (copied := copy(name="copied")).joinpath("data", names[0]).write_bytes((folder / "data" / names[1]).read_bytes())
    with pytest.raises(ValueError, match=names[0]):
        load_shards(copied, verify="hash")
    no_json = copy(name="no_json")
    (no_json / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        load_shards(no_json)
    facts = json.loads((folder / "manifest.json").read_text())
    (no_json / "manifest.json").write_text(json.dumps({**facts, "version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        load_shards(no_json)


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_no_flipped_bit_becomes_a_wrong_number(copy, expected, format):
    """Bits all over a file: reading ends in an error that names it, or the windows are right all the same."""
    folder = copy(format)
    path = sorted((folder / "data").iterdir())[0]
    whole = path.read_bytes()
    facts = {int(row["row"]): (row["labels"], row["subject"], row["recording"], row["onset"]) for row in
             load_shards(folder)}  # fmt: skip
    rng = np.random.default_rng(0)
    n_errors = 0
    # the ends are dense with what is no sample: headers, labels, the footer
    places = [*rng.integers(0, len(whole), 120), *rng.integers(len(whole) - 4000, len(whole), 60), *range(4, 60)]
    for place in map(int, places):
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            for row in load_shards(folder).take(20).with_format("numpy"):
                number = int(row["row"])
                assert np.array_equal(row["input_values"], expected[number]), place
                assert (row["labels"], row["subject"], row["recording"], row["onset"]) == facts[number], place
        except OSError as error:
            assert path.name in str(error)
            n_errors += 1
    assert n_errors > 100


def test_nodes_and_workers_share_out_the_windows(folder):
    for shuffled in (False, True):
        seen = []
        for rank in range(2):
            stream = load_shards(folder).shuffle(seed=1, buffer_size=16) if shuffled else load_shards(folder)
            stream = split_dataset_by_node(stream, rank=rank, world_size=2)
            assert stream.n_shards == 2
            loader = DataLoader(stream, batch_size=5, num_workers=2, collate_fn=numbers)
            part = [row for batch in loader for row in batch]
            assert 0 < len(part) < N_WINDOWS
            seen += part
        assert sorted(seen) == list(range(N_WINDOWS))


def test_nodes_whose_number_does_not_divide_the_shards_share_rows(folder):
    parts = [numbers(split_dataset_by_node(load_shards(folder), rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(sum(parts, [])) == list(range(N_WINDOWS)) and {len(part) for part in parts} == {24}


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_a_stream_goes_on_in_mid_epoch_where_it_stopped(folders, format):
    whole = numbers(load_shards(folders[format]))
    for stop in (0, 1, 17, 18, 40, 71, 72):
        stream = load_shards(folders[format])
        before = numbers(islice(stream, stop))
        state = json.loads(json.dumps(stream.state_dict()))
        other = load_shards(folders[format])
        other.load_state_dict(state)
        assert before + numbers(other) == whole


def test_a_shuffled_stream_goes_on_by_leaving_out_what_was_seen(folder):
    def stream(epoch):
        dataset = load_shards(folder).shuffle(seed=7, buffer_size=20)
        dataset.set_epoch(epoch)
        return dataset

    orders = [numbers(stream(epoch)) for epoch in range(3)]
    assert all(sorted(order) == list(range(N_WINDOWS)) for order in orders)
    assert len(set(map(tuple, orders))) == 3 and orders[0] != numbers(load_shards(folder))
    for stop in (1, 30, 71):
        assert numbers(stream(0).skip(stop)) == orders[0][stop:]
        assert numbers(islice(stream(1), stop, None)) == orders[1][stop:]
    for workers in (0, 2):
        batches = [list(DataLoader(stream(2), 8, num_workers=workers, collate_fn=numbers)) for _ in range(2)]
        assert batches[0] == batches[1] and sorted(sum(batches[0], [])) == list(range(N_WINDOWS))


class _Recorder(torch.nn.Module):
    """A model that notes the windows that it trains on, by their numbers."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, row, labels=None):
        self.seen.append(row.tolist())
        return {"loss": (self.weight * row.float().mean()).sum()}


def test_a_trainer_that_resumes_sees_the_windows_that_were_left(folder, tmp_path):
    """18 batches of 4 an epoch; stopped in the second one, behind the 25th step."""

    def train(name, max_steps, resume=None):
        settings = TrainingArguments(
            output_dir=str(tmp_path / name), max_steps=max_steps, per_device_train_batch_size=4, save_steps=25,
            report_to="none", use_cpu=True, disable_tqdm=True, logging_strategy="no", dataloader_pin_memory=False,
            lr_scheduler_type="constant",
        )  # fmt: skip
        model = _Recorder()
        stream = load_shards(folder).shuffle(seed=3, buffer_size=24).select_columns(["row", "labels"])
        stream = sized(stream, n_windows(folder, "train"))
        Trainer(model, settings, train_dataset=stream).train(resume_from_checkpoint=resume)
        return model.seen

    whole = train("whole", 40)
    begun = train("begun", 25)
    rest = train("begun", 40, resume=str(tmp_path / "begun" / "checkpoint-25"))
    assert begun + rest == whole
    assert sorted(sum(whole[:18], [])) == sorted(sum(whole[18:36], [])) == list(range(N_WINDOWS))


def test_a_student_trains_on_a_stream(folder, tmp_path):
    stream = load_shards(folder).shuffle(seed=0, buffer_size=32)
    torch.manual_seed(0)
    model = MiCForEEGClassification(MiCConfig.from_size("tiny", **signal_fields(stream)))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    settings = TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=8, report_to="none", use_cpu=True,
        disable_tqdm=True, save_strategy="no", logging_steps=1, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Trainer(model, settings, train_dataset=stream, data_collator=EEGDataCollator())
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3 and np.isfinite(losses).all()
    assert any(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
