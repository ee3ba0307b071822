# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A teacher that sees more than its student: shared electrodes and patches, training, stored features, cards."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch.nn import functional as F


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

from toy_training import (  # noqa: E402
    FEW,
    FEW_TIMES,
    LABELS,
    LAYERS,
    N_TIMES,
    NAMES,
    arguments,
    same,
    toy_dataset,
    toy_few_studio,
    toy_student,
    toy_studio,
    toy_teacher,
    toy_views,
    weights,
)

from dlink_hf import (  # noqa: E402
    DLinkStudioModel,
    DLinkTeacherConfig,
    DLinkTeacherForEEGClassification,
    DLinkTrainer,
    EEGAugmentation,
    EEGDataCollator,
    MiCConfig,
    TeacherCache,
    count_flops,
    predict_probabilities,
    student_view,
    teacher_view,
    with_teacher_view,
)
from dlink_hf.commands.run_results import score_splits, studio_states  # noqa: E402
from dlink_hf.distillation.losses import feature_distance, logit_distillation_loss  # noqa: E402
from dlink_hf.distillation.teacher_batches import NumberedCollator, NumberedRows  # noqa: E402
from dlink_hf.distillation.training_card import build_training_card, costs_by_window, view_facts  # noqa: E402
from dlink_hf.models.token_grid import shared_tokens, student_fields, time_weights  # noqa: E402


TARGETS = torch.tensor([0, 1, 1])
PICKS = [NAMES.index(name) for name in FEW]
CROP = slice(N_TIMES - FEW_TIMES, None)


def teacher_of(backbone: str = "CBraMod", names: list[str] = NAMES, n_times: int = 800, **kwargs):
    torch.manual_seed(1)
    if backbone == "CBraMod":
        kwargs = {"n_layer": 2, "dim_feedforward": 16, "nhead": 4, "drop_prob": 0.0}
    config = DLinkTeacherConfig(
        backbone=backbone, backbone_kwargs=kwargs, ch_names=names, n_times=n_times, id2label=dict(enumerate(LABELS)),
        head_size=4, head_dropout=0.0,
    )  # fmt: skip
    return DLinkTeacherForEEGClassification(config).eval()


def student_of(teacher: DLinkTeacherForEEGClassification, n_times: int, names: list[str] = FEW):
    fields = student_fields(teacher.config, n_times)
    return toy_student(dropout=0.0, ch_names=names, n_times=n_times, **fields)


def batch(n_chans: int, n_times: int, n_windows: int = 3) -> torch.Tensor:
    return 20 * torch.randn(n_windows, n_chans, n_times, generator=torch.Generator().manual_seed(n_chans + n_times))


def routed(studio: DLinkStudioModel, whole: torch.Tensor, router_weights: torch.Tensor) -> torch.Tensor:
    """The routed state of the whole view (B, C_t, P_t, D), summed by hand."""
    with torch.no_grad():
        states = studio.teacher(whole, output_hidden_states=True).hidden_states
    parts = zip(router_weights.detach().T, states, strict=True)
    return sum(weight[:, None, None, None] * F.layer_norm(state, state.shape[-1:]) for weight, state in parts)


# --- what is shared ---------------------------------------------------------------------------------------------


def test_shared_channels_are_picked_by_name_and_shared_patches_are_the_last():
    state = torch.randn(2, 4, 5, 3)
    teacher = DLinkTeacherConfig(ch_names=["T3", "Cz", "C4", "Pz"], n_times=1000)
    student = MiCConfig(ch_names=["C4", "T7"], n_times=400)
    given = shared_tokens(state, teacher, student, n_patches=2)
    assert torch.equal(given, state[:, [2, 0], 3:])
    whole = MiCConfig(ch_names=["T7", "Cz", "C4", "Pz"], n_times=1000)
    assert shared_tokens(state, teacher, whole, n_patches=5) is state
    # tokens that no longer tell channels apart keep what they have
    assert torch.equal(shared_tokens(state[:, :1], teacher, student, n_patches=2), state[:, :1, 3:])


