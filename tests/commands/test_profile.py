# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink profile`: its figures against counts and files made otherwise, what is refused, what is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from dlink_hf import MiCConfig, MiCForEEGClassification
from dlink_hf.commands import main
from dlink_hf.export.onnx_student import make_session
from dlink_hf.profiling.measure import energy_counters, measure_energy, measure_machine
from dlink_hf.profiling.models import ProfiledModel, Window, build_model, default_window, kind_of
from dlink_hf.profiling.report import add_scores, name_points, plot_profile, read_scores
from dlink_hf.profiling.run import memory_of, profile_models
from dlink_hf.profiling.runtimes import export_module, make_runner, noise, prepare_backend


NAMES = ["F3", "C3", "C4"]
SMALL = {"n_chans": 3, "seconds": 2.0, "sfreq": 200.0}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny student with random weights, whose card tells a score."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    torch.manual_seed(0)
    MiCForEEGClassification(MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400, num_labels=3)).save_pretrained(
        folder
    )
    results = [
        {
            "task": {"type": "eeg-classification"},
            "dataset": {"name": "toy", "type": "toy", "split": split},
            "metrics": [{"type": "balanced_accuracy", "value": value}],
        }
        for split, value in (("validation", 0.9), ("test", 0.8125))
    ]
    card = {"model-index": [{"name": "mine", "results": results}]}
    (folder / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    return folder


@pytest.fixture(scope="module")
def profile(checkpoint):
    """The student and networks of braindecode, one of which can't read such a window."""
    names = ["SCCNet", str(checkpoint), "PBT", "SCNet"]
    return profile_models(
        names, ["eager", "folded", "onnx"], n_runs=5, batch_sizes=[2, 1], memory=False, progress=False
    )


def row_of(profile, model, backend):
    return next(row for row in profile["rows"] if (row["model"], row["backend"]) == (model, backend))


def test_rows_hold_what_the_models_and_files_say(profile, checkpoint):
    both = [(model, backend) for model in ("SCCNet", "mine") for backend in ("eager", "onnx")]
    assert [(row["model"], row["backend"]) for row in profile["rows"]] == [*both[:3], ("mine", "folded"), both[3]]
    student, exported = row_of(profile, "mine", "eager"), row_of(profile, "mine", "onnx")
    saved = MiCForEEGClassification.from_pretrained(checkpoint)
    assert student["parameters"] == sum(p.numel() for p in saved.parameters())
    assert (student["n_chans"], student["n_times"], student["sfreq"]) == (3, 400, 200.0)
    # the weights in float32 and a little for their names
    assert 4 * student["parameters"] < 1e6 * student["file_mb"] < 4 * student["parameters"] + 20_000
    assert 0 < row_of(profile, "mine", "folded")["largest_difference"] < 1e-4
    assert 0 < exported["largest_difference"] < 1e-4 and student["largest_difference"] == 0
    assert student["trained"] and not row_of(profile, "SCCNet", "eager")["trained"]


def test_ratios_and_floors_follow_from_what_was_measured(profile):
    machine = profile["machine"]
    for row in profile["rows"]:
        assert row["min_ms"] <= row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert set(row["windows_per_s"]) == {"1", "2"} and min(row["windows_per_s"].values()) > 0
        assert row["windows_per_s"]["1"] == pytest.approx(1000 / row["p50_ms"])
        # a network can't be folded
        other = row_of(profile, "SCCNet", row["backend"].replace("folded", "eager"))
        assert row["times_faster"] == pytest.approx(other["p50_ms"] / row["p50_ms"])
        seconds = row["mflop"] * 1e6 / (machine["matrix_gflops"] * 1e9)
        assert row["compute_floor_ms"] == pytest.approx(1e3 * seconds)
        assert row["times_floor"] == pytest.approx(row["p50_ms"] / row["floor_ms"])
        assert row["floor_ms"] == max(row["compute_floor_ms"], row["memory_floor_ms"])
    size = 1e6 * row_of(profile, "mine", "onnx")["file_mb"]
    assert row_of(profile, "mine", "onnx")["memory_floor_ms"] == pytest.approx(
        1e3 * size / (machine["memory_gbs"] * 1e9)
    )


def test_what_cannot_be_built_is_listed_and_the_others_go_on(profile):
    reasons = {(one["model"], one["backend"]): one["reason"] for one in profile["not_measured"]}
    assert set(reasons) == {("PBT", "all"), ("SCNet", "all"), ("SCCNet", "folded")}
    assert "multiple of PBT's patch of 64 samples" in reasons["PBT", "all"]
    assert "near are" in reasons["SCNet", "all"] and "SCCNet" in reasons["SCNet", "all"]


def test_nothing_to_measure_and_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="Nothing could be measured.*PBT.*patch of 64"):
        profile_models(["PBT"], ["eager"], progress=False)
    with pytest.raises(ValueError, match="there is no tensorrt"):
        profile_models(["tiny"], ["tensorrt"])
    with pytest.raises(ValueError, match="batch_sizes must be 1 or more, got 0"):
        profile_models(["tiny"], batch_sizes=[0, 8])
    with pytest.raises(ValueError, match="n_chans must be from 1 to"):
        profile_models(["tiny"], n_chans=1000)
    with pytest.raises(ValueError, match="'base' is none of the models: tiny"):
        profile_models(["tiny"], reference="base")


