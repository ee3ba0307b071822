# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Public data sets by name: sets in MOABB's and braindecode's own objects, and a Hub set that braindecode saved.

What needs the Hub runs in one process of its own (`python tests/test_public_sets.py`), since the client reads
`HF_ENDPOINT` when it is imported. It reads one request a line and answers each with a line.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
from braindecode_hub import save_set as save
from fake_hub.server import HubServer

from dlink_hf import EEGFeatureExtractor, build_report, load_public_set, signal_info, split_by_subject
from dlink_hf.data.public.hub_sets import hub_set
from dlink_hf.data.public.load import is_public_name
from dlink_hf.data.public.moabb_sets import trials_of


SFREQ = 100.0
NAMES = ["C3", "Cz", "C4", "Pz"]
TRIALS = [(1.0, "right_hand"), (5.0, "left_hand"), (9.5, "left_hand"), (14.0, "right_hand")]
TWO_SECONDS = EEGFeatureExtractor(sfreq=SFREQ, n_times=200)


def recording(seed: int, annotate: bool = True, names: list[str] = NAMES) -> mne.io.RawArray:
    """20 s of noise of 20 uV, four trials of 2 s, an EOG channel."""
    values = 2e-5 * np.random.default_rng(seed).standard_normal((len(names) + 1, 2000))
    types = ["eeg"] * len(names) + ["eog"]
    raw = mne.io.RawArray(values, mne.create_info([*names, "EOG1"], SFREQ, types), verbose="ERROR")
    if annotate:
        raw.set_annotations(mne.Annotations([t for t, _ in TRIALS], [2.0] * 4, [label for _, label in TRIALS]))
    return raw


def expected(seed: int, onset: float, n_times: int = 200, names: list[str] = NAMES) -> np.ndarray:
    """A window in microvolts, cut by hand."""
    start = round(onset * SFREQ)
    return recording(seed, names=names).get_data()[: len(names), start : start + n_times] * 1e6


def rows(dataset: Any) -> list[tuple[str, float, str]]:
    """Recording, onset and label of every row."""
    plain = dataset.with_format(None)
    labels = [dataset.features["labels"].names[label] for label in plain["labels"][:]]
    return list(zip(plain["recording"][:], plain["onset"][:], labels, strict=True))


def windows(dataset: Any) -> np.ndarray:
    return dataset.with_format("numpy")["input_values"][:]


class MoabbLike:
    """What is documented of MOABB's `BaseDataset`: two people, sessions of two runs each.

    Args:
        events: "stim", "bare" (annotations of no length), "trials" (as MOABB annotates, interval included) or "none".
        interval: where a trial begins and ends, seconds after its event.
        sessions: their names.
    """

    event_id = {"right_hand": 2, "left_hand": [1, 7]}
    subject_list = [1, 2]

    def __init__(self, events: str = "stim", interval: tuple[float, float] = (0.5, 2.5), sessions: tuple = ("0",)):
        self.events, self.interval, self.sessions, self.asked = events, list(interval), sessions, []

    def get_data(self, subjects: list[int]) -> dict[int, dict[str, dict[str, mne.io.BaseRaw]]]:
        self.asked.append(subjects)
        return {
            subject: {
                session: {run: self.run(10 * subject + int(run)) for run in ("0", "1")} for session in self.sessions
            }
            for subject in subjects
        }

    def run(self, seed: int) -> mne.io.BaseRaw:
        raw, start = recording(seed, annotate=False), self.interval[0]
        if self.events == "stim":
            stim = np.zeros((1, 2000))
            for index, (onset, label) in enumerate(TRIALS):
                code = 2 if label == "right_hand" else (1, 7)[index % 2]
                stim[0, round(onset * SFREQ) : round(onset * SFREQ) + 5] = code
            stim[0, 1800] = 99  # no event of the set
            info = mne.create_info(["STI"], SFREQ, "stim")
            raw.add_channels([mne.io.RawArray(stim, info, verbose="ERROR")], force_update_info=True)
        elif self.events != "none":
            shift, length = (start, self.interval[1] - start) if self.events == "trials" else (0.0, 0.0)
            onsets = [onset + shift for onset, _ in TRIALS]
            marks = mne.Annotations([*onsets, 17.0], [length] * 4 + [1.0], [label for _, label in TRIALS] + ["pause"])
            raw.set_annotations(marks)
        return raw


