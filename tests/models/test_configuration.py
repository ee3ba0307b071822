# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Configs: round trips, and an error that names the field for whatever is unknown, contradictory or mistyped."""

from __future__ import annotations

import json

import numpy as np
import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError

from dlink_hf import DLinkRouterConfig, DLinkStudioConfig, DLinkTeacherConfig, MiCConfig
from dlink_hf.core.electrodes import channel_positions


NAMES = ["C3", "Cz", "C4"]
CLASSES = [MiCConfig, DLinkTeacherConfig, DLinkRouterConfig, DLinkStudioConfig]


def filled() -> dict[str, MiCConfig | DLinkTeacherConfig | DLinkRouterConfig | DLinkStudioConfig]:
    """One config of each class with as little as possible left at its default."""
    labels = {0: "rest", 1: "left", 2: "right"}
    student = MiCConfig.from_size(
        "tiny", ch_names=NAMES, n_times=800, input_scale=0.2, mimic_size=120, id2label=labels, max_freq=40
    )
    teacher = DLinkTeacherConfig(
        backbone="Labram",
        backbone_kwargs={"num_layers": 2, "embed_dim": 120, "num_heads": 4},
        ch_names=NAMES,
        n_times=800,
        head_size=7,
        id2label=labels,
    )
    router = DLinkRouterConfig(
        hidden_size=120, num_layers=2, n_chans=3, router_size=5, routing="static", id2label=labels
    )
    studio = DLinkStudioConfig(
        teacher_config=teacher,
        router_config=router,
        student_config=student,
        kd_weight=0.3,
        spectral_axes=["time", "features"],
        spectral_placement=["compressed"],
        magnitude_kind="log",
    )
    return {"student": student, "teacher": teacher, "router": router, "studio": studio}


@pytest.mark.parametrize("config_class", CLASSES)
def test_every_config_has_defaults(config_class, tmp_path):
    config = config_class()
    assert config.num_labels == 2
    config.save_pretrained(tmp_path)
    assert config_class.from_pretrained(tmp_path).to_dict() == config.to_dict()


@pytest.mark.parametrize("name", ["student", "teacher", "router", "studio"])
def test_round_trips(name, tmp_path):
    config = filled()[name]
    config.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    for again in (
        type(config).from_pretrained(tmp_path),
        type(config).from_dict(config.to_dict()),
        type(config).from_dict(config.to_diff_dict()),
        type(config)(**config.to_dict()),
        type(config).from_json_file(tmp_path / "config.json"),
    ):
        assert again.to_dict() == config.to_dict()
        assert again.id2label == {0: "rest", 1: "left", 2: "right"}
        assert again.label2id == {"rest": 0, "left": 1, "right": 2}


def test_nested_dicts_become_configs(tmp_path):
    filled()["studio"].save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == "dlink_studio" and stored["student_config"]["ch_names"] == NAMES
    studio = DLinkStudioConfig.from_pretrained(tmp_path)
    assert type(studio.teacher_config) is DLinkTeacherConfig
    assert type(studio.router_config) is DLinkRouterConfig
    assert type(studio.student_config) is MiCConfig
    assert studio.teacher_config.backbone_kwargs == {"num_layers": 2, "embed_dim": 120, "num_heads": 4}
    assert studio.spectral_placement == ["compressed"] and studio.kd_weight == 0.3


def test_configs_do_not_share_lists():
    first, second = MiCConfig(), MiCConfig()
    first.ch_names.append("Cz2")
    assert len(second.ch_names) == len(MiCConfig().ch_names) == 19
    kwargs = {"n_layer": 2}
    DLinkTeacherConfig(backbone_kwargs=kwargs).backbone_kwargs["n_layer"] = 3
    assert kwargs == {"n_layer": 2}


def test_positions_are_looked_up_or_taken():
    np.testing.assert_allclose(MiCConfig(ch_names=NAMES).channel_positions, channel_positions(NAMES))
    own = MiCConfig(ch_names=["my electrode"], channel_positions=[[0.0, 0.05, 0.08]])
    assert own.channel_positions == [[0.0, 0.05, 0.08]]


