# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Every term of the objective against NumPy, SciPy or scikit-learn, and what each is blind and sensitive to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import scipy.special
import torch
from sklearn.metrics import log_loss

from dlink_hf.distillation.losses import (
    classification_loss,
    feature_distance,
    logit_distillation_loss,
    router_balance_loss,
    router_entropy,
    spectral_losses,
    spectral_magnitude_loss,
    spectral_phase_loss,
    spectrum,
    target_spectrum,
)


AXES = [("time",), ("space",), ("features",), ("time", "features"), ("space", "time")]
NUMPY_AXES = {"space": 1, "time": 2, "features": 3}
SHAPE = (3, 4, 10, 6)


def states(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    teacher = generator.normal(size=shape)
    return 0.7 * teacher + 0.5 * generator.normal(size=shape), teacher


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def numpy_bins(values: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    """Discrete Fourier transform by its definition: one product with a DFT matrix an axis, the last one halved."""
    bins = values.astype(complex)
    for axis in axes:
        index = NUMPY_AXES[axis]
        size = values.shape[index]
        grid = np.arange(size)
        matrix = np.exp(-2j * np.pi * np.outer(grid, grid) / size) / np.sqrt(size)
        if axis == axes[-1]:
            matrix = matrix[: size // 2 + 1]
        bins = np.moveaxis(np.tensordot(matrix, bins, axes=(1, index)), 0, index)
    return bins


def numpy_magnitude(student, teacher, axes, kind, eps=1e-3) -> float:
    student_bins, teacher_bins = numpy_bins(student, axes), numpy_bins(teacher, axes)
    floor = max(eps * np.abs(teacher_bins).mean(), 1e-8)
    s, t = np.hypot(np.abs(student_bins), floor), np.hypot(np.abs(teacher_bins), floor)
    if kind == "relative":
        return float(((s - t) ** 2).sum() / (t**2).sum())
    return float((np.log(s / t) ** 2).mean())


def numpy_phase(student, teacher, axes) -> float:
    """By the angles themselves, which the package never takes: equal up to the rounding-off of near-empty bins."""
    student_bins, teacher_bins = numpy_bins(student, axes), numpy_bins(teacher, axes)
    weight = np.abs(teacher_bins)
    return float((weight * (1 - np.cos(np.angle(student_bins) - np.angle(teacher_bins)))).sum() / weight.sum())


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", ["relative", "log"])
def test_magnitude_equals_numpy(axes, kind):
    student, teacher = states()
    loss = spectral_magnitude_loss(*tensors(student, teacher), axes=axes, kind=kind)
    assert loss.item() == pytest.approx(numpy_magnitude(student, teacher, axes, kind), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("axes", AXES)
def test_phase_equals_numpy(axes):
    student, teacher = states()
    loss = spectral_phase_loss(*tensors(student, teacher), axes=axes, eps=1e-6)
    assert loss.item() == pytest.approx(numpy_phase(student, teacher, axes), rel=1e-5, abs=1e-6)
    # the default rounding-off changes it by less than its own size
    default = spectral_phase_loss(*tensors(student, teacher), axes=axes)
    assert default.item() == pytest.approx(loss.item(), abs=1e-3)


@pytest.mark.parametrize("axes", AXES)
def test_spectrum_keeps_the_energy(axes):
    values, _ = states()
    if axes[-1] == "time":  # the half that is left out holds the same energy, but for the first and the middle bin
        bins = np.abs(spectrum(tensors(values)[0], axes).numpy()) ** 2
        energy = 2 * bins.sum() - bins[:, :, 0].sum() - bins[:, :, -1].sum()
        assert energy == pytest.approx((values**2).sum(), rel=1e-5)
    np.testing.assert_allclose(spectrum(tensors(values)[0], axes).numpy(), numpy_bins(values, axes), atol=1e-5)


def test_distances_equal_numpy():
    student, teacher = states()
    difference = student - teacher
    expected = {
        "mse": (difference**2).mean(),
        "smooth_l1": np.where(np.abs(difference) < 1, 0.5 * difference**2, np.abs(difference) - 0.5).mean(),
        "cosine": 1
        - ((student * teacher).sum(-1) / (np.linalg.norm(student, axis=-1) * np.linalg.norm(teacher, axis=-1))).mean(),
    }
    for kind, value in expected.items():
        assert feature_distance(*tensors(student, teacher), kind=kind).item() == pytest.approx(value, abs=1e-5), kind


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_logit_distillation_equals_scipy(temperature):
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 7, 3)) * 2
    p_teacher = scipy.special.softmax(teacher / temperature, axis=-1)
    p_student = scipy.special.softmax(student / temperature, axis=-1)
    expected = temperature**2 * scipy.special.rel_entr(p_teacher, p_student).sum(-1).mean()
    loss = logit_distillation_loss(*tensors(student, teacher), temperature=temperature)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    # its direction: the student pays for the classes of the teacher
    other = temperature**2 * scipy.special.rel_entr(p_student, p_teacher).sum(-1).mean()
    assert abs(loss.item() - other) > 1e-3


def test_distillation_gradient_does_not_shrink_with_the_temperature():
    student, teacher = tensors(*np.random.default_rng(0).normal(size=(2, 50, 3)) * 0.1)
    norms = []
    for temperature in (2.0, 8.0):
        leaf = student.clone().requires_grad_()
        logit_distillation_loss(leaf, teacher, temperature).backward()
        norms.append(leaf.grad.norm().item())
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


@pytest.mark.parametrize("weights", [None, [1.0, 3.0, 0.5]])
def test_classification_loss_equals_sklearn(weights):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(20, 3)), generator.integers(0, 3, 20)
    expected = log_loss(
        labels,
        scipy.special.softmax(logits, axis=-1),
        labels=[0, 1, 2],
        sample_weight=None if weights is None else np.asarray(weights)[labels],
    )
    class_weights = None if weights is None else torch.tensor(weights)
    loss = classification_loss(tensors(logits)[0], torch.tensor(labels), class_weights)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_classification_loss_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    loss = classification_loss(logits, torch.tensor([0, 1]), torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((1 * math.log(2) + 3 * math.log(4)) / 4, abs=1e-6)


SIMILARITIES = {
    "mse": lambda s, t: feature_distance(s, t, "mse"),
    "smooth_l1": lambda s, t: feature_distance(s, t, "smooth_l1"),
    "cosine": lambda s, t: feature_distance(s, t, "cosine"),
    "relative": lambda s, t: spectral_magnitude_loss(s, t, kind="relative"),
    "log": lambda s, t: spectral_magnitude_loss(s, t, kind="log"),
    "relative-2d": lambda s, t: spectral_magnitude_loss(s, t, axes=("time", "features")),
    "phase": lambda s, t: spectral_phase_loss(s, t),
    "phase-2d": lambda s, t: spectral_phase_loss(s, t, axes=("space", "time")),
    "kl": lambda s, t: logit_distillation_loss(s.flatten(1), t.flatten(1)),
}


@pytest.mark.parametrize("name", SIMILARITIES)
def test_equal_inputs_cost_nothing_and_others_something(name):
    student, teacher = tensors(*states())
    assert abs(SIMILARITIES[name](teacher, teacher.clone()).item()) < 1e-6
    assert SIMILARITIES[name](student, teacher).item() > 1e-3


def silent_pairs() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    student, teacher = tensors(*states())
    one_channel_student, one_channel_teacher = student.clone(), teacher.clone()
    one_channel_student[:, 1] = 0
    one_channel_teacher[:, 2] = 0
    both = teacher.clone()
    both[:, 1] = 0
    return {
        "student zero": (torch.zeros_like(student), teacher),
        "teacher zero": (student, torch.zeros_like(teacher)),
        "both zero": (torch.zeros_like(student), torch.zeros_like(teacher)),
        "student channel silent": (one_channel_student, teacher),
        "teacher channel silent": (student, one_channel_teacher),
        "same channel silent in both": (one_channel_student, both),
        "constant": (torch.ones_like(student), torch.ones_like(teacher)),
    }


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("case", silent_pairs())
def test_silent_inputs_have_finite_losses_and_gradients(name, case):
    student, teacher = silent_pairs()[case]
    student.requires_grad_()
    loss = SIMILARITIES[name](student, teacher)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()
    if case in ("both zero", "constant"):
        assert abs(loss.item()) < 1e-6


@pytest.mark.parametrize("name", ["relative", "log", "phase"])
def test_a_silent_teacher_does_not_make_the_gradient_explode(name):
    # one silent window in a batch: its gradient is no larger than a lively one's by orders of magnitude
    student, teacher = tensors(*states())
    teacher[0] = 0
    student.requires_grad_()
    SIMILARITIES[name](student, teacher).backward()
    silent, lively = student.grad[0].norm(), student.grad[1:].norm()
    assert silent < 100 * lively


def test_a_time_shift_moves_only_the_phase():
    _, teacher = states(shape=(2, 3, 32, 5))
    for shift in (1, 5):
        student, target = tensors(np.roll(teacher, shift, axis=2), teacher)
        assert spectral_magnitude_loss(student, target).item() < 1e-9
        assert spectral_magnitude_loss(student, target, kind="log").item() < 1e-6
        assert spectral_phase_loss(student, target).item() > 0.3


def test_the_phase_of_a_shifted_sine_is_one_minus_cosine():
    time = np.arange(40)
    for shift in (1, 3, 10):
        pair = [np.sin(2 * np.pi * 2 * (time - s) / 40)[None, None, :, None] for s in (shift, 0)]
        expected = 1 - np.cos(2 * np.pi * 2 * shift / 40)
        assert spectral_phase_loss(*tensors(*pair)).item() == pytest.approx(expected, abs=1e-3)


def test_a_gain_moves_only_the_magnitude():
    _, teacher = states(shape=(2, 3, 32, 5))
    for gain in (0.5, 1.5, 3.0):
        student, target = tensors(gain * teacher, teacher)
        assert spectral_phase_loss(student, target).item() < 1e-4  # what is left comes from rounded-off bins
        assert spectral_magnitude_loss(student, target).item() == pytest.approx((gain - 1) ** 2, rel=1e-3)
        log_loss_value = spectral_magnitude_loss(student, target, kind="log").item()
        assert log_loss_value == pytest.approx(np.log(gain) ** 2, rel=1e-2)


def test_opposition_is_the_largest_phase_loss():
    _, teacher = tensors(*states())
    assert spectral_phase_loss(-teacher, teacher).item() == pytest.approx(2.0, abs=1e-3)


def back_to_full_rate(values: np.ndarray, how: str, size: int) -> np.ndarray:
    if how == "fourier":
        return scipy.signal.resample(values, size, axis=2)
    if how == "hold":
        return np.repeat(values, 2, axis=2)
    grid = np.arange(size)
    rows = values.transpose(0, 1, 3, 2).reshape(-1, values.shape[2])
    rows = np.stack([np.interp(grid, grid[::2], row) for row in rows])
    return rows.reshape(*np.take(values.shape, [0, 1, 3]), size).transpose(0, 1, 3, 2)


@pytest.mark.parametrize("how", ["fourier", "hold", "linear"])
@pytest.mark.parametrize("seed", range(3))
def test_aliasing_is_punished_more_than_filtering(how, seed):
    """Every second sample of slow rhythms and weaker fast ones, taken without and with a low-pass before."""
    generator = np.random.default_rng(seed)
    shape, time = (4, 3, 64, 4), np.arange(64)[:, None]
    teacher = 0.05 * generator.normal(size=shape)
    # the new limit lies at 16 cycles: 22, 25 and 28 fold onto 10, 7 and 4
    for cycles, amplitude in ((2, 1.0), (4, 0.8), (7, 0.6), (10, 0.5), (22, 0.3), (25, 0.3), (28, 0.3)):
        phase = generator.uniform(0, 2 * np.pi, size=(4, 3, 1, 4))
        teacher += amplitude * np.cos(2 * np.pi * cycles * time / 64 + phase)

    aliased = back_to_full_rate(teacher[:, :, ::2], how, 64)
    low_pass = scipy.signal.firwin(31, 0.5)
    padded = np.concatenate([teacher] * 3, axis=2)
    filtered = scipy.signal.filtfilt(low_pass, 1.0, padded, axis=2)[:, :, 64:128]
    clean = back_to_full_rate(filtered[:, :, ::2], how, 64)

    target, with_alias, without = tensors(teacher, aliased, clean)
    magnitude = [spectral_magnitude_loss(x, target).item() for x in (with_alias, without)]
    phase = [spectral_phase_loss(x, target).item() for x in (with_alias, without)]
    assert magnitude[0] > 1.2 * magnitude[1]
    # lines between unfiltered samples leave images that are nearly in phase with the lost fast rhythms: there the
    # magnitude alone tells, and the phase term goes the other way
    if how == "fourier":
        assert phase[0] > 1.1 * phase[1]
    if how != "linear":
        assert magnitude[0] + phase[0] > 1.05 * (magnitude[1] + phase[1])


def test_balance_and_entropy_bounds():
    n_layers = 5
    even = torch.full((8, n_layers), 1 / n_layers)
    one = torch.eye(n_layers)[[2] * 8]
    spread = torch.eye(n_layers)  # sharp for every input, even over the batch
    random = torch.rand(8, n_layers).softmax(-1)
    assert router_balance_loss(even).item() == pytest.approx(0, abs=1e-6)
    assert router_balance_loss(spread).item() == pytest.approx(0, abs=1e-6)
    assert router_balance_loss(one).item() == pytest.approx(n_layers - 1, abs=1e-5)
    assert router_entropy(even).item() == pytest.approx(math.log(n_layers), abs=1e-6)
    assert router_entropy(one).item() == router_entropy(spread).item() == 0
    assert 0 < router_balance_loss(random).item() < n_layers - 1
    expected = scipy.special.entr(random.numpy()).sum(-1).mean()
    assert router_entropy(random).item() == pytest.approx(expected, abs=1e-6)


def test_entropy_of_underflown_weights_has_a_finite_gradient():
    scores = torch.tensor([[0.0, 200.0, -200.0]], requires_grad=True)
    router_entropy(scores.softmax(-1)).backward()
    assert torch.isfinite(scores.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SIMILARITIES)
def test_half_precision_inputs_give_float32_losses(name, dtype):
    student, teacher = tensors(*states())
    expected = SIMILARITIES[name](student, teacher).item()
    loss = SIMILARITIES[name](student.to(dtype), teacher.to(dtype))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        leaf = student.clone().requires_grad_()
        loss = SIMILARITIES[name](leaf, teacher)
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(leaf.grad).all()
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_half_precision_of_the_other_terms():
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    weights = torch.rand(6, 4).softmax(-1)
    for dtype in (torch.float16, torch.bfloat16):
        for loss in (
            classification_loss(logits.to(dtype), labels, torch.tensor([1.0, 2.0, 3.0])),
            router_balance_loss(weights.to(dtype)),
            router_entropy(weights.to(dtype)),
        ):
            assert loss.dtype == torch.float32 and torch.isfinite(loss)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_half_precision_values_do_not_overflow(dtype):
    # squares of 3000 do not fit into float16
    student, teacher = (3000 * x for x in tensors(*states()))
    for name, function in SIMILARITIES.items():
        assert torch.isfinite(function(student.to(dtype), teacher.to(dtype))), name


@pytest.mark.parametrize("name", ["relative", "log", "relative-2d", "phase", "phase-2d", "cosine", "mse", "kl"])
def test_gradients_against_finite_differences(name):
    student, teacher = (torch.tensor(x, dtype=torch.float64) for x in states(shape=(2, 2, 5, 3)))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: SIMILARITIES[name](s, teacher), (student,))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_descending_a_loss_recovers_what_it_measures(name):
    """A few steps of gradient descent lower the loss: its gradient points the right way."""
    student, teacher = tensors(*states())
    student.requires_grad_()
    optimizer = torch.optim.Adam([student], lr=0.02)
    before = SIMILARITIES[name](student, teacher).item()
    for _ in range(20):
        optimizer.zero_grad()
        SIMILARITIES[name](student, teacher).backward()
        optimizer.step()
    assert SIMILARITIES[name](student, teacher).item() < 0.8 * before


@pytest.mark.parametrize("name", SIMILARITIES)
def test_shapes_must_agree(name):
    # (3, 1, 10, 6) would broadcast in silence
    student, teacher = torch.randn(SHAPE), torch.randn(3, 1, 10, 6)
    with pytest.raises(ValueError, match="same shape"):
        SIMILARITIES[name](student, teacher)


def test_unknown_names_are_errors_that_list_the_known():
    values = torch.randn(SHAPE)
    with pytest.raises(ValueError, match="'cosine'"):
        feature_distance(values, values, "l2")
    with pytest.raises(ValueError, match="'log'"):
        spectral_magnitude_loss(values, values, kind="db")
    for axes in (("frequency",), (), ("time", "chans")):
        with pytest.raises(ValueError, match="'features'"):
            spectral_magnitude_loss(values, values, axes=axes)
        with pytest.raises(ValueError, match="'features'"):
            spectral_phase_loss(values, values, axes=axes)


# --- both spectral terms at once


def terms_by_autograd(student, teacher, axes, kind, eps=1e-3):
    """Magnitude and phase term by their formulas, on complex spectra, for torch to differentiate."""
    own, other = spectrum(student, axes), spectrum(teacher, axes)
    floor = (eps * other.abs().mean()).clamp_min(1e-8)
    s, t = ((bins.real.square() + bins.imag.square() + floor**2).sqrt() for bins in (own, other))
    relative = (s - t).square().sum() / t.square().sum()
    cross = own.real * other.real + own.imag * other.imag + floor**2
    phase = (other.abs() * (1 - cross / (s * t))).sum() / other.abs().sum().clamp_min(1e-8)
    return relative if kind == "relative" else (s.log() - t.log()).square().mean(), phase


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("kind", ["relative", "log"])
@pytest.mark.parametrize("n_patches", [1, 4, 5, 70])
def test_terms_and_their_gradients_are_those_that_torch_derives(axes, kind, n_patches):
    student, teacher = (torch.tensor(array) for array in states(shape=(3, 4, n_patches, 6)))
    student = student.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()  # in memory as the student's is
    together = spectral_losses(student, target_spectrum(teacher, axes), kind)
    expected = terms_by_autograd(student, teacher, axes, kind)
    torch.testing.assert_close(together, expected)
    first, second = (torch.autograd.grad(1.3 * m + 0.7 * p, student)[0] for m, p in (together, expected))
    torch.testing.assert_close(first, second)


def test_both_terms_at_once_survive_silence_and_half_precision():
    silent = torch.zeros(SHAPE, requires_grad=True)
    for teacher in (torch.zeros(SHAPE), torch.randn(SHAPE)):
        magnitude, phase = spectral_losses(silent, target_spectrum(teacher))
        (gradient,) = torch.autograd.grad(magnitude + phase, silent)
        assert torch.isfinite(gradient).all() and torch.isfinite(magnitude) and torch.isfinite(phase)
    student, teacher = (tensor.half() for tensor in tensors(*states()))
    magnitude, phase = spectral_losses(student, target_spectrum(teacher))
    assert magnitude.dtype == phase.dtype == torch.float32
    torch.testing.assert_close(magnitude, terms_by_autograd(student, teacher, ("time",), "relative")[0])
    with pytest.raises(ValueError, match="same shape"):
        spectral_losses(student[:2], target_spectrum(teacher))
    with pytest.raises(ValueError, match="'relative', 'log'"):
        spectral_losses(student, target_spectrum(teacher), "absolute")