def test_moabb_set(tmp_path: Path) -> None:
    moabb = MoabbLike(sessions=("0train", "1test"))
    dataset = load_public_set(moabb, TWO_SECONDS, cache_dir=tmp_path, progress=False)
    assert dataset.features["labels"].names == ["left_hand", "right_hand"]  # by their codes
    first = [("sub-1_ses-0train_run-0_raw.fif", onset + 0.5, label) for onset, label in TRIALS]
    assert rows(dataset)[:4] == first and len(dataset) == 2 * 2 * 2 * 4
    np.testing.assert_allclose(windows(dataset)[1], expected(10, 5.5), atol=1e-4)
    np.testing.assert_allclose(windows(dataset)[-1], expected(21, 14.5), atol=1e-4)
    plain = dataset.with_format(None)
    assert set(plain["subject"][:]) == {"1", "2"} and set(plain["session"][:]) == {"0train", "1test"}
    assert plain["session"][4 * 2] == "1test" and signal_info(dataset).ch_names == tuple(NAMES)
    assert dataset[0]["input_values"].shape == (4, 200)  # torch format
    splits = split_by_subject(dataset, validation=0, test=["2"])
    assert len(splits["train"]) == len(splits["test"]) == 16


@pytest.mark.parametrize("events", ["stim", "bare", "trials"])
def test_moabb_trials_begin_with_the_interval(events: str) -> None:
    moabb = MoabbLike(events)
    found = trials_of(moabb.run(0), moabb.event_id, moabb.interval)
    assert found == [(onset + 0.5, 2.0, label) for onset, label in TRIALS]


def test_moabb_labels_subjects_and_cache(tmp_path: Path) -> None:
    options = {"cache_dir": tmp_path, "progress": False}
    moabb = MoabbLike()
    left = load_public_set(
        moabb, TWO_SECONDS, subjects="2", ignore_labels=["right_hand"], allow_one_class=True, **options
    )
    assert {label for _, _, label in rows(left)} == {"left_hand"} and moabb.asked == [[2], [2]]
    names = {"left_hand": "hand", "right_hand": "other"}
    renamed = load_public_set(MoabbLike(), TWO_SECONDS, subjects=[1], label_mapping=names, **options)
    assert renamed.features["labels"].names == ["hand", "other"]
    short = load_public_set(MoabbLike(), EEGFeatureExtractor(sfreq=SFREQ, n_times=100), subjects=1, **options)
    assert len(short) == 2 * len(renamed) == 16  # two windows a trial
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.fif")}
    assert len(list(tmp_path.glob("public-*"))) == 2
    again = load_public_set(MoabbLike(), TWO_SECONDS, subjects=[1], label_mapping=names, **options)
    assert stored == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.fif")}
    assert rows(again) == rows(renamed) and not list(tmp_path.glob(".saving-*"))


