# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Router and studio: the routed target, who learns from what, and what a published student holds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from safetensors.torch import load_file


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from dlink_hf import (  # noqa: E402
    DLinkRouter,
    DLinkRouterConfig,
    DLinkStudioConfig,
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    MiCConfig,
    MiCForEEGClassification,
)
from dlink_hf.distillation.losses import (  # noqa: E402
    classification_loss,
    feature_distance,
    logit_distillation_loss,
    router_balance_loss,
    router_entropy,
    spectral_magnitude_loss,
    spectral_phase_loss,
)
from dlink_hf.distillation.modeling_router import normalise_layers  # noqa: E402


NAMES = ["C3", "Cz", "C4", "Pz"]
LABELS = torch.tensor([0, 1, 2, 1, 0])
LAYERS = {"route_weight": 1.0, "spectral_weight": 0.5}
STUDENT = dict(
    ch_names=NAMES,
    n_times=600,
    num_labels=3,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_filters=6,
    num_spatial_slots=3,
    compressed_size=4,
)
WEIGHTS_OFF = dict.fromkeys(
    ("task_weight", "kd_weight", "route_weight", "spectral_weight", "router_task_weight", "router_balance_weight"), 0.0
)


def teacher_config(**fields) -> DLinkTeacherConfig:
    kwargs = {"n_layer": 3, "dim_feedforward": 16, "nhead": 4}
    return DLinkTeacherConfig(
        **{"backbone_kwargs": kwargs, "ch_names": NAMES, "n_times": 600, "num_labels": 3, **fields}
    )


def shake(model: torch.nn.Module, scale: float = 0.05) -> None:
    """Take every parameter off its initial zeros."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_((0.01 if "spatial_anchor" in name else scale) * torch.randn_like(parameter))


def make(student: dict | None = None, routing: str = "input", **fields) -> DLinkStudioModel:
    torch.manual_seed(0)
    router = DLinkRouterConfig.from_teacher(teacher_config(), router_size=6, routing=routing)
    config = DLinkStudioConfig(
        teacher_config=teacher_config(),
        router_config=router,
        student_config=MiCConfig(**{**STUDENT, **(student or {})}),
        **{**LAYERS, **fields},
    )
    model = DLinkStudioModel(config).eval()
    shake(model)
    return model


def windows(batch: int = 5, n_chans: int = 4, n_times: int = 600) -> torch.Tensor:
    return 30 * torch.randn(batch, n_chans, n_times, generator=torch.Generator().manual_seed(0))


def teacher_layers(seed: int = 0, batch: int = 5) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        scale * torch.randn(batch, 4, 3, 8, generator=generator) + scale for scale in (0.5, 2.0, 10.0)
    )  # layers of very different size


def numpy_layer_norm(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - values.mean(-1, keepdims=True)) / np.sqrt(values.var(-1, keepdims=True) + 1e-5)


def router(routing: str = "input", **fields) -> DLinkRouter:
    torch.manual_seed(0)
    return DLinkRouter(
        DLinkRouterConfig(
            hidden_size=8, num_layers=3, n_chans=4, router_size=6, routing=routing, num_labels=3, **fields
        )
    ).eval()


# --- router


@pytest.mark.parametrize("routing", ["input", "static", "uniform", "last"])
def test_the_routed_state_is_the_weighted_sum_of_normalised_layers(routing):
    model, layers = router(routing), teacher_layers()
    shake(model, 0.5)
    output = model(layers)
    assert output.weights.shape == (5, 3) and output.logits.shape == (5, 3)
    torch.testing.assert_close(output.weights.sum(-1), torch.ones(5))
    normalised = np.stack([numpy_layer_norm(layer.numpy()) for layer in layers])
    expected = np.einsum("bl,lbcpd->bcpd", output.weights.detach().numpy().astype(np.float64), normalised)
    np.testing.assert_allclose(output.routed_state.detach().numpy(), expected, atol=1e-5)
    # the head: features of every channel and patch, GELU, a mean over the patches, one linear layer over the channels
    weights = {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}
    features = expected @ weights["channel_features.weight"].T + weights["channel_features.bias"]
    features = (features * scipy.stats.norm.cdf(features)).mean(2).reshape(5, -1)
    logits = features @ weights["classifier.weight"].T + weights["classifier.bias"]
    np.testing.assert_allclose(output.logits.detach().numpy(), logits, atol=1e-5)


@pytest.mark.parametrize("routing", ["input", "static", "uniform"])
def test_weights_start_uniform(routing):
    torch.testing.assert_close(router(routing)(teacher_layers()).weights, torch.full((5, 3), 1 / 3))


def test_routings():
    models = {routing: router(routing) for routing in ("input", "static", "uniform", "last")}
    for model in models.values():
        shake(model, 0.5)
    weights = {routing: model(teacher_layers()).weights.detach() for routing, model in models.items()}
    assert (weights["input"][0] - weights["input"][1:]).abs().max() > 1e-3  # one set of weights per input
    assert torch.equal(weights["static"][0].expand(5, 3), weights["static"])
    assert (weights["static"] - 1 / 3).abs().max() > 1e-2
    assert torch.equal(weights["uniform"], torch.full((5, 3), 1 / 3))
    assert torch.equal(weights["last"], torch.tensor([[0.0, 0.0, 1.0]]).expand(5, 3))
    # an input's weights do not depend on the others of its batch
    alone = models["input"](tuple(layer[:1] for layer in teacher_layers())).weights
    torch.testing.assert_close(alone, weights["input"][:1])


def test_a_lower_temperature_is_sharper():
    entropies = []
    for temperature in (0.25, 1.0, 4.0):
        model = router(temperature=temperature)
        shake(model, 0.5)
        entropies.append(router_entropy(model(teacher_layers()).weights).item())
    assert entropies[0] < entropies[1] < entropies[2] < np.log(3)


def test_the_task_finds_the_layer_that_knows_the_answer():
    """Only the second of three layers separates the classes: training the router's own loss gives it the weight."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    layers = [torch.randn(48, 4, 3, 8, generator=generator) for _ in range(3)]
    layers[1][..., :3] += 3 * torch.nn.functional.one_hot(labels, 3)[:, None, None]
    model = router().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        classification_loss(model(layers).logits, labels).backward()
        optimizer.step()
    assert (model.eval()(layers).weights.mean(0).argmax() == 1) and model(layers).weights.mean(0)[1] > 0.6


