# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Licences of published weights: what is known of them, and what they allow with a model made from such weights."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fetch import fetch


# what a licence asks, the strictest first
NO_DERIVATIVES, UNKNOWN, NON_COMMERCIAL, COPYLEFT = "no derivatives", "unknown", "non-commercial", "copyleft"

_PERMISSIVE = re.compile(
    r"apache-2\.0|mit(-0)?|bsd(-[234]-clause(-clear)?)?|isc|zlib|unlicense|wtfpl|afl-3\.0|ecl-2\.0|bsl-1\.0|ms-pl|ncsa"
    r"|artistic-2\.0|postgresql|pddl|odc-by|cdla-permissive-[12]\.0|cc0-1\.0|cc-by-[234]\.[05]"
)
_NO_DERIVATIVES, _NON_COMMERCIAL = re.compile(r"cc-by(-nc)?-nd(-|$)"), re.compile(r"cc-by-nc(-|$)|non-?commercial")
_COPYLEFT = re.compile(r"(a|l)?gpl(-|$)|cc-by(-nc)?-sa(-|$)|e?upl-|osl-|mpl-|epl-|odbl")
# identifiers of restricting licences that the Hub takes; others go under `license_name`
_ON_THE_HUB = re.compile(
    r"unknown|cc-by(-nc)?(-nd|-sa)?-[234]\.[05]|(a|l)?gpl(-[23]\.[01])?|mpl-2\.0|epl-[12]\.0|eupl-1\.[12]|osl-3\.0|odbl"
)
# a folder of the Hub's cache has the name of its repository in its path
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)$")


@dataclass(frozen=True)
class PublishedWeights:
    """What is known of the licence of published weights.

    Args:
        backbone: teacher that they are of, as `dlink teachers` names it.
        license: identifier as the Hub has them; `"unknown"` where none was found.
        source: page that says so, or that was looked at.
        note: what else the authors say.
        asks: what they ask beyond what the identifier says: any of `NO_DERIVATIVES`, `NON_COMMERCIAL`.
    """

    backbone: str
    license: str
    source: str
    note: str = ""
    asks: tuple[str, ...] = ()


_HUB, _GITHUB = "https://huggingface.co", "https://github.com"
_BIOT = f"the authors' repository ({_GITHUB}/ycq091044/BIOT) is under mit"
_STEEGFORMER = f"the authors' release ({_GITHUB}/LiuyinYang1101/STEEGFormer) is under mit"
_EEGDINO = f"the authors' own page ({_HUB}/eegdino/EEG-DINO) names no licence"
_MANTIS = "the package with its code (mantis-tsfm) is under apache-2.0"
_MVPFORMER = "the authors allow research only, and no diagnosis"