def test_errors_of_moabb_sets(tmp_path: Path) -> None:
    def load(dataset: Any, extractor: EEGFeatureExtractor = TWO_SECONDS, **options: Any) -> None:
        load_public_set(dataset, extractor, cache_dir=tmp_path, progress=False, **options)

    with pytest.raises(ValueError, match="MoabbLike has no events: none of its 4 recordings"):
        load(MoabbLike("none"))
    with pytest.raises(ValueError, match="can't hold a window of 5 s .* Nothing is padded"):
        load(MoabbLike(), EEGFeatureExtractor())
    with pytest.raises(ValueError, match="has no subject 9; its subjects are 1, 2"):
        load(MoabbLike(), subjects=9)
    with pytest.raises(ValueError, match="labels were found that are not among the wanted ones: 'right_hand'"):
        load(MoabbLike(), label_mapping={"left_hand": "left"})
    assert not list(tmp_path.glob(".saving-*"))

    class Torn(MoabbLike):
        def get_data(self, subjects: list[int]) -> dict:
            raise ConnectionError("HTTPSConnectionPool(host='example.org'): Max retries exceeded")

    with pytest.raises(OSError, match="Torn could not be fetched.*ConnectionError: HTTPS.*is there a connection"):
        load(Torn())

    class Mixed(MoabbLike):
        def run(self, seed: int) -> mne.io.BaseRaw:
            return recording(seed, names=NAMES if seed < 20 else ["C3", "Cz", "C4", "Oz"])

    with pytest.raises(ValueError, match=r"lacks \['Pz'\] and adds \['Oz'\].*set ch_names"):
        load(Mixed())
    common = EEGFeatureExtractor(sfreq=SFREQ, n_times=200, ch_names=["C4", "C3"])
    load(Mixed(), common)


def test_moabb_by_name(tmp_path: Path) -> None:
    """MOABB's own synthetic set; its events stand in a stimulus channel."""
    pytest.importorskip("moabb", reason="sets of MOABB need the library: pip install 'dlink-hf[moabb]'")
    from moabb.datasets.fake import FakeDataset

    size = {"n_sessions": 2, "n_runs": 1, "n_subjects": 2, "n_events": 6, "duration": 30, "seed": 3}
    options = {"arguments": size, "cache_dir": tmp_path, "progress": False}
    extractor = EEGFeatureExtractor(sfreq=128.0, n_times=384)
    dataset = load_public_set("moabb:FakeDataset", extractor, **options)
    assert dataset.features["labels"].names == ["fake1", "fake2", "fake3"] and len(dataset) == 2 * 2 * 6
    values = FakeDataset(**size).get_data([1])[1]["0"]["0"].get_data()  # three channels, then the stimulus
    start = np.flatnonzero(values[3])[1]
    np.testing.assert_allclose(windows(dataset)[1], values[:3, start : start + 384] * 1e6, atol=1e-4)
    with pytest.raises(ValueError, match="none of MOABB's data sets: did you mean moabb:BNCI2014_001"):
        load_public_set("moabb:BNCI2014001", extractor, **options)


def test_names_are_told_apart() -> None:
    assert is_public_name("moabb:BNCI2014_001") and is_public_name("hub:braindecode/bcic2a")
    assert not is_public_name("recordings/mine") and not is_public_name("C:/data") and not is_public_name("hub:")
    for name in ("eegmat", "moab:X", "moabb:", "a/b/c"):
        with pytest.raises(ValueError, match="names no public set. Write 'user/name'"):
            load_public_set(name)
    with pytest.raises(TypeError, match="an object of MOABB's BaseDataset or braindecode's BaseConcatDataset, got"):
        load_public_set(np.zeros((2, 3)))
    with pytest.raises(TypeError, match="revision and token are for sets of the Hub"):
        load_public_set("moabb:BNCI2014_001", revision="main")


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("moabb", "moabb:BNCI2014_001", "moabb"),
        ("moabb", "braindecode:HGD", "moabb"),
        ("zarr", "braindecode/bcic2a", "hub-data"),
        ("braindecode", "braindecode:SleepPhysionet", "teachers"),
    ],
)
def test_a_missing_library_names_its_extra(library: str, name: str, extra: str, monkeypatch: Any) -> None:
    for module in [key for key in sys.modules if key.split(".")[0] == library] + [library]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=re.escape(f'pip install "dlink-hf[{extra}]"')):
        load_public_set(name, subjects=1)


# braindecode's own objects