@pytest.mark.parametrize(("old", "new", "tail"), [(5, 2, (1, 2)), (31, 2, (2, 5)), (7, 3, (3, 4)), (4, 1, (3, 8))])
def test_patches_that_the_window_cuts_are_averaged_over_the_students_time_alone(old, new, tail):
    """Against a mean over a time axis so fine that nothing is cut."""
    part = Fraction(*tail)
    state = torch.randn(2, 3, old, 4, dtype=torch.float64)
    fine = state.repeat_interleave(new * part.denominator * part.numerator, dim=2)
    kept = fine[:, :, -int(fine.shape[2] * part) :]
    expected = kept.unflatten(2, (new, -1)).mean(3)
    torch.testing.assert_close(torch.matmul(time_weights(old, new, part), state), expected)
    teacher = DLinkTeacherConfig(ch_names=NAMES[:3], n_times=8000)
    student = MiCConfig(ch_names=NAMES[:3], n_times=int(8000 * part), patch_size=200)
    torch.testing.assert_close(shared_tokens(state, teacher, student, n_patches=new), expected)


def test_fewer_patches_than_the_student_has_are_interpolated_inside_its_window():
    ramp = torch.arange(5, dtype=torch.float64)  # the middle of patch i says i
    given = time_weights(5, 4, Fraction(2, 5)) @ ramp
    torch.testing.assert_close(given, torch.tensor([2.75, 3.25, 3.75, 4.0], dtype=torch.float64))


def test_a_fresh_students_patches_fit_its_own_window():
    teacher = teacher_of(n_times=1000).config
    assert student_fields(teacher, 400)["patch_size"] == student_fields(teacher)["patch_size"] == 200
    for n_times in (300, 500, 250):
        fields = student_fields(teacher, n_times)
        assert n_times % fields["patch_size"] == 0
        MiCConfig(ch_names=FEW, n_times=n_times, **fields)


# --- the studio -------------------------------------------------------------------------------------------------


