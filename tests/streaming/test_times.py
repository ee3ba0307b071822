# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Stamps that are not finite, clocks that are set back, samples that come twice: placed, told, left out."""

import numpy as np
import pytest

from dlink_hf.streaming.times import DoubledSamples, StampedSamples, SteadyTimes, fill_stamps


STAMPS = 100 + np.arange(2560) / 256


@pytest.mark.parametrize("size", [1, 7, 2560])
def test_stamps_that_are_not_finite_get_the_time_that_the_rate_says(size):
    broken, said = STAMPS.copy(), []
    broken[[300, 301, 302, 900, 2559]] = [np.nan, np.inf, np.nan, -np.inf, np.nan]
    steady = SteadyTimes(256, said.append)
    times = np.concatenate([steady(broken[k : k + size]) for k in range(0, len(broken), size)])
    np.testing.assert_allclose(times, STAMPS, atol=1e-9)
    assert steady.n_not_finite == 5 and "time stamps are not finite: their samples are placed by the rate" in said[0]
    # without any stamp nothing is known
    assert np.isnan(SteadyTimes(256)(np.full(3, np.nan))).all()
    filled = fill_stamps(np.array([np.nan, 5.0, np.nan, np.nan]), None, 0.5)
    np.testing.assert_array_equal(filled, [4.5, 5.0, 5.5, 6.0])
    np.testing.assert_array_equal(fill_stamps(np.full(2, np.nan), 7.0, 0.5), [7.0, 7.5])


def test_a_clock_that_is_set_back_is_followed_and_told():
    said = []
    steady = SteadyTimes(256, said.append)
    stamps = np.r_[STAMPS[:1280], STAMPS[1280:] - 3600]
    times = np.concatenate([steady(stamps[k : k + 12]) for k in range(0, len(stamps), 12)])
    assert said == ["the stream's time stamps went back by 3.6e+03 s"]
    # from a third of a second on
    np.testing.assert_allclose(times[1280 + 90 :], stamps[1280 + 90 :], atol=1e-3)
    assert np.sum(np.diff(times) < 0) == 1


@pytest.mark.parametrize("size", [5, 64])
def test_samples_that_come_twice_are_found(size):
    values = np.random.default_rng(0).standard_normal((3, 400))
    stamps = STAMPS[:400]
    # a block again, and one sample at once
    order = np.r_[0:200, 150:200, 200:300, 299:400]
    find = DoubledSamples(256)
    found = np.concatenate(
        [find(values[:, order[k : k + size]], stamps[order[k : k + size]]) for k in range(0, len(order), size)]
    )
    assert np.flatnonzero(found).tolist() == [*range(200, 250), 350]
    # the same stamp with other numbers is no double
    assert not DoubledSamples(256)(values[:, :4], np.repeat(stamps[:2], 2)).any()


def test_a_source_hands_on_each_sample_once_with_a_time():
    said = []
    stamped = StampedSamples(256, said.append)
    values = np.arange(600.0).reshape(2, 300)
    kept, times = stamped(values[:, :2], np.full(2, np.nan))
    assert kept.shape == (2, 0) and len(times) == 0
    kept, times = stamped(values[:, 2:200], STAMPS[2:200], offset=50.0)
    np.testing.assert_array_equal(kept, values[:, 2:200])
    np.testing.assert_allclose(times, STAMPS[2:200] + 50)
    kept, times = stamped(values[:, 190:300], STAMPS[190:300], offset=50.0)
    np.testing.assert_array_equal(kept, values[:, 200:])
    np.testing.assert_allclose(times, STAMPS[200:300] + 50, atol=1e-9)
    assert said[1:] == ["10 samples came twice, with the same time stamp: the second ones are left out"]
