# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Every foundation model as a teacher, against the unwrapped model that holds the same weights."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from teacher_files import write_position_bank
from teacher_packages import teachers


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

import braindecode.models  # noqa: E402
import mne  # noqa: E402

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, DLinkTeacherModel  # noqa: E402
from dlink_hf.models.teacher.backbones import BACKBONES  # noqa: E402
from dlink_hf.profiling.known_teachers import example_config, plain_hidden_states, plain_model  # noqa: E402


NAMES = ["C3", "Cz", "C4", "Pz", "O1"]
SECONDS = 3.3
# samples of the longest window of up to 3.3 s, and channels and patches on its tokens with 5 channels, counted by
# hand; braindecode's own sizes but for MVPFormer, whose patch is 200 samples here
GRIDS = {
    "CBraMod": (600, 5, 3),
    "Labram": (600, 5, 3),
    "BIOT": (600, 5, 5),
    "EEGPT": (832, 19, 25),
    "BENDR": (845, 1, 9),
    "SignalJEPA": (408, 5, 3),
    "REVE": (560, 5, 3),
    "LUNA": (640, 1, 16),
    "CodeBrain": (600, 5, 3),
    "EEGDINO": (600, 5, 3),
    "STEEGFormer": (656, 5, 41),
    "MVPFormer": (600, 5, 3),
    "PBT": (640, 5, 10),
    "MEDFormer": (660, 3, 1),
    "ZUNA": (832, 5, 26),
    "Chronos2": (656, 5, 41),
    "MantisV1": (640, 5, 32),
    "MantisV2": (640, 5, 32),
}
KEEPS_CHANNELS = [name for name, (_, n_chans, _) in GRIDS.items() if n_chans == len(NAMES)]


@pytest.fixture(scope="session")
def bank(tmp_path_factory) -> str:
    return str(write_position_bank(tmp_path_factory.mktemp("reve")))


@pytest.fixture(autouse=True)
def _position_bank(bank, monkeypatch):
    monkeypatch.setenv("REVE_POSITIONS_PATH", bank)


def make_config(backbone: str, **fields) -> DLinkTeacherConfig:
    fields = {"ch_names": NAMES, "n_times": GRIDS[backbone][0], **fields}
    return example_config(backbone, **fields)