def test_layers_that_do_not_fit_the_router():
    layers = teacher_layers()
    for wrong in (layers[:2], [layer[..., :7] for layer in layers], [layer[:, :3] for layer in layers], []):
        with pytest.raises(ValueError, match="3 layers of 4 channels and width 8"):
            router()(wrong)


def test_router_saves_and_loads(tmp_path):
    for routing in ("input", "static"):
        model = router(routing)
        shake(model, 0.5)
        model.save_pretrained(tmp_path / routing)
        again = DLinkRouter.from_pretrained(tmp_path / routing)
        assert torch.equal(again(teacher_layers()).weights, model(teacher_layers()).weights)


# --- studio: outputs


@pytest.mark.parametrize("routing", ["input", "static", "uniform", "last"])
def test_outputs(routing):
    model = make(routing=routing)
    output = model(windows(), labels=LABELS)
    assert output.logits.shape == output.teacher_logits.shape == output.router_logits.shape == (5, 3)
    assert output.router_weights.shape == (5, 3)
    assert output.routed_state.shape == output.mimic_state.shape == output.decoded_state.shape == (5, 4, 3, 200)
    assert output.compressed_state.shape == (5, 3, 2, 4)
    assert torch.isfinite(output.loss)
    hidden = model.teacher(windows(), output_hidden_states=True).hidden_states
    normalised = np.stack([numpy_layer_norm(state.detach().numpy()) for state in hidden])
    expected = np.einsum("bl,lbcpd->bcpd", output.router_weights.detach().numpy().astype(np.float64), normalised)
    np.testing.assert_allclose(output.routed_state.numpy(), expected, atol=1e-4)
    torch.testing.assert_close(output.logits, model.student(windows()).logits)
    torch.testing.assert_close(output.teacher_logits, model.teacher(windows()).logits)
    without = model(windows())
    assert without.loss is None and without.losses is None and torch.equal(without.logits, output.logits)
    plain = model(windows(), labels=LABELS, return_dict=False)
    assert torch.equal(plain[0], output.loss) and torch.equal(plain[1], output.logits)


