# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What teachers refuse: channels, rates, windows and arguments that their backbones can't take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from teacher_files import write_position_bank, write_vocabulary


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from braindecode.models import steegformer  # noqa: E402
from braindecode.models.eegpt import EEGPT_CHANNELS  # noqa: E402

from dlink_hf import DLinkTeacherConfig, DLinkTeacherModel  # noqa: E402
from dlink_hf.models.teacher.backbones import BACKBONES  # noqa: E402
from dlink_hf.profiling.known_teachers import SMALL, example_config  # noqa: E402


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """Downloads fail at once, and nothing was fetched before."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REVE_POSITIONS_PATH", str(tmp_path))


@pytest.fixture
def vocabulary():
    """STEEGFormer's vocabulary, cached: 145 names, C3 the 10th, Cz the 20th, T3 under its old name."""
    names = [f"X{index}" for index in range(145)]
    names[10], names[20], names[30] = "C3", "CZ", "T3"
    folder = write_vocabulary(Path(huggingface_hub.constants.HF_HUB_CACHE), names)
    steegformer._channel_order.cache_clear()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    steegformer._channel_order.cache_clear()


def build(backbone: str, ch_names: list[str], **kwargs) -> DLinkTeacherModel:
    config = DLinkTeacherConfig(backbone=backbone, backbone_kwargs={**SMALL[backbone], **kwargs}, ch_names=ch_names)
    return DLinkTeacherModel(config)


@pytest.mark.parametrize("backbone", ["SignalJEPA", "LUNA", "ZUNA"])
def test_a_channel_without_a_place_on_the_head_is_named(backbone):
    with pytest.raises(ValueError, match=rf"`ch_names`: {backbone}.*'C33' \(close: C3.*'my own'"):
        DLinkTeacherConfig(backbone=backbone, ch_names=["C3", "C33", "my own"])


def test_channels_that_the_list_of_a_backbone_does_not_hold_are_named():
    with pytest.raises(ValueError, match=r"Labram has no embedding for C3-P3.*, Fp9 \(close: .*128 names"):
        build("Labram", ["Cz", "C3-P3", "Fp9"])
    with pytest.raises(ValueError, match="EEGPT has no embedding for TP9.* 62 names"):
        build("EEGPT", ["Cz", "TP9"], chan_proj_type="none")
    with pytest.raises(ValueError, match="SignalJEPA has no embedding for Iz.*pre-training electrodes"):
        build("SignalJEPA", ["Cz", "Iz"], channel_embedding="pretrain_aligned")


def test_names_are_found_in_any_spelling_and_order():
    names = ["EEG Pz-REF", "fp1", "T3"]
    assert build("Labram", names).backbone.dlink_ch_names == ["PZ", "FP1", "T3"]
    model = build("EEGPT", names, chan_proj_type="none")
    assert model.backbone.chans_id.flatten().tolist() == [EEGPT_CHANNELS.index(name) for name in ("PZ", "FP1", "T7")]
    assert model.config.token_chans == 3
    build("SignalJEPA", names, channel_embedding="pretrain_aligned")


def test_more_channels_than_embeddings():
    names = DLinkTeacherConfig().ch_names
    with pytest.raises(ValueError, match=r"at most 19 channels for EEGDINO.*n_channel_embeddings.*\['Oz', 'my own'\]"):
        DLinkTeacherConfig(backbone="EEGDINO", ch_names=[*names, "Oz", "my own"])
    assert build("EEGDINO", [*names, "Oz"], n_channel_embeddings=20).config.token_chans == 20
    with pytest.raises(ValueError, match=r"at most 3 channels for MVPFormer.*max_channels.*\['d'\]"):
        build("MVPFormer", ["a", "b", "c", "d"], max_channels=3)