def make(backbone: str, model_class=DLinkTeacherModel, **fields):
    torch.manual_seed(0)
    model = model_class(make_config(backbone, **fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def windows(config: DLinkTeacherConfig, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 30 * torch.randn(batch, config.n_chans, config.n_times, generator=generator)


def test_every_row_is_tested():
    assert list(GRIDS) == list(BACKBONES)


@pytest.mark.parametrize("backbone", teachers())
def test_hidden_states_equal_those_of_plain_hooks_on_the_unwrapped_model(backbone):
    model = make(backbone)
    config, (n_times, n_chans, n_patches) = model.config, GRIDS[backbone]
    spec = BACKBONES[backbone]
    assert spec.longest(config.backbone_kwargs, round(SECONDS * config.sfreq)) == n_times == config.n_times
    inputs = windows(config, batch=3)
    with torch.no_grad():
        output = model(inputs, output_hidden_states=True)
    plain = plain_model(config, model.backbone.state_dict())
    expected = plain_hidden_states(config, plain, inputs, n_chans, n_patches)
    shape = (3, n_chans, n_patches, config.hidden_size)
    assert (config.token_chans, config.n_patches) == (n_chans, n_patches)
    assert len(expected) == len(output.hidden_states) == config.num_hidden_layers == 3
    assert output.last_hidden_state.shape == shape
    for layer, (ours, theirs) in enumerate(zip(output.hidden_states, expected, strict=True)):
        assert ours.shape == shape
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5, err_msg=f"layer {layer}")
    assert not torch.equal(output.hidden_states[0], output.hidden_states[1])


# what stands behind the last layer of the unwrapped model, as (batch, channels, patches, width)
LAST = {
    "CBraMod": lambda m, x: m.encoder(m.patch_embedding(m.rearrange(x))),
    "Labram": lambda m, x: m(x, return_features=True, ch_names=NAMES)["features"].view(2, 5, 3, -1),
    "SignalJEPA": lambda m, x: m(x, return_features=True)["features"].view(2, 5, 3, -1),
    "REVE": lambda m, x: m(x, return_features=True)["features"],
    "CodeBrain": lambda m, x: m(x, return_features=True)["features"],
    "EEGDINO": lambda m, x: m(x, return_features=True)["features"].view(2, 5, 3, -1),
    "STEEGFormer": lambda m, x: m(x, return_features=True)["features"].view(2, 41, 5, -1).transpose(1, 2),
}


@pytest.mark.parametrize("backbone", LAST)
def test_the_last_hidden_state_is_what_braindecode_gives_as_features(backbone):
    model = make(backbone)
    inputs = windows(model.config)
    plain = plain_model(model.config, model.backbone.state_dict())
    with torch.no_grad():
        expected = LAST[backbone](plain, inputs * model.config.input_scale)
        torch.testing.assert_close(model(inputs).last_hidden_state, expected, rtol=1e-5, atol=1e-5)


def test_the_layers_of_reve_are_those_that_it_returns_itself():
    model = make("REVE")
    inputs = windows(model.config)
    plain = plain_model(model.config, model.backbone.state_dict())
    with torch.no_grad():
        expected = plain(inputs * model.config.input_scale, return_output=True)[1:]
        states = model(inputs, output_hidden_states=True).hidden_states
    for ours, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(ours, theirs.view(2, 5, 3, -1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "backbone", teachers(name for name in KEEPS_CHANNELS if name not in ("BIOT", "SignalJEPA", "REVE", "ZUNA"))
)
@pytest.mark.parametrize(("channel", "patch"), [(0, 0), (3, 1), (4, 2)])
def test_a_token_stands_where_its_samples_are(backbone, channel, patch):
    """Whatever the backbone's own order: a change in one patch of one channel moves that token most."""
    model = make(backbone)
    inputs = windows(model.config, batch=1)
    changed, size = inputs.clone(), model.config.patch_size
    changed[0, channel, size * patch : size * (patch + 1)] += 60 * torch.randn(size)
    with torch.no_grad():
        states = [model(x, output_hidden_states=True).hidden_states[0] for x in (inputs, changed)]
    distance = (states[0] - states[1]).norm(dim=-1)[0]
    assert np.unravel_index(int(distance.argmax()), distance.shape) == (channel, patch)


@pytest.mark.parametrize("backbone", teachers())
def test_the_grid_is_exact_for_every_window_that_is_allowed(backbone):
    spec, kwargs = BACKBONES[backbone], make_config(backbone).backbone_kwargs
    first, step = spec.window(spec.arguments(kwargs))
    lengths = [first, first + step, first + 4 * step]
    if backbone in ("BENDR", "MEDFormer"):
        lengths = [1, 97, 500]
    if spec.reads_tail:
        lengths.append(first + step + step // 2)
    for n_times in lengths:
        model = make(backbone, n_times=n_times)
        config = model.config
        with torch.no_grad():
            states = model(windows(config), output_hidden_states=True).hidden_states
        assert states[0].shape == (2, config.token_chans, config.n_patches, config.hidden_size)


@pytest.mark.parametrize("backbone", teachers())
def test_save_and_load_give_the_same_teacher(backbone, tmp_path):
    model = make(backbone)
    inputs = windows(model.config)
    with torch.no_grad():
        expected = model(inputs, output_hidden_states=True)
    model.save_pretrained(tmp_path)
    again = DLinkTeacherModel.from_pretrained(tmp_path)
    # no checkpoint holds the buffers that are computed (positions, filters): these too must be there
    before = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    after = {**dict(again.named_parameters()), **dict(again.named_buffers())}
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        output = again(inputs, output_hidden_states=True)
    for ours, theirs in zip(output.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", teachers())
def test_gradients_reach_every_layer(backbone):
    model = make(backbone).train()
    states = model(windows(model.config), output_hidden_states=True).hidden_states
    sum(state.square().mean() for state in states).backward()
    spec = BACKBONES[backbone]
    for layer in range(model.config.num_hidden_layers):
        block = model.backbone.get_submodule(spec.layers.format(layer))
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in block.parameters()), layer


@pytest.mark.parametrize("backbone", teachers())
def test_a_teacher_classifies(backbone):
    model = make(backbone, DLinkTeacherForEEGClassification, num_labels=3).train()
    output = model(windows(model.config), labels=torch.tensor([2, 0]))
    assert output.logits.shape == (2, 3) and output.hidden_states is None
    output.loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.teacher.parameters())


@pytest.mark.parametrize("backbone", teachers())
def test_no_hook_is_left_behind_and_only_what_is_asked_for_is_read(backbone):
    model = make(backbone)

    def hooks() -> int:
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())

    inputs, during = windows(model.config), []
    handle = model.backbone.register_forward_pre_hook(lambda *_: during.append(hooks() - 1))
    model(inputs)
    model(inputs, output_hidden_states=True)
    handle.remove()
    assert during == [1, 4] and hooks() == 0


@pytest.mark.parametrize("backbone", ["SignalJEPA", "LUNA", "ZUNA"])
def test_channels_sit_where_the_template_of_mne_has_them(backbone):
    """Against the same class, given the positions of MNE's template; a bipolar pair sits at its midpoint."""
    config = make_config(backbone, ch_names=["EEG Fp1-REF", "T3", "Cz", "A2-A1"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        known = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    places = np.array([known["Fp1"], known["T7"], known["Cz"], (known["A2"] + known["A1"]) / 2])
    plain = getattr(braindecode.models, backbone)(
        n_outputs=2,
        chs_info=[{"ch_name": str(index), "loc": place} for index, place in enumerate(places)],
        n_times=config.n_times,
        sfreq=config.sfreq,
        **config.backbone_kwargs,
    )
    found = DLinkTeacherModel(config).backbone
    if backbone == "SignalJEPA":
        read = [part.pos_encoder.pos_encoder_spat.weight for part in (found, plain)]
    elif backbone == "LUNA":
        read = [part.get_default_channel_locations(1, 4, "cpu", torch.float32) for part in (found, plain)]
        np.testing.assert_allclose(read[0][0].numpy(), places, atol=1e-5)
    else:
        read = [part.encoder.rotary_cosine for part in (found, plain)]
    # electrodes are tabled to 0.01 mm, and Signal-JEPA multiplies them by up to 535 inside a sine
    torch.testing.assert_close(*read, rtol=0, atol=5e-3)


def test_the_order_of_the_input_in_memory_does_not_matter():
    model = make("PBT")  # flattens its input in place of reshaping it
    inputs = windows(model.config)
    strided = inputs.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    with torch.no_grad():
        assert torch.equal(model(strided).last_hidden_state, model(inputs).last_hidden_state)


def test_a_config_without_rate_and_window_takes_the_backbone_s_own():
    for backbone, rate, n_times in (("CBraMod", 200.0, 1000), ("EEGPT", 256.0, 1280), ("SignalJEPA", 128.0, 536)):
        config = DLinkTeacherConfig(backbone=backbone)
        assert (config.sfreq, config.n_times) == (rate, n_times)
    assert DLinkTeacherConfig(backbone="LUNA", sfreq=128, n_times=640).n_patches == 16


def test_a_class_is_given_as_text(tmp_path):
    model = make("PBT", backbone_kwargs={"activation": "torch.nn.Tanh"})
    assert isinstance(model.backbone.transformer_encoder.encoder_block[0].feed_forward.activation, torch.nn.Tanh)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["backbone_kwargs"]["activation"] == "torch.nn.Tanh"
    again = DLinkTeacherModel.from_pretrained(tmp_path)
    assert isinstance(again.backbone.transformer_encoder.encoder_block[0].feed_forward.activation, torch.nn.Tanh)