# Hub id -> licence, read off the pages that are named; a page that could not be read makes the licence unknown
KNOWN_LICENCES: dict[str, PublishedWeights] = {
    "braindecode/cbramod-pretrained": PublishedWeights(
        "CBraMod",
        "bsd-3-clause",
        f"{_HUB}/braindecode/cbramod-pretrained",
        f"the authors' release ({_HUB}/weighting666/CBraMod) is under apache-2.0",
    ),
    "weighting666/CBraMod": PublishedWeights("CBraMod", "apache-2.0", f"{_HUB}/weighting666/CBraMod"),
    "braindecode/labram-pretrained": PublishedWeights(
        "Labram",
        "unknown",
        f"{_HUB}/braindecode/labram-pretrained",
        f"the authors' repository ({_GITHUB}/935963004/LaBraM) is under mit",
    ),
    "braindecode/biot-pretrained-six-datasets-18chs": PublishedWeights(
        "BIOT", "bsd-3-clause", f"{_HUB}/braindecode/biot-pretrained-six-datasets-18chs", _BIOT
    ),
    "braindecode/biot-pretrained-prest-16chs": PublishedWeights(
        "BIOT", "unknown", f"{_HUB}/braindecode/biot-pretrained-prest-16chs", _BIOT
    ),
    "braindecode/biot-pretrained-shhs-prest-18chs": PublishedWeights(
        "BIOT", "unknown", f"{_HUB}/braindecode/biot-pretrained-shhs-prest-18chs", _BIOT
    ),
    "braindecode/eegpt-pretrained": PublishedWeights(
        "EEGPT",
        "unknown",
        f"{_HUB}/braindecode/eegpt-pretrained",
        f"the authors' repository ({_GITHUB}/BINE022/EEGPT) is under apache-2.0",
    ),
    "braindecode/braindecode-bendr": PublishedWeights(
        "BENDR",
        "apache-2.0",
        f"{_HUB}/braindecode/braindecode-bendr",
        f"the authors' repository ({_GITHUB}/SPOClab-ca/BENDR) names no licence",
    ),
    "braindecode/signal-jepa": PublishedWeights("SignalJEPA", "mit", f"{_HUB}/braindecode/signal-jepa"),
    "braindecode/signal-jepa_without-chans": PublishedWeights(
        "SignalJEPA", "mit", f"{_HUB}/braindecode/signal-jepa_without-chans"
    ),
    "brain-bzh/reve-base": PublishedWeights(
        "REVE",
        "other",
        f"{_HUB}/brain-bzh/reve-base",
        "its agreement forbids to share derivatives without permission, and to identify people or discriminate",
        (NO_DERIVATIVES,),
    ),
    "brain-bzh/reve-large": PublishedWeights(
        "REVE", "unknown", f"{_HUB}/brain-bzh/reve-large", "see the agreement of brain-bzh/reve-base"
    ),
    "PulpBio/LUNA": PublishedWeights(
        "LUNA", "cc-by-nd-4.0", f"{_HUB}/PulpBio/LUNA", "its card forbids to share modified weights of any kind"
    ),
    "braindecode/codebrain-pretrained": PublishedWeights(
        "CodeBrain", "bsd-3-clause", f"{_HUB}/braindecode/codebrain-pretrained"
    ),
    "braindecode/eegdino-small-pretrained": PublishedWeights(
        "EEGDINO", "unknown", f"{_HUB}/braindecode/eegdino-small-pretrained", _EEGDINO
    ),
    "braindecode/eegdino-medium-pretrained": PublishedWeights(
        "EEGDINO", "bsd-3-clause", f"{_HUB}/braindecode/eegdino-medium-pretrained", _EEGDINO
    ),
    "braindecode/STEEGFormer-small": PublishedWeights("STEEGFormer", "mit", f"{_HUB}/braindecode/STEEGFormer-small"),
    **{
        f"braindecode/STEEGFormer-{size}": PublishedWeights(
            "STEEGFormer", "unknown", f"{_HUB}/braindecode/STEEGFormer-{size}", _STEEGFORMER
        )
        for size in ("base", "large", "largeV2")
    },
    "braindecode/ZUNA": PublishedWeights("ZUNA", "apache-2.0", f"{_HUB}/braindecode/ZUNA"),
    **{
        f"braindecode/mvpformer-{size}-pretrained": PublishedWeights(
            "MVPFormer",
            "apache-2.0",
            f"{_HUB}/braindecode/mvpformer-{size}-pretrained",
            _MVPFORMER,
            (NON_COMMERCIAL,),
        )
        for size in ("s", "m")
    },
    "amazon/chronos-2": PublishedWeights(
        "Chronos2", "apache-2.0", f"{_HUB}/amazon/chronos-2", "a copy (autogluon/chronos-2) says the same"
    ),
    "paris-noah/Mantis-8M": PublishedWeights("MantisV1", "mit", f"{_HUB}/paris-noah/Mantis-8M", _MANTIS),
    "paris-noah/MantisPlus": PublishedWeights("MantisV1", "unknown", f"{_HUB}/paris-noah/MantisPlus", _MANTIS),
    "paris-noah/MantisV2": PublishedWeights("MantisV2", "mit", f"{_HUB}/paris-noah/MantisV2", _MANTIS),
}
_BY_NAME = {name.casefold(): entry for name, entry in KNOWN_LICENCES.items()}


def is_known(name: str) -> bool:
    """Return whether a Hub id is that of published weights in `KNOWN_LICENCES`, capitals aside."""
    return name.casefold() in _BY_NAME


def what_is_asked(license: str, weights: str = "") -> list[str]:
    """Return what a licence asks of whoever shares a model made from such weights.

    Args:
        license: identifier as the Hub has them.
        weights: Hub id; what is known of it counts too.

    Returns:
        any of `NO_DERIVATIVES`, `UNKNOWN`, `NON_COMMERCIAL`, `COPYLEFT`, the strictest first; none where the licence
        is permissive: the notice of the authors goes along, and that is all.

    Example:

    ```python
    >>> what_is_asked("cc-by-nc-nd-4.0"), what_is_asked("mit"), what_is_asked("my-own")
    (['no derivatives', 'non-commercial'], [], ['unknown'])
    ```
    """
    name, known = license.casefold().strip(), _BY_NAME.get(weights.casefold())
    patterns = {NO_DERIVATIVES: _NO_DERIVATIVES, NON_COMMERCIAL: _NON_COMMERCIAL, COPYLEFT: _COPYLEFT}
    asked = {what for what, pattern in patterns.items() if pattern.search(name)}
    asked |= set(known.asks if known else ())
    if not asked and not _PERMISSIVE.fullmatch(name):
        asked = {UNKNOWN}
    return [what for what in (NO_DERIVATIVES, UNKNOWN, NON_COMMERCIAL, COPYLEFT) if what in asked]