def recomputed(
    model: DLinkStudioModel, output, stage: str, class_weights=None
) -> dict[str, tuple[float, torch.Tensor]]:
    c, target = model.config, output.routed_state
    terms = {"route_loss": (c.route_weight, feature_distance(output.mimic_state, target, c.route_distance))}
    for place, state in {"mimic": output.mimic_state, "compressed": output.decoded_state}.items():
        if place in c.spectral_placement:
            magnitude = spectral_magnitude_loss(state, target, c.spectral_axes, c.magnitude_kind)
            terms[f"magnitude_{place}_loss"] = (c.spectral_weight * c.magnitude_weight, magnitude)
            phase = spectral_phase_loss(state, target, c.spectral_axes)
            terms[f"phase_{place}_loss"] = (c.spectral_weight * c.phase_weight, phase)
    terms["router_task_loss"] = (
        c.router_task_weight,
        classification_loss(output.router_logits, LABELS, class_weights),
    )
    terms["router_balance_loss"] = (c.router_balance_weight, router_balance_loss(output.router_weights))
    terms["router_entropy"] = (c.router_entropy_weight, router_entropy(output.router_weights))
    if stage == "compress":
        terms["task_loss"] = (c.task_weight, classification_loss(output.logits, LABELS, class_weights))
        kd = logit_distillation_loss(output.logits, output.teacher_logits, c.kd_temperature)
        terms["kd_loss"] = (c.kd_weight, kd)
    return terms


@pytest.mark.parametrize("stage", ["mimic", "compress"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict(route_weight=0.0, spectral_weight=0.0),
        dict(
            task_weight=0.7,
            kd_weight=0.3,
            kd_temperature=4.0,
            route_weight=1.3,
            route_distance="cosine",
            spectral_weight=0.9,
            magnitude_weight=0.4,
            phase_weight=0.6,
            magnitude_kind="log",
            spectral_axes=["time", "features"],
            spectral_placement=["compressed"],
            router_task_weight=0.8,
            router_balance_weight=0.2,
            router_entropy_weight=0.05,
        ),
        dict(spectral_placement=[], route_distance="smooth_l1"),
    ],
)
def test_the_loss_is_the_weighted_sum_of_its_terms(stage, fields):
    model = make(**fields)
    output = model(windows(), labels=LABELS, stage=stage)
    terms = recomputed(model, output, stage)
    assert set(output.losses) == set(terms)
    for name, (_, value) in terms.items():
        torch.testing.assert_close(output.losses[name], value.detach(), msg=name)
        assert not output.losses[name].requires_grad
    assert output.loss.item() == pytest.approx(
        sum(weight * value.item() for weight, value in terms.values()), rel=1e-5
    )


def test_class_weights_have_an_effect():
    model, weights = make(), torch.tensor([1.0, 5.0, 0.2])
    plain = model(windows(), labels=LABELS)
    weighted = model(windows(), labels=LABELS, class_weights=weights)
    for name, (_, value) in recomputed(model, weighted, "compress", weights).items():
        torch.testing.assert_close(weighted.losses[name], value.detach(), msg=name)
    assert abs(weighted.losses["task_loss"] - plain.losses["task_loss"]) > 1e-3
    assert abs(weighted.loss - plain.loss) > 1e-3
    assert torch.equal(weighted.losses["kd_loss"], plain.losses["kd_loss"])


# --- studio: who learns from what


def moved(model: torch.nn.Module) -> set[str]:
    """Names of the parameters that got a gradient other than zero."""
    return {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}


@pytest.mark.parametrize("routing", ["input", "static"])
@pytest.mark.parametrize("term", ["route_weight", "spectral_weight", "kd_weight", "task_weight"])
def test_the_router_learns_nothing_from_the_student(routing, term):
    model = make(routing=routing, **{**WEIGHTS_OFF, term: 1.0}).train()
    model(windows(), labels=LABELS).loss.backward()
    assert not moved(model.router)
    assert moved(model.student)


@pytest.mark.parametrize("routing", ["input", "static"])
def test_the_router_learns_from_the_task(routing):
    model = make(routing=routing, **{**WEIGHTS_OFF, "router_task_weight": 1.0})
    # where nothing else reads the layers a training leaves the router out, and an evaluation does not
    model.router.requires_grad_(True)
    model(windows(), labels=LABELS).loss.backward()
    assert moved(model.router) == {name for name, _ in model.router.named_parameters()}
    assert not moved(model.student) and not moved(model.decoder)


def test_the_student_would_pull_the_router_if_the_target_were_attached():
    """The detachment is what keeps the route loss away from the router: undone, there is a gradient."""
    model = make()
    hidden = model.teacher(windows(), output_hidden_states=True).hidden_states
    feature_distance(model.student.mic(windows()).mimic_state.detach(), model.router(hidden).routed_state).backward()
    assert "score.weight" in moved(model.router)
    assert not model(windows(), labels=LABELS).routed_state.requires_grad


