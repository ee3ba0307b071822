# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Headsets by name, and channels as a command line gives them."""

import pytest

from dlink_hf import canonical_name
from dlink_hf.core.headsets import HEADSETS, headset_channels, parse_channels


@pytest.mark.parametrize("name", HEADSETS)
def test_every_headset_names_known_electrodes_once_and_its_source(name):
    headset = HEADSETS[name]
    assert [canonical_name(electrode) for electrode in headset.ch_names] == list(headset.ch_names)
    assert len(set(headset.ch_names)) == len(headset.ch_names)
    assert headset.title and headset.source
    assert parse_channels(name) == headset_channels(name) == list(headset.ch_names)


def test_numbers_of_electrodes_are_those_of_the_makers():
    counts = {name: len(headset.ch_names) for name, headset in HEADSETS.items()}
    assert counts == {
        "muse": 4, "emotiv_epoc": 14, "emotiv_insight": 5, "openbci_8": 8, "openbci_16": 16, "unicorn": 8, "crown": 8,
    }  # fmt: skip


def test_a_list_is_the_callers_own():
    headset_channels("muse").append("Cz")
    assert headset_channels("Muse") == ["TP9", "AF7", "AF8", "TP10"]


def test_channels_are_read_in_any_spelling_and_in_their_order():
    assert parse_channels(" T8, t3,AF4 ,EEG Fp1-REF") == ["T8", "T7", "AF4", "Fp1"]
    assert parse_channels("cz") == ["Cz"]
    assert parse_channels("Emotiv-Insight") == ["AF3", "AF4", "T7", "T8", "Pz"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("muze", "'muse' meant.*emotiv_epoc"),
        ("AF3,AF44", "'AF44'.*close: AF4"),
        ("muse,Cz", "muse.*stands alone"),
        ("T7,T3", "T7 is named twice"),
        (" , ", "no channel is named"),
    ],
)
def test_what_is_no_channel_is_told(text, said):
    with pytest.raises(ValueError, match=said):
        parse_channels(text)


def test_an_unknown_headset_is_told():
    with pytest.raises(ValueError, match="'openbci_8' meant.*muse"):
        headset_channels("openbci8")
