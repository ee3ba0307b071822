# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Channel names of every common spelling, and positions equal to MNE's."""

import subprocess
import sys
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest

from dlink_hf.core.electrodes import ELECTRODE_POSITIONS, canonical_name, channel_positions, is_known_non_eeg


@pytest.fixture(scope="module")
def mne_positions() -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        # MNE renames this template; its positions stay
        warnings.simplefilter("ignore", FutureWarning)
        try:
            montage = mne.channels.make_standard_montage("standard_1005")
        except ValueError:
            montage = mne.channels.make_standard_montage("colin27_1005")
    return montage.get_positions()["ch_pos"]


def test_positions_equal_mne(mne_positions):
    assert len(ELECTRODE_POSITIONS) > 330
    assert set(mne_positions) - set(ELECTRODE_POSITIONS) == {"T3", "T4", "T5", "T6"}
    for name, position in ELECTRODE_POSITIONS.items():
        np.testing.assert_allclose(position, mne_positions[name], atol=0.5e-5 + 1e-12)


def test_old_names_sit_where_mne_puts_them(mne_positions):
    old = ["T3", "T4", "T5", "T6"]
    np.testing.assert_allclose(channel_positions(old), [mne_positions[name] for name in old], atol=1e-5)


def test_bipolar_sits_at_the_midpoint(mne_positions):
    ears, pair = channel_positions(["EEG A2-A1", "FP1-F7"])
    np.testing.assert_allclose(ears, (mne_positions["A1"] + mne_positions["A2"]) / 2, atol=1e-5)
    np.testing.assert_allclose(pair, (mne_positions["Fp1"] + mne_positions["F7"]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("EEG Fp1", "Fp1"),
        ("FP1-REF", "Fp1"),
        ("EEG FP1-LE", "Fp1"),
        ("EEG FP1-REF", "Fp1"),
        ("EEG C3 - Ref", "C3"),
        ("fp1", "Fp1"),
        ("Fp1.", "Fp1"),
        ("Fc5.", "FC5"),
        ("C5..", "C5"),
        ("T10.", "T10"),
        ("FCZ", "FCz"),
        ("EEG-Fz", "Fz"),
        ("EEG_Oz", "Oz"),
        ("POL F8", "F8"),
        ("T3", "T7"),
        ("T4", "T8"),
        ("EEG T5-AR", "P7"),
        ("t6", "P8"),
        ("A1", "A1"),
        ("M2", "M2"),
        ("EEG A2-A1", "A2-A1"),
        ("FP1-F7", "Fp1-F7"),
        ("F7-T3", "F7-T7"),
        ("EEG Fpz-Cz", "Fpz-Cz"),
        ("T8-P8-0", "T8-P8"),
        ("C3-M2", "C3"),
        ("Fp1-A1A2", "Fp1"),
        ("aff5h", "AFF5h"),
        ("EEG 023", None),
        ("E17", None),
        ("Cz-Cz", None),
        ("Foo", None),
        ("EEG", None),
        ("", None),
    ],
)
def test_canonical_name(given, expected):
    assert canonical_name(given) == expected
    if expected is not None:
        assert canonical_name(expected) == expected


def test_every_electrode_is_found_in_any_case_and_dress():
    for name in ELECTRODE_POSITIONS:
        for dress in ("{}", "EEG {}", "{}-REF", "EEG {}-LE", "{}..", " {} "):
            assert canonical_name(dress.format(name)) == name
            assert canonical_name(dress.format(name).upper()) == name
            assert canonical_name(dress.format(name).lower()) == name


def test_no_electrode_counts_as_something_else():
    assert not [name for name in ELECTRODE_POSITIONS if is_known_non_eeg(name)]


@pytest.mark.parametrize(
    "name",
    ["ECG", "EKG", "EEG EKG1-REF", "EOG-left", "HEOG", "VEOG", "EMG chin", "Status", "STI 014", "Trigger", "--0"],
)
def test_known_other_channels(name):
    assert is_known_non_eeg(name)


@pytest.mark.parametrize("name", ["E17", "Foo", "EEG 12", "X-Z"])
def test_unknown_names_are_not_taken_for_other_channels(name):
    assert not is_known_non_eeg(name)


def test_unknown_channels_are_all_named_with_close_ones():
    with pytest.raises(ValueError, match="AFx3.*(AF3|AFp3).*Foo") as error:
        channel_positions(["Fp1", "AFx3", "Foo", "Cz"])
    assert "'Fp1'" not in str(error.value).split("Known are")[0]


def test_types_are_checked():
    with pytest.raises(TypeError, match="list of channel names"):
        channel_positions("Fp1")
    with pytest.raises(TypeError, match="channel name is text"):
        canonical_name(3)


def test_travels_alone():
    """The module works without the package and without any installed library."""
    source = Path(sys.modules["dlink_hf.core.electrodes"].__file__)
    code = f"import runpy; m = runpy.run_path({str(source)!r}); print(m['canonical_name']('EEG FP1-REF'))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "Fp1"