def test_the_mimic_stage_leaves_the_classifier_alone():
    model = make().train()
    output = model(windows(), labels=LABELS, stage="mimic")
    output.loss.backward()
    assert "task_loss" not in output.losses and "kd_loss" not in output.losses
    grads = moved(model)
    assert not any(name.startswith("student.classifier") for name in grads)
    assert "student.mic.mimic_projection.weight" in grads and "decoder.features.weight" in grads
    # the spectral term of the compressed state reaches the compression
    assert "student.mic.compressor.features.weight" in grads

    model.zero_grad(set_to_none=True)
    model(windows(), labels=LABELS, stage="compress").loss.backward()
    assert {"student.classifier.weight", "student.classifier.bias"} <= moved(model)


def test_the_teacher_is_frozen_and_stays_in_evaluation_mode():
    model = make()
    before = {name: tensor.clone() for name, tensor in model.teacher.state_dict().items()}
    model.train()
    assert model.student.training and model.router.training and model.decoder.training
    assert not any(module.training for module in model.teacher.modules())
    assert not any(p.requires_grad for p in model.teacher.parameters())
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(windows(), labels=LABELS).loss.backward()
        optimizer.step()
    assert all(p.grad is None for p in model.teacher.parameters())
    for name, tensor in model.teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    first, second = (model(windows()).teacher_logits for _ in range(2))
    assert torch.equal(first, second)  # no dropout in the teacher
    model.eval()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("stage", ["mimic", "compress"])
def test_training_lowers_the_loss(stage):
    model = make(student={"hidden_dropout": 0.0, "classifier_dropout": 0.0}, kd_weight=1.0).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        output = model(windows(), labels=LABELS, stage=stage)
        output.loss.backward()
        optimizer.step()
        history.append({"loss": output.loss.item(), **{name: term.item() for name, term in output.losses.items()}})
    lowered = {"loss", "route_loss", "phase_mimic_loss", "router_task_loss"}
    # in the second stage the terms pull at the same few weights, so there only the sum, the task and these must fall
    lowered |= {"task_loss"} if stage == "compress" else {"magnitude_mimic_loss", "magnitude_compressed_loss"}
    for name in lowered:
        assert history[-1][name] < 0.95 * history[0][name], name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model = make()
    expected = model(windows(), labels=LABELS)
    with torch.autocast("cpu", dtype=dtype):
        output = model(windows(), labels=LABELS)
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(expected.loss.item(), rel=0.05)
    output.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# --- studio: parts, saving, errors


def test_a_saved_student_holds_the_student_alone(tmp_path):
    model = make()
    model.student.save_pretrained(tmp_path)
    keys = set(load_file(tmp_path / "model.safetensors"))
    assert keys == {name for name, _ in model.student.state_dict().items()}
    assert not any(word in key for key in keys for word in ("teacher", "router", "decoder", "student", "backbone"))
    again = MiCForEEGClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(windows()).logits, model(windows()).logits, rtol=1e-5, atol=1e-5)


def test_the_studio_saves_and_loads_whole(tmp_path):
    model = make(kd_weight=0.4, spectral_axes=["features"])
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = DLinkStudioModel.from_pretrained(tmp_path)
    for name in ("kd_weight", "spectral_axes", "route_distance"):
        assert getattr(again.config, name) == getattr(model.config, name)
    for name in ("teacher_config", "router_config", "student_config"):
        before, after = getattr(model.config, name).to_dict(), getattr(again.config, name).to_dict()
        assert {**before, "dtype": None} == {**after, "dtype": None}
    first, second = (m(windows(), labels=LABELS) for m in (model, again))
    for name, value in first.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, second[name]), name
    assert not any(p.requires_grad for p in again.teacher.parameters())
    assert not again.train().teacher.training
    loaded, info = DLinkStudioModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not any(p.requires_grad for p in loaded.teacher.parameters())


def parts(**student_fields) -> tuple[DLinkTeacherForEEGClassification, MiCForEEGClassification]:
    torch.manual_seed(5)
    teacher = DLinkTeacherForEEGClassification(teacher_config()).eval()
    student = MiCForEEGClassification(MiCConfig(**{**STUDENT, **student_fields})).eval()
    shake(teacher)
    shake(student)
    return teacher, student