def test_derived_sizes():
    config = MiCConfig(n_times=1200, patch_size=300, filter_size=100)
    assert config.n_patches == 4 and config.intermediate_size == 2 * config.hidden_size
    teacher = DLinkTeacherConfig(backbone="Labram", backbone_kwargs={"num_layers": 3, "embed_dim": 120}, n_times=600)
    assert (teacher.num_hidden_layers, teacher.hidden_size, teacher.n_patches) == (3, 120, 3)
    studio = DLinkStudioConfig(teacher_config=DLinkTeacherConfig(backbone_kwargs={"n_layer": 4}, num_labels=3))
    assert studio.router_config.num_layers == 4
    assert studio.num_labels == studio.student_config.num_labels == studio.router_config.num_labels == 3


def test_the_router_of_a_teacher():
    teacher = filled()["teacher"]
    router = DLinkRouterConfig.from_teacher(teacher, routing="last")
    assert (router.hidden_size, router.num_layers, router.n_chans, router.routing) == (120, 2, 3, "last")
    assert router.id2label == teacher.id2label


def test_sizes():
    tiny, base = MiCConfig.from_size("tiny"), MiCConfig.from_size("base", ch_names=NAMES, hidden_size=64)
    assert tiny.hidden_size < MiCConfig.from_size("small").hidden_size
    assert base.hidden_size == 64 and base.ch_names == NAMES  # a field of one's own wins
    with pytest.raises(ValueError, match="'tiny', 'small', 'base', got 'huge'"):
        MiCConfig.from_size("huge")


def test_labels():
    assert MiCConfig(num_labels=4).id2label == {i: f"LABEL_{i}" for i in range(4)}
    config = MiCConfig(id2label={"0": "rest", "1": "task"})
    assert config.num_labels == 2 and config.label2id == {"rest": 0, "task": 1}
    assert MiCConfig(label2id={"rest": 0, "task": 1}).id2label == {0: "rest", 1: "task"}


def test_other_labels_when_loading(tmp_path):
    """What is asked for replaces the classes of the checkpoint; transformers by itself keeps them and warns."""
    filled()["student"].save_pretrained(tmp_path)
    four = MiCConfig.from_pretrained(tmp_path, num_labels=4)
    assert four.num_labels == 4 and four.label2id["LABEL_3"] == 3
    named = MiCConfig.from_pretrained(tmp_path, id2label={0: "closed", 1: "open"})
    assert named.label2id == {"closed": 0, "open": 1}
    assert named.ch_names == NAMES
    with pytest.raises(ValueError, match="`num_labels`"):
        MiCConfig.from_pretrained(tmp_path, num_labels=4, id2label={0: "closed", 1: "open"})


def test_renamed_classes_survive_saving(tmp_path):
    config = MiCConfig()
    config.id2label = {0: "rest", 1: "task"}  # and label2id forgotten
    config.save_pretrained(tmp_path)
    assert MiCConfig.from_pretrained(tmp_path).label2id == {"rest": 0, "task": 1}


@pytest.mark.parametrize("config_class", CLASSES)
def test_a_typo_is_an_error_that_lists_the_fields(config_class, tmp_path):
    known = {MiCConfig: "hidden_size", DLinkRouterConfig: "hidden_size", DLinkTeacherConfig: "backbone"}
    with pytest.raises(ValueError, match=rf"'hiden_size'.*{known.get(config_class, 'kd_weight')}"):
        config_class(hiden_size=64)
    config_class().save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**stored, "hiden_size": 64}))
    with pytest.raises(ValueError, match="'hiden_size'"):
        config_class.from_pretrained(tmp_path)


def test_a_typo_in_a_sub_config_is_an_error():
    with pytest.raises(ValueError, match="MiCConfig has no field 'hiden_size'"):
        DLinkStudioConfig(student_config={"hiden_size": 64})