def concat(kind: str = "raw", scale: float = 1.0) -> Any:
    """Recordings of two people, two sessions each, as braindecode holds them: "raw", "windows" or "epochs"."""
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import create_windows_from_events

    parts = []
    for subject in (3, 4):
        for session in (0, 1):
            raw = recording(10 * subject + session).apply_function(lambda x: x * scale, picks="all")
            parts.append(RawDataset(raw, {"subject": subject, "session": f"{session}", "run": "0", "sex": "f"}))
    whole = BaseConcatDataset(parts)
    if kind == "raw":
        return whole
    mapping = {"right_hand": 1, "left_hand": 0}
    picks = NAMES if kind == "epochs" else None
    return create_windows_from_events(
        whole, mapping=mapping, use_mne_epochs=kind == "epochs", preload=True, picks=picks
    )


needs_braindecode = pytest.mark.skipif(
    find_spec("braindecode") is None, reason="needs braindecode: pip install 'dlink-hf[teachers]'"
)


@needs_braindecode
@pytest.mark.parametrize("kind", ["raw", "windows", "epochs"])
def test_objects_of_braindecode(kind: str, tmp_path: Path) -> None:
    dataset = load_public_set(concat(kind), TWO_SECONDS, subjects=4, cache_dir=tmp_path, progress=False)
    assert dataset.features["labels"].names == ["left_hand", "right_hand"]
    ending = "epo" if kind == "epochs" else "raw"
    assert rows(dataset)[:4] == [(f"sub-4_ses-0_run-0_{ending}.fif", onset, label) for onset, label in TRIALS]
    for row, (onset, _) in enumerate(TRIALS):
        np.testing.assert_allclose(windows(dataset)[4 + row], expected(41, onset), atol=1e-4)
    assert dataset.with_format(None)["session"][:] == ["0"] * 4 + ["1"] * 4
    assert build_report(dataset)["n_recordings"] == 2


@needs_braindecode
def test_targets_and_errors_of_braindecode(tmp_path: Path) -> None:
    from braindecode.datasets import BaseConcatDataset, RawDataset
    from braindecode.preprocessing import Preprocessor, exponential_moving_standardize, preprocess

    def load(dataset: Any, extractor: EEGFeatureExtractor = TWO_SECONDS, **options: Any) -> Any:
        return load_public_set(dataset, extractor, cache_dir=tmp_path, progress=False, **options)

    ages = [RawDataset(recording(n), {"subject": n, "group": "ab"[n]}, target_name="group") for n in range(2)]
    dataset = load(BaseConcatDataset(ages), label_mapping={"b": "ill", "a": "well"})
    assert dataset.features["labels"].names == ["ill", "well"] and len(dataset) == 20
    assert "session" not in dataset.column_names
    with pytest.raises(ValueError, match="hold age, no `subject`.*set_description"):
        load(BaseConcatDataset([RawDataset(recording(0), {"age": 30})]))
    windowed = concat("windows")
    for part in windowed.datasets:
        part.metadata["target"] = 0.5
    with pytest.raises(ValueError, match="targets that are no classes, 0.5 for one"):
        load(windowed)
    with pytest.raises(ValueError, match="Probably the unit is wrong: pass unit='uV'"):
        load(concat(scale=1e6))
    assert np.allclose(windows(load(concat(scale=1e6), unit="uV"))[0], expected(30, 1.0), atol=1e-4)
    standardised = concat()
    preprocess(standardised, [Preprocessor(exponential_moving_standardize)], n_jobs=1)
    with pytest.raises(ValueError, match=r"was standardised .*\(exponential_moving_standardize\): its numbers are no"):
        load(standardised)
    with pytest.raises(ValueError, match="cut already and last 2 s, less than a window of 5 s"):
        load(concat("epochs"), EEGFeatureExtractor())
    one = load(concat("epochs"), EEGFeatureExtractor(sfreq=SFREQ, n_times=150))
    np.testing.assert_allclose(windows(one)[2], expected(30, 9.5, 150), atol=1e-4)


