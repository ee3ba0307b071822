# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Corpora that somebody made to mislead: manifests are claims, and shards are compared with them."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from data_recordings import SFREQ, save_raw

from dlink_hf import EEGFeatureExtractor, check_shards, load_shards, prepare_shards, signal_fields
from dlink_hf.commands import main
from dlink_hf.data.shards.write import window_checksum


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same windows in both formats, and those of other people under the same names."""
    made = {}
    for name, seed, format in (("parquet", 0, "parquet"), ("tar", 0, "webdataset"), ("others", 9, "parquet")):
        source = tmp_path_factory.mktemp("recordings")
        for person in range(2):
            notes = ((0.0, 8.0, "rest"), (8.0, 10.0, "task"))
            save_raw(
                source, f"s{person}_raw.fif", annotations=notes, subject=f"S{person}", seed=seed + person, duration=18
            )
        made[name] = tmp_path_factory.mktemp(name)
        extractor = EEGFeatureExtractor(sfreq=SFREQ, n_times=400)
        prepare_shards(source, made[name], extractor, shard_mb=0.11, format=format, progress=False)
    return made


@pytest.fixture
def copy(corpora: dict[str, Path], tmp_path: Path) -> Any:
    def make(name: str = "parquet") -> Path:
        return shutil.copytree(corpora[name], tmp_path / f"{name}-copy")

    return make


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text(json.dumps(facts))


def claim(folder: Path) -> None:
    """Have the manifest tell the truth about the bytes of the shards."""
    facts = manifest(folder)
    for shards in facts["splits"].values():
        for shard in shards:
            content = (folder / shard["name"]).read_bytes()
            shard |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    write_manifest(folder, facts)


WRONG = [None, True, 7, -1, "x", "", [], [1], {}, {"a": 1}, 1e308, math.nan, 10**30]


def test_every_field_of_a_manifest_is_checked(copy: Any) -> None:
    folder = copy()
    whole = manifest(folder)
    good = {"fingerprint", "settings", "report", "skipped", "label_names", "splits"}
    for field in set(whole) - {"totals"}:
        for value in WRONG:
            write_manifest(folder, {**whole, field: value})
            try:
                load_shards(folder, verify="none")
                assert field in good or value in (7, whole[field]), (field, value)
            except ValueError as error:
                split = field == "splits" and "no split" in str(error)
                assert split or ("manifest.json" in str(error) and field in str(error)), (field, value)
    for field in ("name", "sha256", "bytes", "windows", "labels", "subjects", "recordings"):
        for value in WRONG:
            facts = json.loads(json.dumps(whole))
            facts["splits"]["train"][0][field] = value
            write_manifest(folder, facts)
            try:
                load_shards(folder, verify="none")
                assert (field, value) in [("bytes", 7), ("subjects", []), ("recordings", [])], (field, value)
            except ValueError as error:
                assert "manifest.json" in str(error) and "splits['train'][0]" in str(error), (field, value)


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": ' + "[" * 200_000 + "]" * 200_000 + "}", "null", "\xff"])
def test_what_is_no_manifest_is_an_error_of_the_command(copy: Any, text: str, capsys: Any) -> None:
    folder = copy()
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"manifest\.json"):
        load_shards(folder)
    assert main(["prepare", "--verify", str(folder)]) == 1
    assert "manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["../s.parquet", "/etc/s.parquet", "data/../../s.parquet", "data/a/b.parquet", "s.parquet"]
)
def test_shards_stay_in_the_folder(copy: Any, name: str) -> None:
    folder = copy()
    facts = manifest(folder)
    facts["splits"]["train"][0]["name"] = name
    write_manifest(folder, facts)
    with pytest.raises(ValueError, match=r"splits\['train'\]\[0\]\.name"):
        load_shards(folder, verify="none")


def test_a_cache_is_of_what_was_read_and_not_of_what_is_claimed(copy: Any, tmp_path: Path) -> None:
    honest, liar = copy("parquet"), copy("others")
    first = load_shards(honest, streaming=False, cache_dir=tmp_path / "cache")
    facts, truth = manifest(liar), manifest(honest)
    for mine, theirs in zip(facts["splits"]["train"], truth["splits"]["train"], strict=True):
        mine["sha256"] = theirs["sha256"]
    write_manifest(liar, facts)
    with pytest.raises(ValueError, match="is damaged"):
        load_shards(liar, streaming=False, cache_dir=tmp_path / "cache", verify="none")
    claim(liar)
    second = load_shards(liar, streaming=False, cache_dir=tmp_path / "cache")
    streamed = next(iter(load_shards(liar)))
    assert np.array_equal(second[0]["input_values"], streamed["input_values"])
    assert not np.array_equal(first[0]["input_values"], second[0]["input_values"])


def rename_labels(folder: Path, names: dict[str, str]) -> None:
    facts = manifest(folder)
    facts["label_names"] = [names.get(name, name) for name in facts["label_names"]]
    for shard in facts["splits"]["train"]:
        shard["labels"] = {names.get(name, name): count for name, count in shard["labels"].items()}
    write_manifest(folder, facts)


def test_corrected_names_of_labels_are_heeded_by_the_cache(copy: Any, tmp_path: Path) -> None:
    folder = copy()
    assert signal_fields(load_shards(folder, streaming=False, cache_dir=tmp_path))["id2label"][0] == "rest"
    rename_labels(folder, {"rest": "relaxed"})
    assert signal_fields(load_shards(folder, streaming=False, cache_dir=tmp_path))["id2label"][0] == "relaxed"


LIES = {
    "label_names": lambda facts: facts | {"label_names": facts["label_names"][::-1]},
    "ch_names": lambda facts: facts | {"ch_names": facts["ch_names"][::-1]},
    "sfreq": lambda facts: facts | {"sfreq": 2 * facts["sfreq"]},
    "n_times": lambda facts: facts | {"n_times": 200},
}


@pytest.mark.parametrize("format", ["parquet", "tar"])
@pytest.mark.parametrize("lie", LIES)
def test_facts_of_the_manifest_are_compared_with_the_shards(copy: Any, format: str, lie: str) -> None:
    folder = copy(format)
    write_manifest(folder, LIES[lie](manifest(folder)))
    for read in (lambda: list(load_shards(folder)), lambda: check_shards(folder, progress=False)):
        with pytest.raises(OSError, match=r"train-00000.*manifest"):
            read()


@pytest.mark.parametrize("format", ["parquet", "tar"])
@pytest.mark.parametrize("field", ["labels", "subjects", "recordings"])
def test_verify_counts_what_the_shards_hold(copy: Any, format: str, field: str, capsys: Any) -> None:
    folder = copy(format)
    check_shards(folder, progress=False)
    facts = manifest(folder)
    shard = facts["splits"]["train"][0]
    if field == "labels":
        shard["labels"] = dict(zip(shard["labels"], reversed(shard["labels"].values()), strict=True))
    else:
        shard[field] = ["somebody else"]
    write_manifest(folder, facts)
    with pytest.raises(ValueError, match=rf"train-00000.*its {field} are"):
        check_shards(folder, progress=False)
    assert main(["prepare", "--verify", str(folder)]) == 1
    assert field in capsys.readouterr().err


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(entry, tar.extractfile(entry).read()) for entry in tar]


def _link(entries: list) -> list:
    link = tarfile.TarInfo(entries[0][0].name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return [(link, b""), *entries[1:]]


def _outside(entries: list) -> list:
    entries[0][0].name = "../" + entries[0][0].name
    return entries


def _other_shape(entries: list) -> list:
    samples = io.BytesIO()
    np.save(samples, np.zeros((2, 800), np.float32))
    facts = json.loads(entries[2][1])
    facts["crc32"] = window_checksum(samples.getvalue(), facts)
    return _sized([samples.getvalue(), entries[1][1], json.dumps(facts).encode()], entries)


def _pickled(entries: list) -> list:
    samples = io.BytesIO()
    np.save(samples, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    facts = json.loads(entries[2][1])
    facts["crc32"] = window_checksum(samples.getvalue(), facts)
    return _sized([samples.getvalue(), entries[1][1], json.dumps(facts).encode()], entries)


def _giant(entries: list) -> list:
    return _sized([b"\0" * 2_000_000], entries)


def _sized(contents: list[bytes], entries: list) -> list:
    for place, content in enumerate(contents):
        entries[place][0].size = len(content)
        entries[place] = (entries[place][0], content)
    return entries


@pytest.mark.parametrize("change", [_link, _outside, _other_shape, _pickled, _giant])
def test_members_of_a_tar_are_plain_files_of_the_announced_shape(copy: Any, change: Any) -> None:
    folder = copy("tar")
    path = sorted((folder / "data").iterdir())[0]
    entries = change(members(path))
    with tarfile.open(path, "w") as tar:
        for entry, content in entries:
            tar.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    claim(folder)
    for read in (lambda: list(load_shards(folder)), lambda: check_shards(folder, progress=False)):
        with pytest.raises(OSError, match=path.name):
            read()


def test_windows_of_another_shape_than_announced_are_refused(copy: Any) -> None:
    folder = copy()
    path = sorted((folder / "data").iterdir())[0]
    table = pq.read_table(path)
    short = table.set_column(0, "input_values", [[[[1.0, 2.0]] for _ in range(len(table))]])
    pq.write_table(short, path)
    claim(folder)
    with pytest.raises(OSError, match=path.name):
        list(load_shards(folder))