def test_windows_of_other_rates_and_lengths():
    assert kind_of("cbramod") == ("backbone", "CBraMod") and kind_of("eegnet") == ("network", "EEGNet")
    model = build_model("tiny", Window(8, 2.0, 256.0))
    config = model.source.config
    # patches of a second, filters of half a second, as at 200 Hz
    assert (model.n_times, config.n_times, config.patch_size, config.filter_size) == (512, 512, 256, 128)
    with torch.inference_mode():
        assert model.module(noise(2, 8, 512)).shape == (2, 2)
    again = build_model("tiny", Window(8, 2.0, 256.0)).source.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.source.state_dict().items())
    with pytest.raises(ValueError, match="Give whole seconds"):
        build_model("tiny", Window(8, 2.005, 200.0))
    # bound to 200 Hz: the same two seconds at that
    assert build_model("BIOT", Window(8, 2.0, 256.0)).n_times == 400


def test_window_of_the_first_checkpoint_and_other_channels(checkpoint):
    assert default_window(["tiny", str(checkpoint)], None, None, None) == Window(3, 2.0, 200.0)
    assert default_window(["tiny", str(checkpoint)], 5, None, None) == Window(5, 2.0, 200.0)
    assert default_window(["tiny"], None, None, 100.0) == Window(20, 5.0, 100.0)
    model = build_model(str(checkpoint), Window(5, 1.0, 256.0))
    with torch.inference_mode():
        assert model.module(noise(1, 5, 200)).shape == (1, 3)
    with pytest.raises(ValueError, match="multiple of 1"):
        build_model(str(checkpoint), Window(5, 1.5, 256.0))


def test_fourier_transforms_become_products(tmp_path):
    class Spectrum(nn.Module):
        def forward(self, input_values):
            return torch.view_as_real(torch.fft.rfft(input_values, dim=-1, norm="forward"))

    windows = noise(3, 2, 50)
    path = tmp_path / "model.onnx"
    path.write_bytes(export_module(Spectrum().eval(), windows))
    assert not {"DFT", "STFT"} & {node.op_type for node in onnx.load(path).graph.node}
    found = make_session(path.read_bytes(), 1).run(None, {"input_values": windows.numpy()})[0]
    expected = np.fft.rfft(windows.numpy().astype(np.float64)) / 50
    np.testing.assert_allclose(found, np.stack([expected.real, expected.imag], -1), atol=1e-5)