@needs_braindecode
def test_braindecode_by_name(tmp_path: Path) -> None:
    """A class that reads files: they are found changed when they are."""
    import mne_bids

    for subject in ("01", "02"):
        raw = recording(int(subject))
        raw.set_meas_date(0)
        path = mne_bids.BIDSPath(subject=subject, session="a", task="hands", root=tmp_path / "bids", datatype="eeg")
        mne_bids.write_raw_bids(raw, path, allow_preload=True, format="EDF", overwrite=True, verbose="ERROR")
    given = {"arguments": {"root": str(tmp_path / "bids"), "extensions": ".edf"}, "cache_dir": tmp_path / "cache"}
    dataset = load_public_set("braindecode:BIDSDataset", TWO_SECONDS, subjects=["02"], progress=False, **given)
    assert [row[1:] for row in rows(dataset)] == TRIALS and rows(dataset)[0][0] == "sub-02_ses-a_raw.fif"
    np.testing.assert_allclose(windows(dataset)[2], expected(2, 9.5), atol=0.01)  # EDF has 16 bits
    with pytest.raises(TypeError, match="missing a required argument: 'root'. It takes root, subjects"):
        load_public_set("braindecode:BIDSDataset", TWO_SECONDS)
    with pytest.raises(ValueError, match="none of braindecode's data sets: did you mean braindecode:SleepPhysionet"):
        load_public_set("braindecode:sleepphysio", TWO_SECONDS)


@needs_braindecode
@pytest.mark.slow
def test_no_network(tmp_path: Path, monkeypatch: Any) -> None:
    """A download through a proxy that isn't there; braindecode tries three times."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name, value in {"no_proxy": "", "NO_PROXY": "", "HOME": str(tmp_path), "MNE_DATA": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(OSError, match="braindecode:NMT could not be fetched or read: .* is there a connection"):
        load_public_set("braindecode:NMT", cache_dir=tmp_path)


# the Hub


def edit(path: Path, change: Any) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


STORE = "sourcedata/braindecode/dataset.zarr"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a Hub with data sets under `datasets/`: every kind as braindecode saves it, and spoilt copies."""
    pytest.importorskip("zarr", reason="sets of the Hub need zarr: pip install 'dlink-hf[hub-data]'")
    pytest.importorskip("braindecode", reason="braindecode makes these sets: pip install 'dlink-hf[teachers]'")
    root = tmp_path_factory.mktemp("hub") / "datasets"
    for kind in ("raw", "windows", "epochs"):
        save(concat(kind), root / "eeg" / kind)
    for name in ("pickled", "torn"):
        shutil.copytree(root / "eeg/windows", root / "eeg" / name)
    array = root / "eeg/pickled" / STORE / "recording_2/data/zarr.json"
    edit(array, lambda node: node["codecs"].append({"name": "numcodecs.pickle", "configuration": {}}))
    next((root / "eeg/torn" / STORE / "recording_1/data/c/0").iterdir()).unlink()
    (root / "eeg/other").mkdir()
    (root / "eeg/other/README.md").write_text("images")
    return root.parent


@pytest.fixture(scope="module")
def hub(published: Path) -> Iterator[HubServer]:
    with HubServer(published, private=["datasets/eeg/raw"], token="hf_right") as server:
        yield server


