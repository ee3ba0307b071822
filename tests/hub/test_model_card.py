# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The card says what it was told, its snippet runs, its metadata are what the Hub reads, and users' text survives."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from dlink_hf import EEGFeatureExtractor, MiCConfig, MiCForEEGClassification, build_model_card, save_model_card
from dlink_hf.evaluation.metrics import classification_scores
from dlink_hf.hub.card_merging import merge_model_card


LABELS = ["rest", "arithmetic"]


@pytest.fixture
def config():
    return MiCConfig.from_size("tiny", ch_names=["C3", "Cz", "A2-A1"], id2label=dict(enumerate(LABELS)))


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    labels, subjects = rng.integers(0, 2, 60), np.arange(60) // 15
    return classification_scores(labels, rng.dirichlet([1, 1], 60), subjects=subjects, label_names=LABELS)


def test_metadata_are_read_back_by_the_hub_library(config, scores):
    results = {"validation": {"balanced_accuracy": 0.7123456, "auroc": float("nan")}, "test": scores}
    teacher = {"name": "CBraMod", "id": "braindecode/cbramod-pretrained"}
    dataset = {"name": "EEGMAT", "id": "eegmat"}
    card = build_model_card(config, name="mic", results=results, teacher=teacher, dataset=dataset, tags=["rest"])
    data = ModelCard(str(card)).data
    assert data.library_name == "dlink_hf" and data.license == "apache-2.0" and data.pipeline_tag == "other"
    assert {"eeg", "eeg-classification", "knowledge-distillation", "rest"} <= set(data.tags)
    assert data.base_model == "braindecode/cbramod-pretrained" and data.model_name == "mic"
    found = {(result.dataset_split, result.metric_type): result.metric_value for result in data.eval_results}
    assert found["validation", "balanced_accuracy"] == 0.712346
    assert ("validation", "auroc") not in found
    assert found["test", "cohen_kappa"] == pytest.approx(scores["cohen_kappa"], abs=1e-6)
    assert {result.dataset_name for result in data.eval_results} == {"EEGMAT"}


def test_text_holds_every_fact(config, scores):
    card = build_model_card(
        config,
        name="mic",
        results={"test": scores},
        training={"loss_weights": {"kd": 0.25}, "learning_rate": 3e-4, "mimic_epochs": 4},
        teacher={"name": "CBraMod", "description": "pre-trained here"},
        dataset={"name": "synthetic | EEG", "synthetic": True, "subject_wise": True},
        comparison=[
            {"name": "teacher", "parameters": 4_912_345, "mflop": 812.5, "p50_ms": 45.0, "balanced_accuracy": 0.75},
            {"name": "chance", "balanced_accuracy": 0.5},
        ],
        comparison_split="test",
        router={"mean_weights": [0.125, 0.875], "entropy": 0.4},
        plots={"montage": "plots/montage.png", "Loss curves": "plots/loss.png"},
        limits=["Only three electrodes."],
    )
    text = card.text
    for fact in (
        "C3, Cz, A2-A1",
        "200 Hz",
        "1000 samples, 5 s",
        "| kd | 0.250 |",
        "| `learning_rate` | 0.0003 |",
        "| teacher | 4,912,345 | 812.5 | 45.0 | 0.750 |",
        "| chance | n/a | n/a | n/a | 0.500 |",
        "| weight | 0.125 | 0.875 |",
        "(pre-trained here)",
        "synthetic \\| EEG",
        "is synthetic",
        "No subject is in two splits",
        "- Only three electrodes.",
        "Not a medical device",
        "own reading of the abstract",
        "![montage](plots/montage.png)",
        "![Loss curves](plots/loss.png)\n\n*Loss curves*",
        "*rest* and *arithmetic* apart",
        "Balanced accuracy is that of the test split",
        "arXiv:2604.15016",
        f"| test | 60 | 4 | {scores['balanced_accuracy']:.3f} |",
    ):
        assert fact in text, fact
    worst = min(subject["balanced_accuracy"] for subject in scores["per_subject"].values())
    assert f"balanced accuracy from {worst:.3f}" in text
    # every row of a table has as many cells as its head
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1, block
    assert "{" not in re.sub(r"```.*?```", "", text, flags=re.S)


def test_bare_card_claims_nothing(config):
    text = build_model_card(config, name="mic").text
    assert "Not scored yet" in text
    claims = ("distilled from", "two stages", "## Figures", "Compared with its teacher", "No subject is in", "None")
    for claim in claims:
        assert claim not in text
    with pytest.raises(ValueError, match="sfreq, n_times"):
        build_model_card({"ch_names": ["Cz"], "patch_size": 200}, name="mic")