def test_terms_and_gradients_are_those_of_picks_by_hand():
    teacher = teacher_of()
    studio = DLinkStudioModel.from_parts(teacher, student_of(teacher, 400), phase_weight=0.0).eval()
    torch.nn.init.normal_(studio.router.score.weight, std=0.5)
    whole, few = batch(4, 800), batch(3, 400)
    output = studio(few, labels=TARGETS, teacher_input_values=whole)
    expected = routed(studio, whole, output.router_weights)[:, PICKS, 2:]
    assert output.routed_state.shape == output.mimic_state.shape == output.decoded_state.shape == (3, 3, 2, 200)
    torch.testing.assert_close(output.routed_state, expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        mimic, teacher_logits = studio.student.mic(few).mimic_state, teacher(whole).logits
    torch.testing.assert_close(output.losses["route_loss"], feature_distance(mimic, expected), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(
        output.losses["kd_loss"], logit_distillation_loss(output.logits, teacher_logits).detach(), atol=1e-6, rtol=1e-4
    )
    output.loss.backward()
    assert all(p.grad is None for p in teacher.parameters())
    grads = {name: p.grad for name, p in studio.student.named_parameters()}
    assert grads["mic.mimic_projection.weight"].abs().max() > 0 and grads["classifier.weight"].abs().max() > 0

    # the other channels' tokens and the time before the student's window do not enter the distance
    studio.zero_grad()
    again = studio(few, labels=TARGETS, teacher_input_values=whole, stage="mimic")
    route = feature_distance(again.mimic_state, expected)
    route.backward()
    by_hand = studio.student.mic.mimic_projection.weight.grad.clone()
    studio.zero_grad()
    feature_distance(studio.student.mic(few).mimic_state, expected).backward()
    torch.testing.assert_close(studio.student.mic.mimic_projection.weight.grad, by_hand)


@pytest.mark.parametrize(
    ("backbone", "kwargs"),
    [
        ("BIOT", {"num_layers": 2, "embed_dim": 16, "num_heads": 2}),  # overlapping patches
        ("LUNA", {"depth": 2, "embed_dim": 16, "num_queries": 2}),  # tokens without channels
    ],
)
@pytest.mark.parametrize("n_times", [400, 500])
def test_teachers_of_other_grids_meet_a_student_that_sees_less(backbone, kwargs, n_times):
    teacher = teacher_of(backbone, **kwargs)
    studio = DLinkStudioModel.from_parts(teacher, student_of(teacher, n_times), **LAYERS).train()
    output = studio(batch(3, n_times), labels=TARGETS, teacher_input_values=batch(4, 800))
    config = teacher.config
    spanned = config.n_patches * n_times / 800
    n_patches = min(studio.student.config.n_patches, max(1, int(spanned)))
    n_chans = 3 if config.token_chans == 4 else 1
    assert output.routed_state.shape == output.mimic_state.shape == (3, n_chans, n_patches, config.hidden_size)
    output.loss.backward()
    assert all(torch.isfinite(term) for term in output.losses.values())
    assert studio.student.mic.mimic_projection.weight.grad.abs().max() > 0


def test_several_teachers_read_the_whole_view():
    first = teacher_of()
    second = teacher_of("BIOT", ["Pz", "C3"], num_layers=2, embed_dim=16, num_heads=2)
    student = student_of(first, 400)
    studio = DLinkStudioModel.from_parts([first, second], student).eval()
    output = studio(batch(3, 400), labels=TARGETS, teacher_input_values=batch(4, 800))
    assert output.router_weights.shape == (3, 4) and output.routed_state.shape == (3, 3, 2, 200)


def test_a_studio_of_two_views_saves_and_loads_and_refuses_what_does_not_fit(tmp_path):
    studio = toy_few_studio(dropout=0.0).eval()
    whole, few = batch(4, N_TIMES), batch(3, FEW_TIMES)
    studio.save_pretrained(tmp_path)
    again = DLinkStudioModel.from_pretrained(tmp_path).eval()
    assert again.config.teacher_sees_more and again.config.student_config.ch_names == FEW
    first, second = (model(few, labels=TARGETS, teacher_input_values=whole) for model in (studio, again))
    assert torch.equal(first.loss, second.loss)
    with pytest.raises(ValueError, match="4 channels and 400 samples, the student 3 channels and 200"):
        studio(few, labels=TARGETS)
    plain = toy_studio(dropout=0.0).eval()
    assert not plain.config.teacher_sees_more
    x = batch(4, N_TIMES)
    assert torch.equal(plain(x, TARGETS).loss, plain(x, TARGETS, teacher_input_values=x).loss)
    with pytest.raises(ValueError, match="student_config.ch_names.*'Oz'"):
        DLinkStudioModel.from_parts(toy_teacher(), toy_student(ch_names=["C3", "Oz"]))
    with pytest.raises(ValueError, match="student_config.n_times.*its last part, got 600"):
        DLinkStudioModel.from_parts(toy_teacher(), toy_student(n_times=600))
    with pytest.raises(ValueError, match="student_config.sfreq"):
        DLinkStudioModel.from_parts(toy_teacher(), toy_student(sfreq=100.0, max_freq=40.0))


# --- training ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("views")


@pytest.fixture(scope="module")
def train_set(folder):
    return toy_views(["S1", "S2"], folder)


@pytest.fixture(scope="module")
def held_out(folder):
    return toy_views(["S3", "S4"], folder, seed=1)


def steps(trainer: DLinkTrainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def assert_alike(one: DLinkTrainer, two: DLinkTrainer) -> None:
    for first, second in zip(steps(one), steps(two), strict=True):
        for name in set(first) - {"grad_norm"}:
            assert second[name] == pytest.approx(first[name], rel=1e-3, abs=1e-4), name


def test_training_reads_both_views_resumes_and_stores_features(tmp_path, train_set, held_out):
    shift = EEGAugmentation({"time_shift": 1.0}, sfreq=200.0, max_shift=0.3, seed=2)

    def fit(name, resume=None, studio=None, **fields) -> DLinkTrainer:
        args = arguments(
            tmp_path / name, num_train_epochs=3, mimic_epochs=1, learning_rate=3e-4, save_strategy="steps",
            save_steps=3, augmented_views=2, **fields,
        )  # fmt: skip
        studio = studio or toy_few_studio(dropout=0.0, phase_weight=0.0)
        trainer = DLinkTrainer(studio, args, train_dataset=train_set, eval_dataset=held_out, augmentation=shift)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    live = fit("live")
    assert same(weights(live.model), weights(fit("resumed", str(tmp_path / "live" / "checkpoint-3")).model))
    stored = fit("stored", teacher_cache_dir=str(tmp_path / "cache"))
    assert_alike(live, stored)
    assert stored._caches[0].n_views == 2 and len(stored._caches[0]) == 2 * len(train_set)

    # evaluation is the student's own, of its own view
    scores = live.evaluate()
    alone = predict_probabilities(live.model.student, held_out.remove_columns("teacher_input_values"))
    assert scores["eval_balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(held_out["labels"], alone.argmax(1))
    )
    logits = torch.from_numpy(live.predict(held_out).predictions)
    np.testing.assert_allclose(logits.softmax(-1).numpy(), alone, atol=1e-5)


def test_one_step_is_the_objective_by_hand(tmp_path, train_set):
    studio = toy_few_studio(dropout=0.0)
    trainer = DLinkTrainer(
        studio, arguments(tmp_path, max_steps=1, per_device_train_batch_size=len(train_set)), train_dataset=train_set
    )
    rows = train_set[:]
    by_hand = toy_few_studio(dropout=0.0).train()(
        torch.tensor(rows["input_values"]),
        labels=torch.tensor(rows["labels"]),
        teacher_input_values=torch.tensor(rows["teacher_input_values"]),
    )
    trainer.train()
    for name, term in by_hand.losses.items():
        assert steps(trainer)[0][name] == pytest.approx(term.item(), rel=1e-3, abs=1e-5), name


def test_gradients_accumulate_to_those_of_the_whole_batch(tmp_path, train_set):
    """Of terms that are means over windows; without batch statistics and terms that are ratios of sums."""
    given = []
    off = {"spectral_weight": 0.0, "router_balance_weight": 0.0}
    for size, parts in ((12, 1), (4, 3)):
        studio = toy_few_studio(dropout=0.0, **off)
        args = arguments(
            tmp_path / str(size), max_steps=2, per_device_train_batch_size=size, gradient_accumulation_steps=parts,
            max_grad_norm=0.0, optim="sgd", learning_rate=1e-2,
        )  # fmt: skip
        trainer = DLinkTrainer(studio, args, train_dataset=train_set)
        trainer.train()
        given.append(weights(studio.router))
    for name, value in given[0].items():
        torch.testing.assert_close(given[1][name], value, atol=1e-4, rtol=1e-3)


def test_stored_features_are_the_teachers_own_view(tmp_path, train_set):
    cache = TeacherCache.build(toy_teacher(dropout=0.0), train_set, tmp_path)
    whole = torch.tensor(train_set[[5, 1]]["teacher_input_values"])
    with torch.no_grad():
        expected = toy_teacher(dropout=0.0).eval()(whole).logits
    torch.testing.assert_close(cache.read([5, 1])["teacher_logits"], expected, atol=1e-5, rtol=1e-4)
    # the same windows alone have the same name, and rows of any other kind are read alike
    assert TeacherCache.build(toy_teacher(dropout=0.0), teacher_view(train_set), tmp_path).folder == cache.folder
    rows = [train_set[row] for row in range(len(train_set))]
    assert TeacherCache.build(toy_teacher(dropout=0.0), rows, tmp_path).folder == cache.folder
    with pytest.raises(ValueError, match="other windows"):
        cache.check(toy_teacher(dropout=0.0), train_set.select(range(1, 24)))
    trainer = DLinkTrainer(
        toy_few_studio(dropout=0.0), arguments(tmp_path / "out", max_steps=1), train_dataset=train_set,
        teacher_cache=cache,
    )  # fmt: skip
    taken = next(iter(trainer.get_train_dataloader()))
    assert "teacher_input_values" not in taken and taken["teacher_states"].shape == (12, 2, 4, 2, 200)
    assert taken["input_values"].shape == (12, 3, 200)


def test_both_views_are_changed_by_the_same_numbers(train_set):
    flip = EEGAugmentation({"sign_flip": 0.5, "time_shift": 0.5}, sfreq=200.0, max_shift=0.4, seed=1)
    rows = NumberedRows(train_set, n_views=0)
    rows.set_epoch(3)
    collated = NumberedCollator(EEGDataCollator(), augment=flip)(rows.__getitems__([4, 11, 7]))
    plain = EEGDataCollator()([train_set[row] for row in (4, 11, 7)])
    found = []
    for place, row in enumerate((4, 11, 7)):
        changes = []
        for name in ("input_values", "teacher_input_values"):
            old, new = plain[name][place], collated[name][place]
            assert torch.equal(new, flip(old[None], 3, row)[0])
            tried = [(shift, sign) for shift in range(-80, 81) for sign in (1, -1)]
            changes.append([one for one in tried if torch.equal(new, one[1] * old.roll(one[0], -1))])
        assert changes[0] == changes[1] and len(changes[0]) == 1
        found += changes[0]
    assert len(set(found)) > 1


def test_windows_that_lack_the_teachers_view_or_have_another_are_refused(tmp_path, folder, train_set):
    args = arguments(tmp_path)
    lacking = train_set.remove_columns("teacher_input_values")
    with pytest.raises(ValueError, match="no column 'teacher_input_values'.*with_teacher_view"):
        DLinkTrainer(toy_few_studio(), args, train_dataset=lacking)
    # validation is the student's alone
    DLinkTrainer(toy_few_studio(), args, train_dataset=train_set, eval_dataset=lacking.select([]))
    whole = teacher_view(train_set)
    with pytest.raises(ValueError, match="config says `ch_names` C4, Pz, C3, the windows have C3, Cz"):
        DLinkTrainer(toy_few_studio(), args, train_dataset=whole)
    few = student_view(whole_cap(), FEW, 1.0, cache_dir=folder)
    with pytest.raises(ValueError, match="`teacher_input_values` have 400 at 200 Hz of Pz, C3"):
        other = student_view(whole_cap(), ["Pz", "C3"], cache_dir=folder)
        DLinkTrainer(toy_few_studio(), args, train_dataset=with_teacher_view(few, other))
    long = student_view(whole_cap(), FEW, 2.0, cache_dir=folder)
    with pytest.raises(ValueError, match="`n_times` 200, its windows have 400"):
        DLinkTrainer(toy_few_studio(), args, train_dataset=with_teacher_view(long, whole_cap()))


def whole_cap():
    from dlink_hf import SignalInfo, set_signal_info

    return set_signal_info(toy_dataset(["S1", "S2"]), SignalInfo(tuple(NAMES), 200.0, N_TIMES))


def test_the_card_tells_what_each_of_them_sees(tmp_path, train_set, held_out):
    pytest.importorskip("matplotlib")
    assert view_facts(toy_studio().config) == {}
    studio = toy_few_studio(dropout=0.0)
    assert view_facts(studio.config) == {"view": "taught by 4 electrodes (2 s), reads 3 (1 s)"}
    trainer = DLinkTrainer(studio, arguments(tmp_path, max_steps=2), train_dataset=train_set, eval_dataset=held_out)
    trainer.train()
    trainer.evaluate()
    card = str(build_training_card(trainer, tmp_path, "few", "few"))
    assert "| view | taught by 4 electrodes (2 s), reads 3 (1 s) |" in card
    assert "| channels trained with | 3: C4, Pz, C3 |" in card
    told = predict_probabilities(studio.teacher, teacher_view(held_out)).argmax(1)
    assert trainer.teacher_score(held_out) == pytest.approx(balanced_accuracy_score(held_out["labels"], told))
    assert trainer.teacher_score(held_out.remove_columns("teacher_input_values")) is None


def test_scores_costs_and_plots_of_a_command_are_those_of_each_view(train_set, held_out):
    studio = toy_few_studio(dropout=0.0)
    models = {"teacher": studio.teacher, "DLink student": studio.student}
    few = held_out.remove_columns("teacher_input_values")
    own = {"teacher": {"validation": teacher_view(held_out)}, "DLink student": {"validation": few}}
    _, probabilities = score_splits(models, own)
    for name, column in (("teacher", "teacher_input_values"), ("DLink student", "input_values")):
        with torch.no_grad():
            logits = models[name].eval()(torch.tensor(held_out[column][:])).logits
        np.testing.assert_allclose(probabilities[f"validation/{name}"], logits.softmax(-1).numpy(), atol=1e-5)
    cost = costs_by_window(models)
    assert cost["DLink student"]["mflop"] == pytest.approx(
        count_flops(studio.student, input_values=torch.zeros(1, 3, 200)) / 1e6
    )
    assert cost["teacher"]["mflop"] == pytest.approx(
        count_flops(studio.teacher, input_values=torch.zeros(1, 4, 400)) / 1e6
    )
    states = studio_states(studio, held_out)
    assert states["routed"].shape == states["mimic"].shape == (24, 3, 1, 200)