@pytest.fixture(scope="module")
def ask(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Asks a process with a cache of its own for a set: a function of the arguments of `load_public_set`."""
    environment = hub.environment(tmp_path_factory.mktemp("home"), OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    process = subprocess.Popen(
        [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def call(source: str, compare: bool = False, **arguments: Any) -> dict[str, Any]:
        process.stdin.write(json.dumps({"source": source, "compare": compare, **arguments}) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise RuntimeError(f"the client ended with {process.wait()}")

    yield call
    process.kill()
    process.wait()


def client() -> None:
    """Answer requests from stdin: arguments of `load_public_set`; `compare` asks braindecode's own reader too."""
    for line in sys.stdin:
        arguments = json.loads(line)
        source, compare = arguments.pop("source"), arguments.pop("compare")
        try:
            dataset = load_public_set(source, TWO_SECONDS, progress=False, **arguments)
            plain = dataset.with_format(None)
            answer = {"rows": rows(dataset), "names": dataset.features["labels"].names, "subject": plain["subject"][:]}
            if compare:
                from braindecode.datasets import BaseConcatDataset

                theirs = BaseConcatDataset.pull_from_hub(source)
                pairs = [theirs[index][:2] for index in range(len(theirs))]
                found = np.stack([values for values, _ in pairs])[:, : len(NAMES)] * 1e6
                answer["difference"] = float(np.abs(windows(dataset) - found).max())
                answer["same"] = plain["labels"][:] == [int(target) for _, target in pairs]
        except (OSError, ValueError) as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print("ANSWER " + json.dumps(answer), flush=True)


@pytest.mark.parametrize("kind", ["windows", "epochs"])
def test_hub_set_is_what_braindecode_reads(kind: str, ask: Any) -> None:
    answer = ask(f"eeg/{kind}", compare=True)
    assert answer["difference"] < 1e-4 and answer["same"]
    ending = "epo" if kind == "epochs" else "raw"
    first = [[f"sub-3_ses-0_run-0_{ending}.fif", onset, label] for onset, label in TRIALS]
    assert answer["rows"][:4] == first and answer["names"] == ["left_hand", "right_hand"]
    assert answer["subject"] == ["3"] * 8 + ["4"] * 8


def test_hub_loads_no_more_than_is_asked_for(ask: Any, hub: HubServer, tmp_path: Path, published: Path) -> None:
    shutil.copytree(published / "datasets/eeg/windows", published / "datasets/eeg/part")
    before = len(hub.requests)
    answer = ask("hub:eeg/part", subjects=[4], cache_dir=str(tmp_path))
    assert answer["subject"] == ["4"] * 8
    fetched = [request for request in hub.requests[before:] if request.startswith("GET") and "/data/c/" in request]
    assert fetched and all("recording_2" in path or "recording_3" in path for path in fetched)
    before = len(hub.requests)
    assert ask("hub:eeg/part", subjects=[4], cache_dir=str(tmp_path)) == answer
    assert not [request for request in hub.requests[before:] if "/data/c/" in request and request.startswith("GET")]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("eeg/other", "ValueError", "is not a data set that braindecode's push_to_hub made: it has no sourcedata"),
        ("eeg/nothing", "OSError", "neither a folder here nor a repository that the Hub"),
        ("eeg/raw", "OSError", "if it is private, log in"),
        ("eeg/pickled", "ValueError", "recording_2/data is Zarr of format 3, of 'float32', through the codecs"),
        ("eeg/torn", "ValueError", "chunks of recording_1 are not here, and Zarr would read zeros"),
    ],
)
def test_hub_errors(name: str, error: str, message: str, ask: Any) -> None:
    answer = ask(name)
    assert answer["error"] == error and message in answer["message"]


def test_hub_token_revision_and_whole_recordings(ask: Any) -> None:
    answer = ask("eeg/raw", token="hf_right")
    assert "eeg/raw has no events: it holds whole recordings without a target" in answer["message"]
    answer = ask("eeg/windows", revision="v9")
    assert "eeg/windows has no revision 'v9'" in answer["message"]


def test_hub_folder_and_its_damages(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published / "datasets/eeg/windows", tmp_path / "copy")
    dataset = load_public_set(f"hub:{folder}", TWO_SECONDS, cache_dir=tmp_path / "cache", progress=False)
    np.testing.assert_allclose(windows(dataset)[1], expected(30, 5.0), atol=1e-4)
    with pytest.raises(ValueError, match="has no subject 1; its subjects are 3, 4"):
        hub_set(str(folder), 1, None, None)
    edit(folder / STORE / "recording_0/zarr.json", lambda node: node["attributes"]["description"].pop("subject"))
    with pytest.raises(ValueError, match="hold session, run, sex, no `subject`"):
        hub_set(str(folder), None, None, None)
    edit(folder / "format_info.json", lambda info: info.update(pipeline_name="../../elsewhere"))
    with pytest.raises(ValueError, match="the pipeline '../../elsewhere'; only Zarr stores of a plainly named"):
        hub_set(str(folder), None, None, None)


if __name__ == "__main__":
    client()