@pytest.mark.parametrize("n_times", [400, 1000])
def test_snippet_runs_as_it_stands(config, tmp_path, n_times):
    config.n_times = n_times
    MiCForEEGClassification(config).save_pretrained(tmp_path / "it's")
    extractor = EEGFeatureExtractor(ch_names=config.ch_names, sfreq=config.sfreq, n_times=n_times, l_freq=0.5)
    extractor.save_pretrained(tmp_path / "it's")
    text = build_model_card(config, name="mic", model_id=tmp_path / "it's").text
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    starts = [f"{onset:.1f}" for onset in np.arange(0, 30, n_times / 200)]
    assert [line.split()[0] for line in lines] == starts
    assert all(line.split()[2] in LABELS for line in lines)


def test_what_a_user_wrote_survives(config, scores, tmp_path):
    path = save_model_card(build_model_card(config, name="mic", tags=["ours"]), tmp_path)
    text = path.read_text("utf-8")
    text = text.replace("license: apache-2.0\n", "license: apache-2.0\nlanguage: gn\n").replace("- ours", "- mine")
    begin = text.index("<!-- dlink_hf: begin")
    path.write_text(
        text[:begin] + "Read me first: é, 脑.\n\n" + text[begin:] + "\n## My notes\n\nKeep | this.\n", "utf-8"
    )
    for _ in range(2):
        assert save_model_card(build_model_card(config, name="mic", results={"test": scores}), tmp_path) == path
        card = ModelCard.load(path)
        assert card.text.lstrip().startswith("Read me first: é, 脑.\n")
        assert card.text.endswith("\n## My notes\n\nKeep | this.\n")
        assert card.text.count("# mic\n") == 1
        assert card.data.language == "gn" and "mine" in card.data.tags and card.data.tags.count("eeg") == 1
        assert "Not scored yet" not in card.text and card.data.eval_results
    assert list(tmp_path.iterdir()) == [path]


def test_card_of_the_users_own_gets_the_block_below(config):
    card = str(build_model_card(config, name="mic"))
    merged = merge_model_card("# Mine\n\nMy text.\n", card)
    assert ModelCard(merged).text.startswith("# Mine\n\nMy text.\n\n<!-- dlink_hf: begin")
    assert ModelCard(merged).data.library_name == "dlink_hf"
    assert merge_model_card(merged, card) == merged


def test_a_licence_that_a_user_wrote_outlasts_the_default_and_no_other(config):
    mine = merge_model_card("---\nlicense: mit\npipeline_tag: audio-classification\n---\n", str(_card(config)))
    assert ModelCard(mine).data.license == "mit" and ModelCard(mine).data.pipeline_tag == "audio-classification"
    assert ModelCard(merge_model_card(mine, str(_card(config, license="cc0-1.0")))).data.license == "cc0-1.0"


def _card(config, **facts):
    return build_model_card(config, name="mic", **facts)


@pytest.mark.parametrize("existing", ["---\na: [1\n---\ntext\n", "---\nlicense: mit\ntext\n", "---\n- a\n---\ntext\n"])
def test_unreadable_card_is_left_alone(config, tmp_path, existing):
    (tmp_path / "README.md").write_text(existing)
    with pytest.warns(UserWarning, match="left as it is"):
        path = save_model_card(build_model_card(config, name="mic"), tmp_path)
    assert path.name == "README.generated.md" and ModelCard.load(path).data.library_name == "dlink_hf"
    assert (tmp_path / "README.md").read_text() == existing


def test_damaged_marks_are_left_alone(config, tmp_path):
    path = save_model_card(build_model_card(config, name="mic"), tmp_path)
    damaged = path.read_text("utf-8").replace("<!-- dlink_hf: end of the generated part -->", "")
    path.write_text(damaged, "utf-8")
    with pytest.warns(UserWarning, match="not one pair"):
        save_model_card(build_model_card(config, name="mic"), tmp_path)
    assert path.read_text("utf-8") == damaged


def test_metadata_are_plain_yaml(config):
    head = str(build_model_card(config, name="mic: a 'name'", dataset={"name": "a: b"})).split("---\n")[1]
    assert yaml.safe_load(head)["library_name"] == "dlink_hf"


def test_emissions_are_grams():
    card = build_model_card(MiCConfig.from_size("tiny", num_labels=2), name="a", emissions_kg=0.0123456)
    assert ModelCard(str(card)).data["co2_eq_emissions"] == {"emissions": 12.35, "source": "codecarbon"}
    assert "co2_eq_emissions" not in str(build_model_card(MiCConfig.from_size("tiny", num_labels=2), name="a"))