def test_int8_of_a_network_is_smaller_and_near(tmp_path):
    model = build_model("SCCNet", Window(**SMALL))
    full, small = (prepare_backend(model, backend, tmp_path) for backend in ("onnx", "int8"))
    quantised = {node.op_type for node in onnx.load(small.path).graph.node}
    assert "QuantizeLinear" in quantised and any("mean nothing" in note for note in small.notes)
    window = noise(1, 3, 400)
    expected = full.call(input_values=full.prepare(window))
    assert np.abs(small.call(input_values=small.prepare(window)) - expected).max() < 0.2
    assert make_runner(model, "eager") is model.module


def test_a_graph_traced_for_two_windows_is_not_taken_for_any(tmp_path):
    class RowByRow(nn.Module):
        def forward(self, input_values):
            return torch.cat([one.square().mean(-1)[None] for one in torch.unbind(input_values)])

    module = RowByRow().eval()
    model = ProfiledModel("rows", "network", module, module, 3, 400, 200.0, False)
    runner = prepare_backend(model, "onnx", tmp_path)
    window = noise(4, 3, 400)
    np.testing.assert_allclose(runner.call(input_values=window[:1].numpy()), module(window[:1]), rtol=1e-5)
    with pytest.raises(ValueError, match="one window at a time"):
        runner.call(input_values=window.numpy())


