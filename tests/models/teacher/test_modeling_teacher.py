# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The teacher against the unwrapped braindecode model that holds the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

import braindecode.models  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import Trainer, TrainingArguments  # noqa: E402

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, DLinkTeacherModel  # noqa: E402


NAMES = ["C3", "Cz", "C4"]
KWARGS = {
    "CBraMod": {"n_layer": 2, "dim_feedforward": 32, "nhead": 4},
    "Labram": {"num_layers": 2, "num_heads": 4, "mlp_ratio": 0.5},
}
LAYERS = {"CBraMod": lambda model: model.encoder.layers, "Labram": lambda model: model.blocks}
BACKBONES = list(KWARGS)


def make(backbone: str, model_class=DLinkTeacherForEEGClassification, **fields):
    torch.manual_seed(0)
    fields = {"ch_names": NAMES, "n_times": 800, "backbone_kwargs": KWARGS[backbone], **fields}
    model = model_class(DLinkTeacherConfig(backbone=backbone, **fields)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def windows(batch: int = 2, n_chans: int = 3, n_times: int = 800, seed: int = 0) -> torch.Tensor:
    return 30 * torch.randn(batch, n_chans, n_times, generator=torch.Generator().manual_seed(seed))


def unwrapped(backbone: str, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The class of braindecode itself, with the wrapper's weights."""
    model = getattr(braindecode.models, backbone)(
        n_outputs=2, n_chans=3, n_times=800, sfreq=200, **KWARGS[backbone]
    ).eval()
    result = model.load_state_dict(weights, strict=False)
    assert not result.unexpected_keys and all(key.startswith("final_layer") for key in result.missing_keys)
    return model


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hidden_states_equal_those_of_the_unwrapped_model(backbone):
    model = make(backbone, DLinkTeacherModel)
    plain, recorded = unwrapped(backbone, model.backbone.state_dict()), []
    for layer in LAYERS[backbone](plain):
        layer.register_forward_hook(lambda module, inputs, output: recorded.append(output.detach().numpy()))
    inputs = windows()
    microvolts_over_100 = torch.tensor(inputs.numpy() * np.float32(0.01))
    names = {"ch_names": NAMES} if backbone == "Labram" else {}
    with torch.no_grad():
        features = plain(microvolts_over_100, return_features=True, **names)["features"].numpy()
        output = model(inputs, output_hidden_states=True)
    assert len(recorded) == len(output.hidden_states) == model.config.num_hidden_layers == 2
    for expected, state in zip(recorded, output.hidden_states, strict=True):
        if backbone == "Labram":  # a class token, then channel after channel, each with its 4 patches
            expected = np.stack([expected[:, 1 + 4 * c : 1 + 4 * (c + 1)] for c in range(3)], axis=1)
        assert state.shape == (2, 3, 4, 200)
        np.testing.assert_allclose(state.numpy(), expected, rtol=1e-5, atol=1e-5)
    if backbone == "Labram":
        features = np.stack([features[:, 4 * c : 4 * (c + 1)] for c in range(3)], axis=1)
    else:  # what gives back samples for pre-training is no part of the last hidden state
        features = recorded[-1]
    np.testing.assert_allclose(output.last_hidden_state.numpy(), features, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize(("channel", "patch"), [(0, 0), (2, 1), (1, 3)])
def test_a_token_stands_where_its_samples_are(backbone, channel, patch):
    """Whatever the backbone's own order: a change in one patch of one channel moves that token most."""
    model, inputs = make(backbone, DLinkTeacherModel), windows(1)
    changed = inputs.clone()
    changed[0, channel, 200 * patch : 200 * (patch + 1)] += 30 * torch.randn(200)
    with torch.no_grad():
        states = [model(x, output_hidden_states=True).hidden_states[0] for x in (inputs, changed)]
    distance = (states[0] - states[1]).norm(dim=-1)[0]
    assert np.unravel_index(int(distance.argmax()), (3, 4)) == (channel, patch)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_outputs(backbone):
    model, labels = make(backbone, num_labels=3), torch.tensor([2, 0])
    output = model(windows(), labels=labels, output_hidden_states=True)
    assert output.logits.shape == (2, 3) and len(output.hidden_states) == 2
    logits = output.logits.detach().double().numpy()
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert output.loss.item() == pytest.approx(-log_probabilities[[0, 1], [2, 0]].mean(), abs=1e-5)
    plain = model(windows(), labels=labels, output_hidden_states=True, return_dict=False)
    assert torch.equal(plain[0], output.loss) and torch.equal(plain[1], output.logits)
    assert model(windows()).hidden_states is None and model(windows()).loss is None
    assert torch.equal(model(windows()).logits, output.logits)  # evaluation is deterministic
    one = make(backbone, DLinkTeacherModel)(windows())
    assert torch.equal(one.last_hidden_state, make(backbone, DLinkTeacherModel)(windows(), return_dict=False)[0])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_save_and_load_are_bit_identical(backbone, tmp_path):
    model = make(backbone, num_labels=3)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = DLinkTeacherForEEGClassification.from_pretrained(tmp_path)
    expected, output = (m(windows(), output_hidden_states=True) for m in (model, again))
    assert torch.equal(output.logits, expected.logits)
    for a, b in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert torch.equal(a, b)
    headless = DLinkTeacherModel.from_pretrained(tmp_path)
    assert torch.equal(headless(windows()).last_hidden_state, model.teacher(windows()).last_hidden_state)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_new_head_on_a_pretrained_body(backbone, tmp_path):
    body = make(backbone, DLinkTeacherModel)
    body.save_pretrained(tmp_path)
    model = DLinkTeacherForEEGClassification.from_pretrained(tmp_path, num_labels=4)
    assert torch.equal(model.teacher(windows()).last_hidden_state, body(windows()).last_hidden_state)
    output = model(windows())
    assert output.logits.shape == (2, 4) and torch.isfinite(output.logits).all()
    assert model.head.classifier.weight.std() > 0 and model.head.classifier.bias.abs().max() == 0
    assert torch.equal(model.head.norm.weight, torch.ones(200))


def test_a_missing_tensor_is_an_error(tmp_path):
    make("CBraMod").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    name = next(name for name in tensors if "layers.1" in name)
    del tensors[name]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks 1 tensor.*{name}"):
        DLinkTeacherForEEGClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_input_scale_is_applied_once(backbone):
    twice, once = make(backbone, input_scale=0.02), make(backbone, input_scale=0.01)
    assert torch.equal(twice(windows()).logits, once(2 * windows()).logits)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_channel_contract(backbone):
    model = make(backbone)
    for shape in ((2, 4, 800), (2, 2, 800), (2, 3, 600)):
        with pytest.raises(ValueError, match=rf"3 channels \(C3, Cz, C4\) x 800 samples, got {shape[1]} x {shape[2]}"):
            model(torch.randn(shape))
    with pytest.raises(ValueError, match="200-sample patches, got 700"):
        model(torch.randn(2, 3, 700))
    with pytest.raises(ValueError, match=r"\(batch, channels, samples\)"):
        model(torch.randn(3, 800))
    with pytest.raises(TypeError, match="microvolts"):
        model(torch.ones(2, 3, 800, dtype=torch.int16))
    with pytest.raises(ValueError, match="0 ... 1"):
        model(windows(), labels=torch.tensor([0, 2]))


def test_labram_names_the_channels_that_it_does_not_know():
    with pytest.raises(ValueError, match="no embedding for my electrode"):
        make("Labram", ch_names=["C3", "my electrode", "C4"])
    make("CBraMod", ch_names=["C3", "my electrode", "C4"])(windows())  # has no table of names


def test_labram_tells_channels_apart_by_name():
    left, right = make("Labram"), make("Labram", ch_names=["O1", "Oz", "O2"])
    assert not torch.allclose(left(windows()).logits, right(windows()).logits, atol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "kwargs", "message"),
    [
        ("CBraMod", {"n_layers": 2}, "n_layers"),
        ("Labram", {"n_layer": 2}, "n_layer"),
        ("CBraMod", {"emb_dim": 100}, "emb_dim"),
        ("CBraMod", {"nhead": 7}, "CBraMod"),
        ("Labram", {"embed_dim": 100}, "Labram"),
        ("Labram", {"neural_tokenizer": False}, "neural_tokenizer"),
    ],
)
def test_arguments_that_the_backbone_refuses(backbone, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make(backbone, backbone_kwargs={**KWARGS[backbone], **kwargs})(windows())


def hooks(model: torch.nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_no_hook_is_left_behind(backbone):
    model = make(backbone)
    assert hooks(model) == 0
    model(windows(), output_hidden_states=True)
    assert hooks(model) == 0
    layer = LAYERS[backbone](model.teacher.backbone)[1]

    def fail(*_):
        raise RuntimeError("in the middle of the backbone")

    handle = layer.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        model(windows(), output_hidden_states=True)
    handle.remove()
    assert hooks(model) == 0
    assert len(model(windows(), output_hidden_states=True).hidden_states) == 2


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_reach_the_backbone_unless_it_is_frozen(backbone):
    model, labels = make(backbone).train(), torch.tensor([0, 1])
    model(windows(), labels=labels).loss.backward()
    for layer in LAYERS[backbone](model.teacher.backbone):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in layer.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.head.parameters())

    model.zero_grad(set_to_none=True)
    model.teacher.requires_grad_(False)
    model(windows(), labels=labels).loss.backward()
    assert all(p.grad is None for p in model.teacher.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.head.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_bfloat16(backbone, tmp_path):
    model = make(backbone)
    model.save_pretrained(tmp_path)
    expected = model(windows()).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(windows(), output_hidden_states=True)
    assert torch.isfinite(mixed.logits).all()
    assert (mixed.logits.float() - expected).abs().max() < 0.2 * expected.abs().max()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fine_tuning_with_the_trainer_of_transformers(backbone, tmp_path):
    """Two classes that differ in their rhythm: a few epochs of the ordinary Trainer tell them apart."""
    generator = np.random.default_rng(0)
    labels = np.arange(32) % 2
    time = np.arange(400) / 200
    signal = 50 * np.sin(2 * np.pi * (6 + 14 * labels[:, None, None]) * time + generator.uniform(0, 6, (32, 1, 1)))
    inputs = (signal + 10 * generator.normal(size=(32, 3, 400))).astype(np.float32)
    data = Dataset.from_dict({"input_values": inputs, "labels": labels}).with_format("torch")
    torch.manual_seed(0)
    model = DLinkTeacherForEEGClassification(
        DLinkTeacherConfig(backbone=backbone, backbone_kwargs=KWARGS[backbone], ch_names=NAMES, n_times=400)
    )
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        num_train_epochs=4,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        seed=0,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.predict(data)
    assert after.metrics["test_loss"] < 0.7 * before
    assert (after.predictions.argmax(-1) == after.label_ids).mean() > 0.9
    trainer.save_model(str(tmp_path / "saved"))
    again = DLinkTeacherForEEGClassification.from_pretrained(tmp_path / "saved").eval()
    torch.testing.assert_close(
        again(data["input_values"][:4]).logits, model.eval()(data["input_values"][:4]).logits, rtol=1e-5, atol=1e-5
    )