STUDENT_ERRORS = [
    ({"n_times": 1001}, "`n_times`.*`patch_size` \\(200\\), got 1001"),
    ({"n_times": 0}, "`n_times`"),
    ({"hidden_size": 65}, "`hidden_size`.*`num_attention_heads`"),
    ({"ch_names": []}, "`ch_names`"),
    ({"ch_names": ["C3", "Cz", "C3"]}, "`ch_names`.*'C3'"),
    ({"ch_names": ["T3", "Cz", "T7"]}, "`ch_names`.*'T3', 'T7'"),
    ({"ch_names": ["C3", "Foo1"]}, "'Foo1'"),
    ({"channel_positions": [[0.0, 0.0, 0.1]]}, "`channel_positions`.*19"),
    ({"ch_names": ["C3"], "channel_positions": [[0.0, 0.1]]}, "`channel_positions`"),
    ({"ch_names": ["C3"], "channel_positions": [[0.0, 0.0, 90.0]]}, "`channel_positions`.*metres"),
    ({"ch_names": ["C3"], "channel_positions": [[0.0, 0.0, float("nan")]]}, "`channel_positions`"),
    ({"ch_names": ["C3"], "channel_positions": [["a", "b", "c"]]}, "`channel_positions`"),
    ({"sfreq": 0.0}, "`sfreq`"),
    ({"sfreq": float("inf")}, "`sfreq`"),
    ({"sfreq": 80.0}, "`max_freq`.*sfreq / 2"),
    ({"min_freq": 50.0}, "`max_freq`.*min_freq"),
    ({"filter_size": 201}, "`filter_size`.*`patch_size`"),
    ({"num_slow_features": 21}, "`num_slow_features`.*`patch_size`"),
    ({"num_filters": 0}, "`num_filters`"),
    ({"num_hidden_layers": -1}, "`num_hidden_layers`"),
    ({"hidden_dropout": 1.0}, "`hidden_dropout`"),
    ({"classifier_dropout": -0.1}, "`classifier_dropout`"),
    ({"input_scale": 0.0}, "`input_scale`"),
    ({"num_labels": 1}, "`num_labels`"),
    ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "`num_labels`.*`id2label`"),
    ({"id2label": {0: "a", 2: "b"}}, "`id2label`"),
    ({"id2label": {0: "a", 1: "a"}}, "`id2label`"),
    ({"id2label": {0: "a", 1: "b"}, "label2id": {"b": 0, "a": 1}}, "`label2id`"),
]


@pytest.mark.parametrize(("fields", "message"), STUDENT_ERRORS)
def test_contradictory_student(fields, message):
    with pytest.raises(ValueError, match=message):
        MiCConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "EEGNet"}, "`backbone`.*CBraMod.*'EEGNet'"),
        ({"backbone_kwargs": {"n_chans": 19}}, "`backbone_kwargs`.*'n_chans'"),
        ({"backbone_kwargs": {"n_outputs": 2}}, "`backbone_kwargs`.*'n_outputs'"),
        ({"backbone_kwargs": {"n_layer": 0}}, "`backbone_kwargs\\['n_layer'\\]`"),
        ({"backbone_kwargs": {"n_layer": "4"}}, "`backbone_kwargs\\['n_layer'\\]`"),
        ({"backbone_kwargs": {"patch_size": 100}}, "`backbone_kwargs\\['patch_size'\\]`.*200"),
        ({"sfreq": 250}, "`sfreq`.*200.0 Hz"),
        ({"n_times": 900}, "`n_times`.*200"),
        ({"ch_names": ["C3", "C3"]}, "`ch_names`"),
        ({"ch_names": []}, "`ch_names`"),
        ({"head_size": 0}, "`head_size`"),
        ({"head_dropout": 1.5}, "`head_dropout`"),
        ({"input_scale": -1.0}, "`input_scale`"),
        ({"num_labels": 3, "id2label": {0: "a", 1: "b"}}, "`num_labels`"),
    ],
)
def test_contradictory_teacher(fields, message):
    with pytest.raises(ValueError, match=message):
        DLinkTeacherConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"routing": "random"}, "`routing`.*'uniform'.*'random'"),
        ({"num_layers": 0}, "`num_layers`"),
        ({"hidden_size": -1}, "`hidden_size`"),
        ({"n_chans": 0}, "`n_chans`"),
        ({"temperature": 0.0}, "`temperature`"),
        ({"router_dropout": 1.0}, "`router_dropout`"),
        ({"num_labels": 0}, "`num_labels`"),
    ],
)
def test_contradictory_router(fields, message):
    with pytest.raises(ValueError, match=message):
        DLinkRouterConfig(**fields)


