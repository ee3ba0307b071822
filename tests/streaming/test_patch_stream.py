# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Models that label patches on a live stream: every place once, as the pipeline labels the recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_training import NAMES, toy_student

import dlink_hf
from dlink_hf import EEGFeatureExtractor, MiCForEEGTokenClassification, OnnxStudent, StreamClassifier, export_onnx
from dlink_hf.commands.stream import StreamArguments, settle_times


SECONDS = 21


def labeller(**fields: Any) -> MiCForEEGTokenClassification:
    """A student that labels every second of stretches of 4 s, moved away from where it starts."""
    config = toy_student(0).config
    own = {"n_times": 800, "id2label": {0: "rest", 1: "burst"}, "label2id": None, **fields}
    torch.manual_seed(0)
    model = MiCForEEGTokenClassification(type(config).from_dict({**config.to_dict(), **own})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def extractor(n_times: int = 800, **fields: Any) -> EEGFeatureExtractor:
    return EEGFeatureExtractor(ch_names=NAMES, n_times=n_times, **fields)


def signal() -> np.ndarray:
    return 20 * np.random.default_rng(0).standard_normal((len(NAMES), 200 * SECONDS))


def streamed(model: Any, values: np.ndarray, settings: EEGFeatureExtractor | None = None, **options: Any) -> list[Any]:
    """The predictions of a signal that comes in pieces of 0.23 s."""
    given = {"ch_names": NAMES, "sfreq": 200.0, "unit": "uV", "hop_seconds": 1.0, **options}
    live = StreamClassifier(model, settings or extractor(), **given)
    times, found = 100 + np.arange(values.shape[1]) / 200.0, []
    for first in range(0, values.shape[1], 46):
        found += live.push(values[:, first : first + 46], times[first : first + 46])
    return found


def test_with_hops_of_a_stretch_a_stream_says_what_the_pipeline_says() -> None:
    model = labeller()
    pipe = dlink_hf.pipeline(model=model, feature_extractor=extractor())
    places = pipe({"array": signal(), "ch_names": NAMES, "sfreq": 200.0, "unit": "uV"}, top_k=None)
    found = streamed(model, signal(), hop_seconds=4.0)
    assert [one.onset for one in found] == [place["onset"] for place in places] == list(range(20))
    assert {one.duration for one in found} == {1.0}
    for one, place in zip(found, places, strict=True):
        scores = {row["label"]: row["score"] for row in place["scores"]}
        assert one.label == place["label"]
        np.testing.assert_allclose(one.probabilities, [scores["rest"], scores["burst"]], rtol=1e-3)


@pytest.mark.parametrize(("fields", "hop"), [({}, 1), ({}, 3), ({"patches_per_label": 2, "token_context": "gru"}, 2)])
def test_a_place_is_told_once_by_the_first_stretch_that_holds_it(fields: dict[str, Any], hop: int) -> None:
    model, values = labeller(**fields), signal()
    size = model.config.patches_per_label
    found = streamed(model, values, hop_seconds=float(hop))
    starts = range(0, SECONDS - 4 + 1, hop)
    assert [one.onset for one in found] == list(range(0, starts[-1] + 4, size))
    # as soon as the stretch is there, within a push; a sample is stamped where it begins
    assert all(-0.01 <= one.time - 100 - max(4.0, one.onset + size) < hop + 0.23 for one in found)
    with torch.inference_mode():
        stretches = np.stack([values[:, 200 * start : 200 * (start + 4)] for start in starts])
        told = model(torch.from_numpy(stretches).float()).logits.softmax(-1).numpy()
    for one in found:
        first = next(index for index, start in enumerate(starts) if start + 4 >= one.onset + size)
        np.testing.assert_allclose(one.probabilities, told[first, round(one.onset - starts[first]) // size], rtol=1e-3)


def test_places_that_can_not_be_judged_have_a_reason_and_are_not_told_again() -> None:
    values = signal()
    values[:, 1700:1705] += 900  # in the ninth second
    found = streamed(labeller(), values, extractor(reject_uv=300.0))
    assert [one.onset for one in found] == list(range(SECONDS))
    silent = [one.onset for one in found if one.label is None]
    assert silent == [8, 9, 10, 11] and all("uV" in one.reason for one in found if one.label is None)


def test_after_a_gap_places_are_counted_again() -> None:
    values, times = signal(), 100 + np.arange(200 * SECONDS) / 200.0
    times[1500:] += 2.5
    live = StreamClassifier(
        labeller(), extractor(), ch_names=NAMES, sfreq=200.0, unit="uV", hop_seconds=1.0, say=lambda text: None
    )
    found = live.push(values, times)
    assert live.n_restarts == 1
    assert [one.onset for one in found] == [*range(7), *(10.0 + second for second in range(13))]


def test_smoothing_runs_over_places() -> None:
    found = streamed(labeller(), signal(), smoothing_seconds=2.0)
    memory, expected = np.exp(-1 / 2.0), found[0].probabilities
    for one in found:
        expected = memory * expected + (1 - memory) * one.probabilities
        np.testing.assert_allclose(one.smoothed, expected, rtol=1e-6)


def test_an_export_is_streamed_too(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = labeller()
    export_onnx(model, tmp_path, progress=False)
    own, exported = (streamed(one, signal()) for one in (model, OnnxStudent.from_pretrained(tmp_path)))
    assert [one.onset for one in own] == [one.onset for one in exported]
    for one, other in zip(own, exported, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-3)


def test_hops_that_cut_places_are_refused() -> None:
    for hop in (0.5, 1.5, 5.0):
        with pytest.raises(ValueError, match=r"whole labels of 1 s, at most a stretch of 4 s, .* \(--hop 1\)"):
            streamed(labeller(), signal(), hop_seconds=hop)
    with pytest.raises(ValueError, match="do not hold whole labels of 400 samples"):
        streamed(labeller(patches_per_label=2), signal(), extractor(600), hop_seconds=2.0)


def test_the_command_takes_a_label_as_hop() -> None:
    for model, hop, smoothing in ((labeller(patches_per_label=2), 2.0, 0.0), (toy_student(), 0.1, 1.0)):
        args = StreamArguments()
        settle_times(args, model)
        assert (args.hop, args.smoothing) == (hop, smoothing)
    args = StreamArguments(hop=4.0, smoothing=3.0)
    settle_times(args, labeller())
    assert (args.hop, args.smoothing) == (4.0, 3.0)
