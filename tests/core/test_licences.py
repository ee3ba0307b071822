# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What licences ask, and where the licence of a checkpoint is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlink_hf.core.licences import (
    COPYLEFT,
    KNOWN_LICENCES,
    NO_DERIVATIVES,
    NON_COMMERCIAL,
    UNKNOWN,
    join_licences,
    licence_of_result,
    read_licence,
    what_is_asked,
)
from dlink_hf.models.teacher.backbones import BACKBONES


@pytest.mark.parametrize(
    ("license", "asked"),
    [
        ("mit", []),
        ("Apache-2.0", []),
        ("bsd-3-clause", []),
        ("cc-by-4.0", []),
        ("cc0-1.0", []),
        ("cc-by-nd-4.0", [NO_DERIVATIVES]),
        ("cc-by-nc-nd-4.0", [NO_DERIVATIVES, NON_COMMERCIAL]),
        ("cc-by-nc-4.0", [NON_COMMERCIAL]),
        ("cc-by-nc-sa-4.0", [NON_COMMERCIAL, COPYLEFT]),
        ("cc-by-sa-4.0", [COPYLEFT]),
        ("agpl-3.0", [COPYLEFT]),
        ("gpl-3.0", [COPYLEFT]),
        ("lgpl", [COPYLEFT]),
        ("fair-noncommercial-research-license", [NON_COMMERCIAL]),
        # nothing is guessed: a name that only begins like a permissive one is not known
        ("mit-with-conditions", [UNKNOWN]),
        ("other", [UNKNOWN]),
        ("unknown", [UNKNOWN]),
        ("", [UNKNOWN]),
    ],
)
def test_what_a_licence_asks(license: str, asked: list[str]) -> None:
    assert what_is_asked(license) == asked


def test_an_agreement_counts_beside_the_identifier() -> None:
    assert what_is_asked("other", "brain-bzh/reve-base") == [NO_DERIVATIVES]
    assert what_is_asked("apache-2.0", "braindecode/mvpformer-s-pretrained") == [NON_COMMERCIAL]
    # as the Hub does, names are told apart without regard to capitals
    assert what_is_asked("other", "Brain-BZH/REVE-base") == [NO_DERIVATIVES]


def test_every_known_entry_names_a_page_and_a_backbone() -> None:
    for name, entry in KNOWN_LICENCES.items():
        assert entry.source.startswith("https://huggingface.co/") and entry.source.endswith(f"/{name}")
        assert entry.backbone in BACKBONES
        # an identifier is either understood, or owned up to
        asked = what_is_asked(entry.license, name)
        assert UNKNOWN not in asked or entry.license == "unknown", name


def test_the_documentation_has_the_same_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "publish.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if "](https://huggingface.co/" in line]
    assert rows == [
        f"| {entry.backbone} | [{name}]({entry.source}) | {entry.license} | {entry.note} |"
        for name, entry in KNOWN_LICENCES.items()
    ]


@pytest.mark.parametrize(
    ("records", "metadata"),
    [
        ([], {"license": "apache-2.0"}),
        ([("a/b", "mit")], {"license": "apache-2.0"}),
        ([("a/b", "mit"), ("c/d", "cc-by-nc-4.0")], {"license": "cc-by-nc-4.0"}),
        ([("a/b", "unknown")], {"license": "unknown"}),
        ([("a/b", "agpl-3.0"), ("c/d", "agpl-3.0")], {"license": "agpl-3.0"}),
        (
            [("a/b", "agpl-3.0"), ("c/d", "cc-by-nc-4.0")],
            {"license": "other", "license_name": "agpl-3.0-and-cc-by-nc-4.0"},
        ),
        (
            [("brain-bzh/reve-base", "other")],
            {"license": "other", "license_name": "that-of-reve-base", "license_link": "https://hub/a"},
        ),
        (
            [("a/b", "our-terms")],
            {"license": "other", "license_name": "our-terms", "license_link": "https://hub/a"},
        ),
    ],
)
def test_the_licence_of_what_is_made_from_weights(records: list[tuple[str, str]], metadata: dict[str, str]) -> None:
    found = [{"weights": weights, "license": license, "source": "https://hub/a"} for weights, license in records]
    assert licence_of_result(found) == metadata


def test_licences_are_joined_without_repeats() -> None:
    first, second = ({"weights": name, "license": "mit", "source": ""} for name in "ab")
    assert join_licences(None, [first], [second, first]) == [first, second]
    assert join_licences(None, []) is None


def folder_with_card(folder: Path, card: str) -> str:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return str(folder)


def test_a_folder_is_known_by_its_card(tmp_path: Path) -> None:
    named = folder_with_card(tmp_path / "mine", "---\nlicense: cc-by-nc-4.0\n---\n# Mine\n")
    expected = {"weights": "mine", "license": "cc-by-nc-4.0", "source": "README.md of mine"}
    assert read_licence(named) == expected
    terms = folder_with_card(tmp_path / "terms", "---\nlicense: other\nlicense_name: our-terms\n---\n")
    assert read_licence(terms)["license"] == "our-terms"
    for name, card in {
        "none": "# No metadata\n",
        "empty": "---\ntags: [eeg]\n---\n",
        "several": "---\nlicense: [mit, gpl-3.0]\n---\n",
        "broken": "---\nlicense: [\n---\n",
    }.items():
        assert read_licence(folder_with_card(tmp_path / name, card))["license"] == "unknown", name


def test_a_card_that_braindecode_wrote_into_a_folder_is_not_believed(tmp_path: Path) -> None:
    """braindecode's `save_pretrained` writes the licence of its class there, whatever the weights are."""
    from braindecode_hub import save, small_config

    saved = save(tmp_path / "saved", small_config("CBraMod", ["C3", "Cz"], n_times=400))
    assert "license: bsd-3-clause" in (saved / "README.md").read_text()
    assert read_licence(str(saved)) == {"weights": "saved", "license": "unknown", "source": ""}


def test_a_folder_of_the_hubs_cache_has_its_repositorys_name(tmp_path: Path) -> None:
    folder = folder_with_card(tmp_path / "models--PulpBio--LUNA" / "snapshots" / "0123abcd", "# nothing said\n")
    source = "https://huggingface.co/PulpBio/LUNA"
    assert read_licence(folder) == {"weights": "PulpBio/LUNA", "license": "cc-by-nd-4.0", "source": source}