def test_reve_without_its_bank_of_positions(no_network, tmp_path):
    with pytest.raises(OSError, match="positions.json.*FOLDER/reve_positions.json.*REVE_POSITIONS_PATH=FOLDER"):
        build("REVE", ["C3"])
    write_position_bank(tmp_path)
    model = build("REVE", ["T3", "EEG CZ-REF"])
    bank = json.loads((tmp_path / "reve_positions.json").read_text())
    torch.testing.assert_close(model.backbone.default_pos, torch.tensor([bank["T7"], bank["Cz"]]))
    with pytest.raises(ValueError, match="REVE has no embedding for A2-A1, my own.*bank of positions"):
        build("REVE", ["C3", "A2-A1", "my own"])


def test_steegformer_without_its_vocabulary_refuses_to_guess():
    with pytest.raises(OSError, match="steegformer_channels.json.*'chan_pos_idx'"):
        build("STEEGFormer", ["C3", "Cz"])
    assert build("STEEGFormer", ["a", "b"], chan_pos_idx=[7, 3]).backbone.channel_indices.tolist() == [7, 3]
    for slots in ([0], [0, 0], [0, 145], [0, 1.5]):
        with pytest.raises(ValueError, match=r"chan_pos_idx.*2 channels \(C3, Cz\).*0 ... 144"):
            build("STEEGFormer", ["C3", "Cz"], chan_pos_idx=slots)


def test_steegformer_with_its_vocabulary(vocabulary, tmp_path):
    model = build("STEEGFormer", ["EEG Cz-REF", "T7", "C3"])
    assert model.backbone.channel_indices.tolist() == [20, 30, 10]
    with pytest.raises(ValueError, match="STEEGFormer has no embedding for Pz, my own"):
        build("STEEGFormer", ["Pz", "C3", "my own"])
    with pytest.raises(ValueError, match="145 slots.*n_chans_pos=90.*chan_pos_idx"):
        build("STEEGFormer", ["C3"], n_chans_pos=90)
    # what was looked up is saved, under the channels' names
    model.save_pretrained(tmp_path)
    shutil.rmtree(vocabulary)
    steegformer._channel_order.cache_clear()
    assert DLinkTeacherModel.from_pretrained(tmp_path).backbone.channel_indices.tolist() == [20, 30, 10]
    fewer = DLinkTeacherModel.from_pretrained(tmp_path, ch_names=["C3", "T7"])
    assert fewer.backbone.channel_indices.tolist() == [10, 30]
    with pytest.raises(OSError, match="steegformer_channels.json"):
        DLinkTeacherModel.from_pretrained(tmp_path, ch_names=["C3", "Oz", "T7"])


def test_luna_tells_montages_apart():
    """Not by the line of evenly spaced points that braindecode falls back to."""
    inputs = torch.randn(1, 3, 400)
    models = [
        DLinkTeacherModel(
            DLinkTeacherConfig(backbone="LUNA", backbone_kwargs=SMALL["LUNA"], ch_names=names, n_times=400)
        ).eval()
        for names in (["C3", "Cz", "C4"], ["O1", "Fz", "T8"])
    ]
    models[1].load_state_dict(models[0].state_dict())
    left, right = (model(inputs).last_hidden_state for model in models)
    assert (left - right).abs().max() > 1e-3


@pytest.mark.parametrize("backbone", [name for name, spec in BACKBONES.items() if spec.sfreq])
def test_another_rate_is_refused(backbone):
    rate = BACKBONES[backbone].sfreq
    with pytest.raises(ValueError, match=rf"`sfreq` must be {rate} Hz, the rate that {backbone}.*got 250"):
        DLinkTeacherConfig(backbone=backbone, sfreq=250)