def test_from_parts_keeps_the_given_weights():
    teacher, student = parts()
    logits = teacher(windows()).logits.detach(), student(windows()).logits.detach()
    given = DLinkRouter(DLinkRouterConfig.from_teacher(teacher_config(), routing="static")).eval()
    shake(given, 0.5)
    scores = given.layer_scores.detach().clone()
    for chosen in (None, given):
        studio = DLinkStudioModel.from_parts(teacher, student, router=chosen, kd_weight=0.25).eval()
        output = studio(windows())
        torch.testing.assert_close(output.teacher_logits, logits[0])  # without gradients torch takes a faster path
        assert torch.equal(output.logits, logits[1])
        assert studio.teacher is teacher and studio.student is student
        assert studio.config.kd_weight == 0.25 and studio.config.router_config.num_layers == 3
        assert not any(p.requires_grad for p in studio.teacher.parameters())
    assert studio.router is given and torch.equal(given.layer_scores, scores)


def test_from_parts_then_save_and_load(tmp_path):
    studio = DLinkStudioModel.from_parts(*parts()).eval()
    studio.save_pretrained(tmp_path)
    again = DLinkStudioModel.from_pretrained(tmp_path)
    assert torch.equal(again(windows(), labels=LABELS).loss, studio(windows(), labels=LABELS).loss)


def test_from_parts_builds_no_part_twice():
    """No module but the router and the decoder is made: the seed's random numbers go to these alone."""
    teacher, student = parts()
    torch.manual_seed(7)
    studio = DLinkStudioModel.from_parts(teacher, student)
    after = torch.rand(3)
    torch.manual_seed(7)
    DLinkRouter(studio.config.router_config)
    torch.nn.Linear(4, 200)
    torch.nn.init.xavier_uniform_(torch.empty(200, 4))
    assert torch.equal(torch.rand(3), after)


def test_states_given_stand_in_for_the_teacher():
    model = make().train()
    hidden = model.teacher(windows(), output_hidden_states=True)
    states, pooled = normalise_layers(hidden.hidden_states)
    given = dict(teacher_states=states.half(), teacher_logits=hidden.logits)
    called = []
    handle = model.teacher.register_forward_hook(lambda *_: called.append(1))
    for more in ({}, {"teacher_pooled": pooled}):
        torch.manual_seed(1)
        stored = model(windows(), labels=LABELS, **given, **more)
        gradients = torch.autograd.grad(stored.loss, model.router.parameters())
        assert not called
        torch.manual_seed(1)
        live = model(windows(), labels=LABELS)
        for one, two in zip(gradients, torch.autograd.grad(live.loss, model.router.parameters()), strict=True):
            torch.testing.assert_close(one, two, rtol=2e-3, atol=1e-4)
        assert len(called) == 1
        called.clear()
        torch.testing.assert_close(stored.loss, live.loss, rtol=1e-4, atol=0)
        torch.testing.assert_close(stored.routed_state, live.routed_state, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(stored.router_weights, live.router_weights, rtol=1e-3, atol=1e-5)
    handle.remove()
    with pytest.raises(ValueError, match="give both or neither"):
        model(windows(), teacher_states=states)
    with pytest.raises(ValueError, match="3 layers of 4 channels and width 200; got .*2, \\(4, 200\\)"):
        model(windows(), teacher_states=states[:, :2], teacher_logits=hidden.logits)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mimic_size": 100}, "student_config.mimic_size"),
        ({"num_labels": 2}, "student_config.num_labels"),
        ({"n_times": 800}, "student_config.n_times"),
        ({"ch_names": ["C3", "Cz", "Oz"]}, "student_config.ch_names.*'Oz'"),
    ],
)
def test_parts_that_do_not_fit(fields, message):
    with pytest.raises(ValueError, match=message):
        DLinkStudioModel.from_parts(*parts(**fields))


def test_a_router_that_does_not_fit():
    with pytest.raises(ValueError, match="router_config.num_layers"):
        DLinkStudioModel.from_parts(
            *parts(), router=DLinkRouter(DLinkRouterConfig(num_layers=5, n_chans=4, num_labels=3))
        )
    with pytest.raises(ValueError, match="'kd_wieght'"):
        DLinkStudioModel.from_parts(*parts(), kd_wieght=1.0)


def test_inputs_that_do_not_fit():
    model = make()
    with pytest.raises(ValueError, match="`stage`.*'mimic', 'compress'.*'warmup'"):
        model(windows(), labels=LABELS, stage="warmup")
    with pytest.raises(ValueError, match="4 channels"):
        model(windows(n_chans=3), labels=LABELS)
    with pytest.raises(ValueError, match="got 0 ... 3"):
        model(windows(), labels=torch.tensor([0, 1, 2, 3, 0]))
    with pytest.raises(TypeError, match="microvolts"):
        model(windows().long(), labels=LABELS)