def weights_as_onnx(path: Path, size: int) -> Path:
    """A graph that adds up `size` weights, which can't be folded away."""
    weights = numpy_helper.from_array(np.ones((1, 1, size), dtype=np.float32), "weights")
    values = helper.make_tensor_value_info("input_values", TensorProto.FLOAT, [1, 1, 1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Mul", ["input_values", "weights"], ["product"]),
        helper.make_node("ReduceSum", ["product"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "sum", [values], [logits], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_memory_of_a_device_grows_with_the_weights_and_needs_no_torch(tmp_path, monkeypatch):
    for name in ("torch", "transformers", "dlink_hf"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('{name} was imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    task = {"backend": "onnx", "shape": [1, 1, 1], "n_runs": 2, "n_threads": 1}
    small, large = (
        memory_of({**task, "path": str(weights_as_onnx(tmp_path / f"{size}.onnx", size))}) for size in (10, 10**7)
    )
    # 40 MB of weights, and of products
    assert 40e6 < large["beyond_imports"] - small["beyond_imports"] < 200e6
    assert small["beyond_imports"] < small["beyond_interpreter"] < 150e6
    with pytest.raises(ValueError, match="(?s)the process ended with 1.*torch was imported"):
        memory_of({**task, "backend": "eager", "model": "tiny", "window": SMALL})


def test_machine_is_measured_in_units_that_any_processor_reaches():
    """Off by a factor of a thousand (a wrong unit) is found; how fast this machine is right now is not tested."""
    machine = measure_machine()
    assert 0.01 < machine["matrix_gflops"] < 1e6
    assert 0.01 < machine["memory_gbs"] < 1e5


def test_energy_of_calls_from_the_kernels_counters(tmp_path):
    with pytest.raises(OSError, match="no energy counter"):
        energy_counters(tmp_path)
    for folder, name in (("intel-rapl:0", "package-0"), ("intel-rapl:1", "package-1"), ("intel-rapl:0:0", "core")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(f"{name}\n")
        (tmp_path / folder / "max_energy_range_uj").write_text("9999\n")
        (tmp_path / folder / "energy_uj").write_text("9000\n")
    counters = energy_counters(tmp_path)
    assert [path.name for path in counters] == ["intel-rapl:0", "intel-rapl:1"]

    def take(microjoules):
        def call():
            for path in counters:
                now = int((path / "energy_uj").read_text())
                (path / "energy_uj").write_text(str((now + microjoules) % 9999))

        return call

    # one call a turn; the counters wrap on the way
    energy = measure_energy({"a": take(700), "b": take(70)}, counters, seconds=0.0, n_rounds=3)
    assert energy == pytest.approx({"a": 1.4, "b": 0.14})


def test_scores_of_cards_files_and_result_lines(profile, tmp_path):
    add_scores(profile)
    assert (row_of(profile, "mine", "onnx")["score"], row_of(profile, "mine", "onnx")["score_of"]) == (0.8125, "toy")
    assert row_of(profile, "SCCNet", "eager")["score"] is None
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"SCCNet": 0.75, "other": 0.1}))
    add_scores(profile, read_scores(path, ["SCCNet", "mine"]))
    assert [row["score"] for row in profile["rows"]] == [0.75, 0.75, 0.8125, 0.8125, 0.8125]
    path.write_text(json.dumps({"SCCNet": 75}))
    with pytest.raises(ValueError, match="balanced accuracy from 0 to 1"):
        read_scores(path, ["SCCNet"])
    path.write_text(json.dumps({"other": 0.75}))
    with pytest.raises(ValueError, match="none of the models SCCNet"):
        read_scores(path, ["SCCNet"])

    def line(model, name, value, **more):
        scores = {"test": {"balanced_accuracy": value}}
        return json.dumps({"model": model, "set": name, "alignment": "none", "scores": scores, **more})

    lines = [line("SCCNet", "a", 0.5), line("SCCNet", "a", 0.7), line("SCCNet", "b", 0.8), line("mine", "a", 0.9)]
    # seeds first, then sets, and of the sets those that both have; a share of the windows is another task
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join([*lines, line("mine", "a", 0.1, share=0.1), line("x", "a", 0.1)]))
    add_scores(profile, read_scores(path, ["SCCNet", "mine"]))
    assert row_of(profile, "SCCNet", "eager")["score"] == pytest.approx(0.6)
    assert row_of(profile, "mine", "eager")["score"] == pytest.approx(0.9)


def test_names_in_the_plot_cover_nothing(tmp_path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    FigureCanvasAgg(figure)
    axis = figure.add_subplot()
    named = {f"model {i}": (1 + 0.02 * (i % 4), 1 + 0.02 * (i // 4)) for i in range(12)}
    axis.scatter(*zip(*named.values(), strict=True))
    axis.margins(1.0)
    figure.canvas.draw()
    name_points(axis, named, list(named.values()), [])
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in axis.texts]
    points = axis.transData.transform(list(named.values()))
    assert [text.get_text() for text in axis.texts] == list(named)
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_command_prints_and_writes(checkpoint, tmp_path, capsys):
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"tiny": 0.7}))
    words = ["profile", "tiny", str(checkpoint), "--backends", "eager", "--n_runs", "3", "--batch_sizes", "1", "2"]
    assert main([*words, "--no_memory", "--scores", str(scores), "--output", str(tmp_path / "costs")]) == 0
    printed = capsys.readouterr().out
    written = {path.name: path for path in (tmp_path / "costs").iterdir()}
    assert set(written) == {"profile.md", "profile.json", "profile.png"}
    assert printed.startswith(written["profile.md"].read_text())
    tables = [block.splitlines() for block in printed.split("\n\n") if block.startswith("| model")]
    assert len(tables) == 2 and all(len({len(line) for line in table}) == 1 for table in tables)
    profile = json.loads(written["profile.json"].read_text())
    ratio = profile["rows"][0]["p50_ms"] / profile["rows"][1]["p50_ms"]
    cells = [cell.strip() for cell in tables[0][3].split("|")]
    assert cells[1:3] == ["mine", "eager"] and f"{ratio:.3g}"[:4] in cells[7]
    assert [row["score"] for row in profile["rows"]] == [0.7, 0.8125]
    assert "tiny: random weights" in printed and "energy" in printed
    import matplotlib.image

    picture = matplotlib.image.imread(written["profile.png"])
    assert picture.shape[1] > 800 and len(np.unique(picture.reshape(-1, 4), axis=0)) > 20


def test_the_command_refuses(tmp_path, capsys):
    assert main(["profile"]) == 1
    assert "say which models" in capsys.readouterr().err
    assert main(["profile", "tiny", "--scores", str(tmp_path / "none.json")]) == 1
    assert "no file of scores" in capsys.readouterr().err


def test_plot_of_costs_alone(profile, tmp_path):
    for row in profile["rows"]:
        row["score"] = None
    path = plot_profile(profile, tmp_path / "deep" / "costs.png")
    assert path.read_bytes().startswith(b"\x89PNG")