@pytest.mark.parametrize(
    ("backbone", "n_times", "message"),
    [
        ("CBraMod", 900, r"multiple of CBraMod's patch of 200 samples \(nearest: 800 or 1000\)"),
        ("BIOT", 950, r"200 samples, or 200 and a multiple of 100 more.*\(nearest: 900 or 1000\)"),
        ("BIOT", 100, r"200 samples, or.*\(nearest: 200\)"),
        ("EEGPT", 1000, r"64 samples, or 64 and a multiple of 32 more.*\(nearest: 992 or 1024\)"),
        ("SignalJEPA", 128, r"152 samples.*\(nearest: 152\)"),
        ("REVE", 199, r"200 samples.*\(nearest: 200\)"),
        ("LUNA", 1024, r"multiple of LUNA's patch of 40 samples \(nearest: 1000 or 1040\)"),
        ("CodeBrain", 1001, "patch of 200"),
        ("EEGDINO", 1001, "patch of 200"),
        ("STEEGFormer", 1000, r"patch of 16 samples \(nearest: 992 or 1008\)"),
        ("MVPFormer", 1000, r"patch of 2560 samples \(nearest: 2560\)"),
        ("PBT", 1000, "patch of 64"),
        ("ZUNA", 1000, "patch of 32"),
        ("ZUNA", 32 * 257, "at most 256 patches"),
        ("STEEGFormer", 16 * 2048, "at most 2047 patches"),
        ("MEDFormer", 5001, "at most 5000 samples"),
    ],
)
def test_windows_into_which_patches_do_not_fit(backbone, n_times, message):
    with pytest.raises(ValueError, match=rf"`n_times` must be .*{message}.*got {n_times}"):
        DLinkTeacherConfig(backbone=backbone, n_times=n_times)


def test_samples_that_are_not_read_are_said(caplog):
    from transformers.utils import logging

    logger = logging.get_logger("dlink_hf.models.teacher.configuration_teacher")
    logger.addHandler(caplog.handler)
    try:
        config = DLinkTeacherConfig(backbone="REVE", n_times=1050)
    finally:
        logger.removeHandler(caplog.handler)
    assert (config.n_patches, config.unread_samples) == (5, 130)
    assert "of a window of 1050 samples the last 130 are not read" in caplog.text
    assert "Windows of 920 or 1100 samples are read whole" in caplog.text
    assert DLinkTeacherConfig(backbone="REVE", n_times=1100).unread_samples == 0
    assert DLinkTeacherConfig(backbone="CBraMod").unread_samples == 0


@pytest.mark.parametrize(
    ("backbone", "kwargs", "message"),
    [
        ("SignalJEPA", {"num_encoder_layers": 2}, "takes no num_encoder_layers. Its.*transformer__num_encoder_layers"),
        ("ZUNA", {"depth": 2}, "ZUNA takes no depth"),
        (
            "ZUNA",
            {"n_layers": 0},
            r"`backbone_kwargs\['n_layers'\]` must be a whole number from 1 to 100,000, got 0",
        ),
        ("BENDR", {"encoder_only": True}, "encoder_only"),
        ("BENDR", {"encoder_h": 20}, "do not fit BENDR"),
        ("BENDR", {"enc_downsample": 3}, "do not fit BENDR"),
        ("SignalJEPA", {"feature_encoder__conv_layers_spec": [3, 4]}, "do not fit SignalJEPA"),
        ("CodeBrain", {"out_channels": 17}, "`out_channels` must equal `res_channels`"),
        ("EEGPT", {"n_chans_target": 20}, "`n_chans_target` must be 19"),
        ("REVE", {"patch_overlap": 200}, "`patch_overlap` must be 0 or more and less"),
        ("EEGDINO", {"global_token_layer": 9}, "do not fit EEGDINO: global_token_layer"),
        ("MEDFormer", {"single_channel": True}, "single_channel"),
        ("PBT", {"embed_dim": 33}, "do not fit PBT: embed_dim must be divisible"),
        ("PBT", {"activation": torch.nn.ReLU}, "a JSON value.*'torch.nn.ELU'"),
        ("PBT", {"activation": "torch.nn.NoSuchThing"}, "not a class of torch.nn"),
        ("PBT", {"activation": "torch.nn.functional"}, "not a class of torch.nn"),
        ("LUNA", {"chs_info": []}, "backbone_kwargs.*chs_info"),
    ],
)
def test_arguments_that_a_backbone_refuses(backbone, kwargs, message):
    with pytest.raises(ValueError, match=message):
        DLinkTeacherModel(example_config(backbone, backbone_kwargs=kwargs))
