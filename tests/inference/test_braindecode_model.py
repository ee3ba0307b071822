# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A student as a model of braindecode: the same logits, braindecode's own saving, its classifier, what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pytest
import torch
from fake_hub.server import HubServer
from toy_training import NAMES, toy_dataset, toy_student


pytest.importorskip("braindecode", reason="needs braindecode: pip install 'dlink-hf[teachers]'")

from dlink_hf import BraindecodeStudent, MiCConfig, MiCForEEGRegression, MiCForEEGTokenClassification, MiCModel
from dlink_hf.inference.braindecode_model import TorchResampling
from dlink_hf.preprocessing.fir import resample


def channels(names: list[str]) -> list[dict[str, Any]]:
    return mne.create_info(names, 200.0, "eeg", verbose="ERROR")["chs"]


def windows(n_chans: int = 4, n_times: int = 400) -> torch.Tensor:
    return 20 * torch.randn(5, n_chans, n_times)


def regressor() -> MiCForEEGRegression:
    fields = {"target_mean": [40.0], "target_std": [12.0], "problem_type": "regression", "num_labels": 1}
    return MiCForEEGRegression(MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400, **fields)).eval()


@pytest.mark.parametrize("make", [toy_student, regressor])
def test_its_outputs_are_the_students_before_and_after_braindecode_saves_it(make: Any, tmp_path: Path) -> None:
    student, values = make().eval(), windows()
    model = BraindecodeStudent.from_student(student)
    assert (model.n_chans, model.n_times, model.sfreq) == (4, 400, 200.0)
    expected = student(values).logits
    torch.testing.assert_close(model(values), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(values[:, None]), expected, atol=1e-5, rtol=1e-5)
    model.save_pretrained(tmp_path)
    again = BraindecodeStudent.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(values), expected, atol=1e-5, rtol=1e-5)
    # another number of outputs has a new head, in no unit yet
    other = BraindecodeStudent.from_pretrained(tmp_path, n_outputs=3).eval()
    assert other(values).shape == (5, 3) and other(values).abs().max() < 20
    rebuilt = BraindecodeStudent.from_config(model.get_config())
    assert {name: value.shape for name, value in rebuilt.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }


def test_a_folder_with_a_head_and_one_without(tmp_path: Path) -> None:
    student, values = toy_student().eval(), windows()
    student.save_pretrained(tmp_path / "student")
    student.mic.save_pretrained(tmp_path / "backbone")
    model = BraindecodeStudent.from_student(tmp_path / "student")
    torch.testing.assert_close(model(values), student(values).logits, atol=1e-5, rtol=1e-5)
    general = BraindecodeStudent.from_student(tmp_path / "backbone", n_outputs=7)
    assert general(values).shape == (5, 7)
    features = general(values, return_features=True)["features"]
    torch.testing.assert_close(features, student.mic(values).compressed_state.flatten(1), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="has no head: say how many outputs"):
        BraindecodeStudent.from_student(tmp_path / "backbone")


@pytest.mark.parametrize(("old", "new"), [(100, 200), (128, 200), (250, 200), (256, 200)])
def test_windows_at_another_rate_are_brought_to_the_students(old: float, new: float) -> None:
    values = 20 * np.random.default_rng(1).standard_normal((2, 3, int(2 * old))).cumsum(-1)
    found = TorchResampling(old, new)(torch.tensor(values, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(found, resample(values, old, new), atol=1e-2)
    student = toy_student().eval()
    model = BraindecodeStudent.from_student(student, n_times=int(2 * old), sfreq=old)
    slow = windows(n_times=int(2 * old))
    expected = student(torch.tensor(resample(slow.double().numpy(), old, new)).float()).logits
    torch.testing.assert_close(model(slow), expected, atol=1e-3, rtol=1e-3)


def test_another_montage_is_read_where_it_is() -> None:
    student = toy_student().eval()
    few = BraindecodeStudent.from_student(student, chs_info=channels(["EEG Fp1-REF", "O2"]))
    positions = torch.tensor([[-0.02944, 0.08392, -0.00699], [0.02984, -0.11216, 0.00880]])
    values = windows(2)
    torch.testing.assert_close(few(values), student(values, channel_positions=positions).logits, atol=1e-5, rtol=1e-5)


def test_braindecodes_classifier_fits_it() -> None:
    from braindecode import EEGClassifier

    data = toy_dataset(["a", "b", "c"], 20)
    values, labels = np.asarray(data["input_values"][:]), np.asarray(data["labels"][:])
    fresh = BraindecodeStudent(2, chs_info=channels(NAMES), n_times=400, sfreq=200.0, size="tiny")
    net = EEGClassifier(fresh, max_epochs=8, batch_size=16, optimizer=torch.optim.AdamW, lr=3e-3, verbose=0)
    net.fit(values, labels)
    assert net.score(values, labels) > 0.8


def test_it_goes_to_the_hub_and_back_by_braindecodes_own_functions(tmp_path: Path) -> None:
    student = toy_student().eval()
    student.save_pretrained(tmp_path / "student")
    (tmp_path / "hub").mkdir()
    script = (
        "import torch\nfrom dlink_hf import BraindecodeStudent, load_classifier\n"
        "BraindecodeStudent.from_student('student').push_to_hub('me/student')\n"
        "again = BraindecodeStudent.from_pretrained('me/student').eval()\n"
        "values = 20 * torch.randn(2, 4, 400)\n"
        "print('largest', float((again(values) - load_classifier('student')(values).logits).abs().max()))\n"
    )
    with HubServer(tmp_path / "hub", token="hf_braindecodeToken1") as hub:
        environment = hub.environment(tmp_path / "home", HF_TOKEN="hf_braindecodeToken1")
        command = [sys.executable, "-W", "ignore", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert float(done.stdout.split()[-1]) < 1e-5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"chs_info": [{"ch_name": "left"}]}, "no position is known for 1 channel"),
        ({"n_chans": 3}, "montage has 4 channels, n_chans is 3"),
        ({"n_times": 60}, "last 0.3 s, this student reads patches of 1 s"),
        ({"n_times": 400, "input_window_seconds": 3.0}, "different from"),
    ],
)
def test_windows_that_do_not_fit_are_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        BraindecodeStudent.from_student(toy_student(), **{"sfreq": 200.0, **fields})


def test_what_is_not_a_student_of_windows_is_refused(tmp_path: Path) -> None:
    config = MiCConfig.from_size("tiny", ch_names=NAMES, n_times=400)
    MiCForEEGTokenClassification(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="labels every patch"):
        BraindecodeStudent.from_student(tmp_path)
    with pytest.raises(TypeError, match="or a MiC model, got Linear"):
        BraindecodeStudent.from_student(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="where its electrodes are"):
        BraindecodeStudent(2, n_chans=4, n_times=400, sfreq=200.0)
    with pytest.warns(UserWarning, match="of each window the last 0.5 s are not read"):
        assert BraindecodeStudent.from_student(MiCModel(config), 2, n_times=500)(windows(n_times=500)).shape == (5, 2)


def test_volts_are_refused() -> None:
    model = BraindecodeStudent.from_student(toy_student())
    assert model.get_output_shape() == (1, 2)
    with pytest.raises(ValueError, match="looks like volts"):
        model(windows() * 1e-6)