def read_licence(name: str, hub: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Find the licence of a checkpoint: what its card says, else what is known of it.

    Args:
        name: folder or Hub id. A folder's card that braindecode wrote by itself is passed over: it names the licence
            of the code, which it does whatever the weights are.
        hub: any of `HUB_OPTIONS`, by which its files are fetched.

    Returns:
        `weights` (Hub id, or name of the folder), `license` (identifier, `"unknown"` where none is known) and
        `source` (page or file that says so).

    Example:

    ```python
    >>> read_licence("PulpBio/LUNA")  # doctest: +SKIP
    {'weights': 'PulpBio/LUNA', 'license': 'cc-by-nd-4.0', 'source': 'https://huggingface.co/PulpBio/LUNA'}
    ```
    """
    weights, is_folder = name, os.path.isdir(name)
    if is_folder:
        cached = _CACHED.search(Path(name).resolve().parent.parent.name)
        weights = "/".join(cached.groups()) if cached else Path(name).resolve().name
    try:
        card = fetch(name, "README.md", dict(hub or {}))
    except OSError:
        card = None
    said = None if card is None else _licence_of_card(card, believe_braindecode=not is_folder or "/" in weights)
    known = _BY_NAME.get(weights.casefold())
    if said is not None:
        source = f"{_HUB}/{weights}" if "/" in weights else f"README.md of {weights}"
        return {"weights": weights, "license": said, "source": source}
    if known is not None:
        return {"weights": weights, "license": known.license, "source": known.source}
    return {"weights": weights, "license": "unknown", "source": f"{_HUB}/{weights}" if "/" in weights else ""}


def _licence_of_card(path: Path, believe_braindecode: bool) -> str | None:
    """The licence in the metadata of a card; None where it names none, or can't be read."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        data = metadata_load(path) or {}
    except (ValueError, yaml.YAMLError):
        return None
    tags = data.get("tags") or []
    if not believe_braindecode and "model_hub_mixin" in tags:
        return None
    said = data.get("license")
    said = said[0] if isinstance(said, list) and len(said) == 1 else said
    if said == "other":
        said = data.get("license_name") or said
    return said.strip() if isinstance(said, str) and said.strip() else None


def join_licences(*records: Iterable[Mapping[str, str]] | None) -> list[dict[str, str]] | None:
    """Return the licences of all that a model was made from, each once; None where there are none."""
    joined = [dict(record) for several in records for record in several or ()]
    return [record for index, record in enumerate(joined) if record not in joined[:index]] or None


def licence_of_result(records: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the licence of a model made from published weights, as the metadata of its card name it.

    Args:
        records: of [`read_licence`].

    Returns:
        `license`, and where that is `"other"` also `license_name` and, of a single one, `license_link`. Weights whose
        licence is permissive leave the choice: then it is that of this package.

    Example:

    ```python
    >>> licence_of_result([{"weights": "me/eeg", "license": "cc-by-nc-4.0", "source": ""}])
    {'license': 'cc-by-nc-4.0'}
    ```
    """
    restricting = [record for record in records if what_is_asked(record["license"], record["weights"])]
    names = list(dict.fromkeys(record["license"] for record in restricting))
    if not names:
        return {"license": "apache-2.0"}
    if len(names) > 1:
        return {"license": "other", "license_name": "-and-".join(names)}
    if _ON_THE_HUB.fullmatch(names[0]):
        return {"license": names[0]}
    name = f"that-of-{restricting[0]['weights'].rsplit('/', 1)[-1]}" if names == ["other"] else names[0]
    source = restricting[0]["source"]
    link = {"license_link": source} if source.startswith("https://") else {}
    return {"license": "other", "license_name": name, **link}


__all__ = [
    "COPYLEFT",
    "KNOWN_LICENCES",
    "NON_COMMERCIAL",
    "NO_DERIVATIVES",
    "PublishedWeights",
    "UNKNOWN",
    "is_known",
    "join_licences",
    "licence_of_result",
    "read_licence",
    "what_is_asked",
]