STUDIO_ERRORS = [
    ({"student_config": {"mimic_size": 100}}, "`student_config.mimic_size`.*200, got 100"),
    ({"student_config": {"num_labels": 3}}, "`student_config.num_labels`"),
    ({"student_config": {"ch_names": ["C3", "Oz"]}}, "`student_config.ch_names`.*'Oz'"),
    ({"student_config": {"n_times": 1200}}, "`student_config.n_times`"),
    ({"student_config": {"sfreq": 256.0}}, "`student_config.sfreq`"),
    ({"router_config": {"num_layers": 3}}, "`router_config.num_layers`.*12, got 3"),
    ({"router_config": {"hidden_size": 100}}, "`router_config.hidden_size`"),
    ({"router_config": {"n_chans": 3}}, "`router_config.n_chans`.*19, got 3"),
    ({"router_config": {"num_labels": 4}}, "`router_config.num_labels`"),
    ({"num_labels": 3}, "`num_labels`"),
    ({"kd_weight": -0.1}, "`kd_weight`"),
    ({"task_weight": float("nan")}, "`task_weight`"),
    ({"phase_weight": float("inf")}, "`phase_weight`"),
    ({"kd_temperature": 0}, "`kd_temperature`"),
    ({"route_distance": "l2"}, "`route_distance`.*cosine"),
    ({"magnitude_kind": "db"}, "`magnitude_kind`.*log"),
    ({"spectral_axes": ["frequency"]}, "`spectral_axes`.*features"),
    ({"spectral_axes": []}, "`spectral_axes`"),
    ({"spectral_axes": ["time", "time"]}, "`spectral_axes`"),
    ({"spectral_placement": ["logits"]}, "`spectral_placement`.*compressed"),
]


@pytest.mark.parametrize(("fields", "message"), STUDIO_ERRORS)
def test_contradictory_studio(fields, message):
    with pytest.raises(ValueError, match=message):
        DLinkStudioConfig(**fields)


def test_the_same_classes_in_another_order_are_an_error():
    teacher = DLinkTeacherConfig(id2label={0: "rest", 1: "task"})
    with pytest.raises(ValueError, match="`student_config.id2label`.*'rest', 'task'"):
        DLinkStudioConfig(teacher_config=teacher, student_config=MiCConfig(id2label={0: "task", 1: "rest"}))
    DLinkStudioConfig(teacher_config=teacher, student_config=MiCConfig(id2label={0: "Ruhe", 1: "Aufgabe"}))


@pytest.mark.parametrize(
    ("config_class", "fields", "field"),
    [
        (MiCConfig, {"hidden_size": "64"}, "hidden_size"),
        (MiCConfig, {"hidden_size": 64.0}, "hidden_size"),
        (MiCConfig, {"n_times": True}, "n_times"),
        (MiCConfig, {"sfreq": "200"}, "sfreq"),
        (MiCConfig, {"ch_names": "C3"}, "ch_names"),
        (MiCConfig, {"ch_names": [1, 2]}, "ch_names"),
        (DLinkTeacherConfig, {"backbone": 3}, "backbone"),
        (DLinkTeacherConfig, {"backbone_kwargs": [2]}, "backbone_kwargs"),
        (DLinkRouterConfig, {"routing": None}, "routing"),
        (DLinkStudioConfig, {"kd_weight": "1"}, "kd_weight"),
        (DLinkStudioConfig, {"spectral_axes": "time"}, "spectral_axes"),
        (DLinkStudioConfig, {"student_config": [1]}, "student_config"),
        (DLinkStudioConfig, {"teacher_config": MiCConfig()}, "teacher_config"),
    ],
)
def test_wrong_types_name_the_field(config_class, fields, field):
    with pytest.raises(StrictDataclassFieldValidationError, match=f"'{field}'"):
        config_class(**fields)


def test_a_wrong_type_is_refused_on_assignment_too():
    config = MiCConfig()
    with pytest.raises(StrictDataclassFieldValidationError, match="'hidden_size'"):
        config.hidden_size = "large"


def test_another_montage_at_loading_brings_its_own_positions(tmp_path):
    MiCConfig(ch_names=["C3", "Cz", "C4"]).save_pretrained(tmp_path)
    config = MiCConfig.from_pretrained(tmp_path, ch_names=["O1", "Oz", "O2"], n_times=400)
    assert config.channel_positions == MiCConfig(ch_names=["O1", "Oz", "O2"]).channel_positions
    assert config.n_times == 400
    with pytest.raises(ValueError, match="n_times"):
        MiCConfig.from_pretrained(tmp_path, n_times=401)
    given = [[0.0, 0.0, 0.1], [0.01, 0.0, 0.1]]
    config = MiCConfig.from_pretrained(tmp_path, ch_names=["Fz", "Cz"], channel_positions=given)
    assert config.channel_positions == given
