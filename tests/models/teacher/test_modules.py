# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Networks of the user's own as teachers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn


pytest.importorskip("einops", reason="teachers need einops, which braindecode brings")

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, DLinkTeacherModel  # noqa: E402
from dlink_hf.models.teacher.token_layout import TokenLayout  # noqa: E402


NAMES = ["C3", "Cz", "C4"]


class PatchNet(nn.Module):
    """Tokens patch after patch behind one class token; every layer is changed in place by the next."""

    def __init__(self, width: int = 12, n_classes: int = 4):
        super().__init__()
        self.embedding = nn.Linear(50, width)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(3)])
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("ramp", torch.linspace(0, 1, width), persistent=False)
        self.out = nn.Linear(width, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = x.unflatten(-1, (-1, 50)).transpose(1, 2).flatten(1, 2)
        tokens = self.embedding(patches) + self.ramp
        state = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        for block in self.blocks:
            state = block(self.dropout(state))
            state += 1.0
        return self.out(state[:, 0])


def from_patch_net(model_class=DLinkTeacherModel, network: nn.Module | None = None, **fields):
    fields = {"layout": "b (p c) d", "prefix_tokens": 1, "layers": ["blocks.0", "blocks.2"], **fields}
    torch.manual_seed(0)
    network = PatchNet() if network is None else network
    return model_class.from_module(network, ch_names=NAMES, sfreq=100.0, n_times=200, input_scale=0.1, **fields)


def windows(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 200, generator=torch.Generator().manual_seed(0))


def test_hidden_states_equal_those_of_plain_hooks():
    network = PatchNet().train()
    model = from_patch_net(network=network)
    assert network.training and network.dropout.training  # measuring leaves the mode as it was
    model.eval()
    config = model.config
    assert (config.token_chans, config.n_patches, config.hidden_size, config.num_hidden_layers) == (3, 4, 12, 2)
    recorded = []
    for index in (0, 2):
        network.blocks[index].register_forward_hook(lambda m, i, o: recorded.append(o.detach().clone().numpy()))
    with torch.no_grad():
        output = model(windows(), output_hidden_states=True)
    for ours, raw in zip(output.hidden_states, recorded, strict=True):
        expected = np.stack([raw[:, [1 + p * 3 + c for p in range(4)]] for c in range(3)], axis=1)
        np.testing.assert_array_equal(ours.numpy(), expected)
    assert torch.equal(output.last_hidden_state, output.hidden_states[-1])
    with torch.no_grad():
        network(0.1 * windows())
    np.testing.assert_allclose(recorded[0], recorded[2], rtol=1e-6)  # the scale is applied


def test_save_and_load_need_the_network_again(tmp_path):
    model = from_patch_net(DLinkTeacherForEEGClassification, id2label={0: "rest", 1: "task"}).eval()
    assert type(model.teacher.backbone) is PatchNet
    with torch.no_grad():
        expected = model(windows(), output_hidden_states=True)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    torch.manual_seed(1)
    again = DLinkTeacherForEEGClassification.from_pretrained(tmp_path, module=PatchNet())
    assert again.config.id2label == {0: "rest", 1: "task"}
    with torch.no_grad():
        output = again(windows(), output_hidden_states=True)
    assert torch.equal(output.logits, expected.logits)
    assert all(map(torch.equal, output.hidden_states, expected.hidden_states))
    with pytest.raises(
        ValueError, match=r"network of your own \(PatchNet\).*from_pretrained\(folder, module=PatchNet"
    ):
        DLinkTeacherForEEGClassification.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Sequential has no module 'blocks.0'"):
        DLinkTeacherForEEGClassification.from_pretrained(tmp_path, module=nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="tensors of another shape.*embedding.weight"):
        DLinkTeacherForEEGClassification.from_pretrained(tmp_path, module=PatchNet(width=14))
    with pytest.raises(TypeError, match="torch.nn.Module, got str"):
        DLinkTeacherForEEGClassification.from_pretrained(tmp_path, module="PatchNet")


def test_the_network_s_own_logits(tmp_path):
    network = PatchNet(n_classes=4)
    model = from_patch_net(DLinkTeacherForEEGClassification, network, own_logits=True, num_labels=4).eval()
    with torch.no_grad():
        output = model(windows(), labels=torch.tensor([1, 3]), output_hidden_states=True)
        assert torch.equal(output.logits, network(0.1 * windows()))
    assert len(output.hidden_states) == 2 and output.loss > 0
    assert not [name for name, _ in model.named_parameters() if name.startswith("head")]
    model.save_pretrained(tmp_path)
    again = DLinkTeacherForEEGClassification.from_pretrained(tmp_path, module=PatchNet(n_classes=4))
    with torch.no_grad():
        torch.testing.assert_close(again(windows()).logits, output.logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"`own_logits`: PatchNet returns \(2, 4\).*2 classes were expected"):
        from_patch_net(DLinkTeacherForEEGClassification, PatchNet(), own_logits=True)


def test_a_teacher_with_a_head_learns():
    model = from_patch_net(DLinkTeacherForEEGClassification).train()
    model(windows(), labels=torch.tensor([0, 1])).loss.backward()
    for part in (model.teacher.backbone.embedding, model.teacher.backbone.blocks[2], model.head):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


def test_convolutions_that_mix_the_channels():
    network = nn.Sequential(nn.Conv1d(3, 8, 20, stride=20), nn.ReLU(inplace=True), nn.Conv1d(8, 8, 3, padding=1))
    model = DLinkTeacherModel.from_module(network, ["0", "2"], "b d p", ch_names=NAMES, sfreq=100, n_times=200).eval()
    states = model(windows(), output_hidden_states=True).hidden_states
    assert [tuple(state.shape) for state in states] == [(2, 1, 10, 8)] * 2
    assert states[0].min() < 0  # read before the ReLU that follows in place
    torch.testing.assert_close(states[0][:, 0].transpose(1, 2), network[0](windows()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": ["blocks.7"]}, "PatchNet has no module 'blocks.7'. It has embedding, blocks, blocks.0"),
        ({"layers": []}, "`layers` must be a list of names"),
        ({"layers": "blocks.0"}, "`layers` must be a list of names"),
        ({"layers": ["blocks.0", "embedding"]}, "does not fit a state of shape"),
        ({"layers": ["blocks.0", "out"]}, r"has 3 axes, but the layer gave \(2, 4\)"),
        ({"prefix_tokens": 0}, r"does not fit a state of shape \(2, 13, 12\) with 2 windows and 3 channels"),
        ({"prefix_tokens": -1}, "`prefix_tokens` must be 0 or a positive number"),
        ({"layout": "b p c d"}, "one axis of tokens"),
        ({"layout": "b t d"}, r"b \(batch\), c \(channels\), p \(patches\), d \(width\).*'b t d'"),
        ({"layout": "b (c p d)"}, "d on its own"),
        ({"layout": "(c p) d"}, "b and d always"),
        ({"layout": "b (c p d"}, "`layout` must be an einops pattern"),
        ({"layout": "b p p d"}, "each at most once"),
        ({"id2label": {0: "a"}}, "`id2label`"),
        ({"head_siz": 3}, "head_siz"),
    ],
)
def test_what_from_module_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        from_patch_net(**fields)


def test_networks_that_do_not_fit():
    with pytest.raises(TypeError, match="torch.nn.Module, got function"):
        from_patch_net(network=lambda x: x)
    with pytest.raises(
        ValueError, match=r"Sequential does not take windows \(B, C, T\) of 3 channels and 200 samples"
    ):
        from_patch_net(network=nn.Sequential(nn.Linear(7, 7)), layers=["0"])
    two = nn.Sequential(nn.Conv1d(3, 8, 20, stride=20), nn.Conv1d(8, 9, 1))
    with pytest.raises(ValueError, match=r"tokens of one shape.*0: \(1, 10, 8\); 1: \(1, 10, 9\)"):
        DLinkTeacherModel.from_module(two, ["0", "1"], "b d p", ch_names=NAMES, sfreq=100, n_times=200)
    recurrent = nn.Sequential(nn.LSTM(200, 8, batch_first=True))
    with pytest.raises(ValueError, match="'0' of Sequential gives a tuple, not a tensor"):
        DLinkTeacherModel.from_module(recurrent, ["0"], "b c d", ch_names=NAMES, sfreq=100, n_times=200)


def test_a_config_of_a_network_of_ones_own(tmp_path):
    config = from_patch_net().config
    config.save_pretrained(tmp_path)
    assert DLinkTeacherConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["backbone"] == "module" and saved["module_info"]["name"] == "PatchNet"
    with pytest.raises(ValueError, match="`module_info` must be what `from_module` writes"):
        DLinkTeacherConfig(backbone="module")
    with pytest.raises(ValueError, match="`module_info` must be None for CBraMod"):
        DLinkTeacherConfig(module_info={"name": "PatchNet"})
    with pytest.raises(ValueError, match="`module` is for teachers made by `from_module`.*CBraMod"):
        DLinkTeacherModel(DLinkTeacherConfig(), module=PatchNet())


@pytest.mark.parametrize(
    "pattern", ["b c p d", "b p c d", "b (c p) d", "b (p c) d", "(b p) c d", "p b (c) d", "b d (c p)"]
)
def test_layouts_against_index_arithmetic(pattern):
    tokens = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)  # (b, c, p, d)
    raw = {
        "b c p d": tokens,
        "b p c d": tokens.transpose(0, 2, 1, 3),
        "b (c p) d": tokens.reshape(2, 12, 5),
        "b (p c) d": tokens.transpose(0, 2, 1, 3).reshape(2, 12, 5),
        "(b p) c d": tokens.transpose(0, 2, 1, 3).reshape(8, 3, 5),
        "p b (c) d": tokens.transpose(2, 0, 1, 3),
        "b d (c p)": tokens.reshape(2, 12, 5).transpose(0, 2, 1),
    }[pattern]
    np.testing.assert_array_equal(TokenLayout(pattern).apply(torch.tensor(raw.copy()), 2, 3).numpy(), tokens)


def test_tokens_that_are_cut_off():
    state = torch.arange(9.0).view(1, 9, 1)
    assert TokenLayout("b (c p) d", 1, 2).apply(state, 1, 2).flatten().tolist() == [1, 2, 3, 4, 5, 6]
    assert TokenLayout("b p d", every=2).apply(state, 1, 1).flatten().tolist() == [0, 2, 4, 6, 8]
