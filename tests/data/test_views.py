# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student's view of the whole cap's windows, the teacher's beside it, and the student's feature extractor."""

import numpy as np
import pytest
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, Value, concatenate_datasets

from dlink_hf import (
    EEGFeatureExtractor,
    SignalInfo,
    add_soft_targets,
    align_dataset,
    alignment_info,
    monge_reference,
    set_signal_info,
    signal_info,
    student_extractor,
    student_view,
    teacher_view,
    with_teacher_view,
    with_unlabelled,
)
from dlink_hf.data.aligned_windows import check_alignment
from dlink_hf.data.description import teacher_signal_info


NAMES = ["Fp1", "F7", "C3", "Cz", "C4", "T8"]
FEW = ["C4", "Fp1", "Cz"]
SFREQ, N_TIMES = 200.0, 1000


def cap(n_windows: int = 16, subjects: tuple[str, ...] = ("S1", "S2"), seed: int = 0, names: list = NAMES) -> Dataset:
    """Windows of the whole cap: mixed pink-ish noise, channels of different gains, 5 s, not aligned."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list] = {"input_values": [], "labels": [], "subject": [], "recording": [], "onset": []}
    for subject in subjects:
        mixing = rng.normal(size=(len(names), len(names))) + 2 * np.eye(len(names))
        for number in range(n_windows):
            values = mixing @ np.cumsum(rng.normal(size=(len(names), N_TIMES)), -1)
            columns["input_values"].append((values - values.mean(-1, keepdims=True)).astype(np.float32))
            columns["labels"].append(number % 2)
            columns["subject"].append(subject)
            columns["recording"].append(f"{subject}.edf")
            columns["onset"].append(5.0 * number)
    features = Features(
        {
            "input_values": Array2D((len(names), N_TIMES), "float32"),
            "labels": ClassLabel(names=["rest", "task"]),
            "subject": Value("string"),
            "recording": Value("string"),
            "onset": Value("float64"),
        }
    )
    made = Dataset.from_dict(columns, features=features).with_format("torch")
    return set_signal_info(made, SignalInfo(tuple(names), SFREQ, N_TIMES))


@pytest.fixture(scope="module")
def windows() -> Dataset:
    return cap()


def values(dataset: Dataset, column: str = "input_values") -> np.ndarray:
    return dataset.with_format("numpy")[column][:]


def picked(windows: Dataset, names: list[str], n_times: int) -> Dataset:
    """A dataset that has only ever had these channels and this length, made by hand."""
    cut = values(windows)[:, [NAMES.index(name) for name in names], -n_times:]
    columns = {name: windows.with_format(None)[name][:] for name in ("labels", "subject", "recording")}
    features = Features({**windows.features, "input_values": Array2D(cut.shape[1:], "float32")})
    del features["onset"]
    made = Dataset.from_dict({"input_values": list(cut), **columns}, features=features).with_format("torch")
    return set_signal_info(made, SignalInfo(tuple(names), SFREQ, n_times))


# --- the student's view -----------------------------------------------------------------------------------------


def test_channels_are_picked_by_name_in_the_order_given_and_the_end_is_kept(windows, tmp_path):
    view = student_view(windows, ["EEG c4-REF", "FP1", "CZ"], seconds=2.0, cache_dir=tmp_path)
    np.testing.assert_array_equal(values(view), values(windows)[:, [4, 0, 3], 600:])
    assert signal_info(view) == SignalInfo(tuple(FEW), SFREQ, 400) and alignment_info(view) is None
    assert view.with_format(None)["onset"][:4] == [3.0, 8.0, 13.0, 18.0]
    assert view.with_format(None)["labels"][:] == windows.with_format(None)["labels"][:]
    assert view.format["type"] == "torch" and view.features["labels"].names == ["rest", "task"]
    same = student_view(windows, ",".join(FEW), seconds=2.0, cache_dir=tmp_path)
    assert same.cache_files == view.cache_files  # made once
    assert student_view(windows, cache_dir=tmp_path) is windows


@pytest.mark.parametrize("method", ["zscore", "euclidean", "monge", "euclidean_monge"])
def test_alignment_is_that_of_windows_which_never_had_the_other_channels(windows, tmp_path, method):
    view = student_view(windows, FEW, seconds=2.0, alignment=method, cache_dir=tmp_path)
    alone = align_dataset(picked(windows, FEW, 400), method, cache_dir=tmp_path)
    np.testing.assert_allclose(values(view), values(alone), rtol=1e-4, atol=1e-4)
    assert alignment_info(view) == alignment_info(alone)
    # and is not what the alignment of the whole cap leaves of these channels
    if method != "zscore":
        whole = align_dataset(windows, method, cache_dir=tmp_path)
        assert np.abs(values(whole)[:, [4, 0, 3], -400:] - values(view)).max() > 1.0


def test_other_channels_do_not_matter(windows, tmp_path):
    def spoil(batch):
        spoilt = np.array(batch["input_values"])
        spoilt[:, [1, 2, 5]] *= 1e4
        return {"input_values": spoilt}

    noisy = windows.with_format("numpy").map(spoil, batched=True, features=windows.features).with_format("torch")
    clean, other = (
        student_view(one, FEW, alignment="euclidean", cache_dir=tmp_path / name)
        for one, name in ((windows, "clean"), (noisy, "noisy"))
    )
    np.testing.assert_array_equal(values(clean), values(other))


def test_a_measured_reference_of_the_whole_cap_gives_each_channel_its_own_spectrum(windows, tmp_path):
    whole, own = monge_reference(windows), monge_reference(picked(windows, FEW, N_TIMES))
    view = student_view(windows, FEW, alignment="monge", alignment_reference=whole, cache_dir=tmp_path)
    alone = align_dataset(picked(windows, FEW, N_TIMES), "monge", reference=own, cache_dir=tmp_path)
    np.testing.assert_allclose(values(view), values(alone), rtol=1e-4, atol=1e-4)
    extractor = EEGFeatureExtractor(ch_names=NAMES, alignment="monge", alignment_reference=whole)
    student_extractor(extractor, FEW).save_pretrained(tmp_path / "student")
    check_alignment(str(tmp_path / "student"), view)  # the windows and the saved extractor say the same
    stored = EEGFeatureExtractor.from_pretrained(tmp_path / "student").alignment_reference
    assert stored["ch_names"] == FEW and np.shape(stored["psd"]) == (3, 129)


def test_people_of_one_class_are_left_out_or_refused_as_in_align_dataset(windows, tmp_path):
    rest = cap(subjects=("S3",), seed=1).filter(lambda label: int(label) == 0, input_columns="labels")
    mixed = concatenate_datasets([windows, rest])
    with pytest.raises(ValueError, match="S3: rest"):
        student_view(mixed, FEW, alignment="euclidean", cache_dir=tmp_path)
    view = student_view(mixed, FEW, alignment="euclidean", one_class="drop", cache_dir=tmp_path)
    assert set(view["subject"][:]) == {"S1", "S2"}
    whole = align_dataset(mixed, "euclidean", one_class="drop", cache_dir=tmp_path)
    assert len(with_teacher_view(view, whole)) == len(windows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ch_names": ["C4", "Oz"]}, "no Oz; they have Fp1"),
        ({"ch_names": ["T4", "T8"]}, "T8 twice"),
        ({"ch_names": ["Foo"]}, "Foo"),
        ({"ch_names": "muse"}, "no TP9, AF7, AF8, TP10"),
        ({"seconds": 6.0}, "of 6 s is longer than those at hand, of 5 s"),
        ({"seconds": 1.0001}, "not a whole number of samples"),
        ({"seconds": 0.0}, "not a whole number of samples"),
        ({"seconds": 1.5, "patch_size": 200}, "multiple of 1"),
    ],
)
def test_views_that_there_are_not(windows, tmp_path, arguments, said):
    with pytest.raises(ValueError, match=said):
        student_view(windows, cache_dir=tmp_path, **arguments)


def test_aligned_windows_and_streams_are_refused(windows, tmp_path):
    with pytest.raises(ValueError, match="aligned already .euclidean., by all 6 electrodes"):
        student_view(align_dataset(windows, "euclidean", cache_dir=tmp_path), FEW)
    with pytest.raises(TypeError, match="streaming=False"):
        student_view(windows.to_iterable_dataset(), FEW)


# --- two views side by side -------------------------------------------------------------------------------------


def test_both_views_stand_side_by_side_and_the_teachers_can_be_had_alone(windows, tmp_path):
    few = student_view(windows, FEW, seconds=2.0, alignment="euclidean", cache_dir=tmp_path)
    whole = align_dataset(windows, "zscore", cache_dir=tmp_path)
    both = with_teacher_view(few, whole)
    np.testing.assert_array_equal(values(both), values(few))
    np.testing.assert_array_equal(values(both, "teacher_input_values"), values(whole))
    assert signal_info(both) == SignalInfo(tuple(FEW), SFREQ, 400)
    assert teacher_signal_info(both) == SignalInfo(tuple(NAMES), SFREQ, N_TIMES) and teacher_signal_info(few) is None
    assert alignment_info(both)["method"] == "euclidean"
    assert both[3]["teacher_input_values"].shape == torch.Size([6, 1000]) and both.format["type"] == "torch"
    # nothing was copied
    assert {file["filename"] for file in both.cache_files} == {
        file["filename"] for one in (few, whole) for file in one.cache_files
    }
    # the facts survive what is done to datasets
    part = both.select([5, 2])
    assert teacher_signal_info(part).n_times == N_TIMES
    both.save_to_disk(tmp_path / "both")
    assert teacher_signal_info(Dataset.load_from_disk(tmp_path / "both")).ch_names == tuple(NAMES)
    alone = teacher_view(part)
    np.testing.assert_array_equal(values(alone), values(whole)[[5, 2]])
    assert signal_info(alone) == signal_info(whole) and alignment_info(alone)["method"] == "zscore"
    assert teacher_view(few) is few
    assert signal_info(both) == SignalInfo(tuple(FEW), SFREQ, 400)  # its description is untouched
    with pytest.raises(ValueError, match="teachers read different signals"):
        teacher_signal_info(concatenate_datasets([both, with_teacher_view(few, windows)]))


def test_selected_rows_meet_their_own(windows, tmp_path):
    rows = [20, 3, 17, 4]
    few = student_view(windows, FEW, cache_dir=tmp_path).select(rows)
    both = with_teacher_view(few, windows.select(rows))
    np.testing.assert_array_equal(values(both, "teacher_input_values"), values(windows)[rows])
    np.testing.assert_array_equal(values(both), values(windows)[rows][:, [4, 0, 3]])


def test_soft_targets_of_the_teachers_windows_are_taken_over(windows, tmp_path):
    few = student_view(windows, FEW, cache_dir=tmp_path)
    soft = np.random.default_rng(0).dirichlet([1, 1], len(windows)).astype(np.float32)
    both = with_teacher_view(few, add_soft_targets(windows, soft))
    np.testing.assert_allclose(np.asarray(both["soft_targets"][:]), soft)


def test_other_windows_are_told(windows, tmp_path):
    few = student_view(windows, FEW, seconds=1.0, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="32 windows, the teacher 31"):
        with_teacher_view(few, windows.select(range(31)))
    with pytest.raises(ValueError, match="row 0 .*labels 0 and 1 .32 rows"):
        with_teacher_view(few, windows.select([*range(1, 16), 0, *range(17, 32), 16]))
    with pytest.raises(ValueError, match="row 0 .*end .s. 5.0 and 15.0"):
        with_teacher_view(few, windows.select([2, 1, 0, *range(3, 32)]))
    with pytest.raises(ValueError, match="row 0 .*subject S1 and S2"):
        with_teacher_view(few, windows.select([*range(16, 32), *range(16)]))
    with pytest.raises(ValueError, match="already"):
        with_teacher_view(with_teacher_view(few, windows), windows)


# --- the student's feature extractor ----------------------------------------------------------------------------


def test_the_extractor_is_the_students_own():
    whole = EEGFeatureExtractor(
        ch_names=NAMES, n_times=1000, stride=500, l_freq=1.0, h_freq=40.0, notch_freq=50.0, alignment="euclidean"
    )
    few = student_extractor(whole, "c4,fp1,cz", seconds=2.0)
    assert few.ch_names == FEW and few.n_times == 400 and few.stride is None
    assert whole.ch_names == NAMES and whole.n_times == 1000
    kept = {k: v for k, v in whole.to_dict().items() if k not in ("ch_names", "n_times", "stride")}
    assert {k: few.to_dict()[k] for k in kept} == kept
    assert student_extractor(whole, FEW, seconds=3.0).stride == 500
    assert student_extractor(EEGFeatureExtractor(), "muse").ch_names == ["TP9", "AF7", "AF8", "TP10"]
    with pytest.raises(ValueError, match="no Oz"):
        student_extractor(whole, ["Oz"])
    with pytest.raises(ValueError, match="256 samples .1.28 s.*'euclidean'"):
        student_extractor(EEGFeatureExtractor(alignment="euclidean_monge"), FEW, seconds=1.0)


@pytest.mark.parametrize("alignment", [None, "euclidean", "monge", "euclidean_monge"])
def test_a_recording_of_the_students_channels_and_one_of_the_whole_cap_give_the_same_windows(alignment):
    rng = np.random.default_rng(0)
    signal = 20 * np.cumsum(rng.normal(size=(len(NAMES), 256 * 61)), -1) / 8
    signal[[1, 2, 5]] *= 20  # channels of no concern to the student
    extractor = student_extractor(
        EEGFeatureExtractor(sfreq=200.0, l_freq=0.5, h_freq=45.0, notch_freq=50.0, alignment=alignment), FEW, 2.0
    )
    whole = extractor(signal, sfreq=256.0, ch_names=NAMES, unit="uV")
    few = extractor(signal[[3, 4, 0]], sfreq=256.0, ch_names=["Cz", "C4", "Fp1"], unit="uV")
    assert whole["ch_names"] == few["ch_names"] == FEW and whole["input_values"].shape == (30, 3, 400)
    np.testing.assert_allclose(whole["input_values"], few["input_values"], rtol=1e-5, atol=1e-4)


def test_unlabelled_windows_have_both_views_too(windows, tmp_path):
    others = cap(subjects=("S8", "S9"), seed=5).remove_columns("labels")
    few, whole = (
        with_unlabelled(view(windows), view(others))
        for view in (
            lambda data: student_view(data, FEW, 2.0, "euclidean", cache_dir=tmp_path),
            lambda data: align_dataset(data, "euclidean", cache_dir=tmp_path),
        )
    )
    both = with_teacher_view(few, whole)
    assert both.with_format(None)["labels"][:] == [*windows.with_format(None)["labels"][:], *[-1] * 32]
    np.testing.assert_array_equal(values(both, "teacher_input_values"), values(whole))
    assert teacher_signal_info(both).n_times == 1000 and signal_info(both).n_times == 400
