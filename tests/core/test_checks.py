# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checks of single arguments: what they let through, and what their messages say."""

import numpy as np
import pytest

from dlink_hf.core.checks import first_names, int_at_least, one_of, positive


def test_what_fits_is_given_back():
    assert one_of("`kind`", "mse", ("mse", "cosine")) == "mse"
    assert positive("sfreq", 200) == 200.0 and isinstance(positive("sfreq", np.float32(0.5)), float)
    assert int_at_least("stride", np.int64(3)) == 3 and int_at_least("seed", 0, 0) == 0


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: one_of("`kind`", "l1", ("mse", None)), r"^`kind` must be one of 'mse', None, got 'l1'\.$"),
        (lambda: one_of("unit", "nV", {"uV": 1}, "Say unit='uV'."), r"got 'nV'\. Say unit='uV'\.$"),
        (lambda: positive("sfreq", 0, "hertz"), r"^sfreq must be a number of hertz above 0, got 0\.$"),
        (lambda: positive("sfreq", float("nan")), "must be a number above 0, got nan"),
        (lambda: positive("sfreq", float("inf")), "got inf"),
        (lambda: positive("sfreq", True), "got True"),
        (lambda: positive("sfreq", "200"), "got '200'"),
        (lambda: int_at_least("n_threads", 0), r"^n_threads must be a whole number of at least 1, got 0\.$"),
        (lambda: int_at_least("batch_size", 1.0, unit="windows"), "a whole number of windows, at least 1, got 1.0"),
        (lambda: int_at_least("seed", True, 0), "at least 0, got True"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_many_names_are_cut_short():
    assert first_names([]) == ""
    assert first_names(range(8)) == "0, 1, 2, 3, 4, 5, 6, 7"
    assert first_names(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7 and 2 more"
    assert first_names(("a", "b", "c"), most=1) == "a and 2 more"
