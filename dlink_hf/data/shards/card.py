# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The dataset card of shards: what the Hub needs to show them, and what a reader should know."""

from ...core.text import for_markdown
from .manifest import SUFFIXES, ShardManifest


def shards_card(manifest: ShardManifest) -> str:
    """Return the text of `README.md`.

    Args:
        manifest: What is there.

    Returns:
        A card with YAML that names the splits' files, so that `datasets.load_dataset` and the Hub's viewer find them.
    """
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in manifest.splits:
        lines += [f"  - split: {split}", f"    path: data/{split}-*{SUFFIXES[manifest.format]}"]
    lines += ["tags:", "- eeg", "- dlink_hf", "- time-series", "---", "", "# EEG windows", ""]
    length = manifest.n_times / manifest.sfreq
    heads = "".join(f" {for_markdown(name)} |" for name in manifest.label_names or [])
    lines += [
        f"{manifest.n_windows()} windows of {length:g} s, {manifest.hours():.1f} hours of EEG of "
        f"{len(manifest.subjects())} subjects; {len(manifest.ch_names)} channels at {manifest.sfreq:g} Hz, in "
        f"microvolts ({manifest.dtype}). Made by `dlink prepare`; no subject is in two splits.",
        "",
        "Licence and origin of the recordings: to be filled in by whoever publishes them.",
        "",
        f"| split | files | MB | windows | hours | subjects |{heads}",
        f"|---|---|---|---|---|---|{'---|' * len(manifest.label_names or [])}",
    ]
    for split, total in manifest.totals().items():
        counts = "".join(f" {count} |" for count in total["labels"].values())
        lines.append(
            f"| {split} | {total['shards']} | {total['bytes'] / 1e6:.1f} | {total['windows']} | {total['hours']:.2f} "
            f"| {total['people']} |{counts}"
        )
    lines += ["", f"Channels: {', '.join(map(for_markdown, manifest.ch_names))}.", ""]
    if manifest.skipped:
        lines += [f"{len(manifest.skipped)} recordings could not be used; `manifest.json` says why.", ""]
    lines += [
        "```python",
        "from dlink_hf import load_shards, signal_fields",
        "",
        'windows = load_shards("hf://datasets/USER/NAME", split="train").shuffle(seed=0, buffer_size=1000)',
        "```",
        "",
        "`manifest.json` holds the SHA-256 of every file, `preprocessor_config.json` how the windows were cut and "
        "filtered.",
    ]
    return "\n".join(lines) + "\n"


__all__ = ["shards_card"]
