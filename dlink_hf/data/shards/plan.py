# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""From headers to shards: which recordings can be used, which subject is in which split, what is in which file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ...preprocessing.feature_extraction_eeg import EEGFeatureExtractor
from ..build import Header, Plan, read_header
from ..labels import LabelSource
from ..sources import Source
from ..splits import balanced_parts, group_count
from .manifest import SUFFIXES
from .pool import Run
from .write import ShardPlan, bad_file_text


SPLITS = ("train", "validation", "test")
_HEADERS_A_TASK = 32


def usable_recordings(
    sources: Sequence[Source],
    extractor: EEGFeatureExtractor,
    labels: LabelSource,
    run: Run,
    skip_bad_files: bool,
    progress: bool,
) -> tuple[list[Source], list[Header], list[str], list[dict[str, str]]]:
    """Read all headers; tell the recordings that can be used from the others.

    The montage is that of most recordings; of several as frequent that of the first. Others are not filled up.

    Args:
        sources: The recordings, their subjects assigned as far as they are known.
        extractor: Which channels are wanted.
        labels: Where the labels come from.
        run: Of `worker_pool`.
        skip_bad_files: Whether to go on without those that can't be used.
        progress: Whether to show a bar.

    Returns:
        The recordings in use, their headers, the C channels, and the others as `recording` and `reason`.

    Raises:
        ValueError: If one can't be used and is not to be skipped, or none is left.
    """
    tasks = [
        (start, list(sources[start : start + _HEADERS_A_TASK]), extractor, labels)
        for start in range(0, len(sources), _HEADERS_A_TASK)
    ]
    found: list = [None] * len(sources)
    with tqdm(total=len(sources), desc="reading headers", unit="file", disable=not progress, delay=1) as bar:
        for start, results in run(read_headers, tasks):
            found[start : start + len(results)] = results
            bar.update(len(results))
    montages = Counter(frozenset(names) for _, names, reason in found if reason is None)
    wanted = next(
        (names for _, names, reason in found if not reason and montages[frozenset(names)] == max(montages.values())),
        [],
    )
    used, headers, skipped = [], [], []
    for source, (header, names, reason) in zip(sources, found, strict=True):
        if reason is None and set(names) != set(wanted):
            reason = (
                f"it has other channels than most recordings: it lacks {sorted(set(wanted) - set(names)) or 'none'} "
                f"and adds {sorted(set(names) - set(wanted)) or 'none'}; set ch_names to those that all have"
            )
        if reason is None:
            used.append(source)
            headers.append(header)
        elif skip_bad_files:
            skipped.append({"recording": source.name, "reason": reason})
        else:
            raise ValueError(bad_file_text(source.path, reason))
    if not used:
        raise ValueError(f"none of the {len(sources)} recordings can be used; the first: {skipped[0]['reason']}")
    return used, headers, wanted, skipped


def read_headers(
    start: int, sources: Sequence[Source], extractor: EEGFeatureExtractor, labels: LabelSource
) -> tuple[int, list[tuple[Header | None, list[str], str | None]]]:
    """Header and channels of each recording, or why there are none; with `start`, their place among all."""
    results: list = []
    for source in sources:
        try:
            raw = source.open(preload=False)
            _, names = extractor.pick_raw_channels(raw, source.name)
            results.append((read_header(source, raw, labels), names, None))
        except (ValueError, OSError, RuntimeError) as error:
            results.append((None, [], str(error)))
    return start, results


def assign_people(plans: Sequence[Plan], validation: float | int, test: float | int, seed: int) -> dict[str, str]:
    """Put every subject into one split, as `split_by_subject` does: classes balanced as far as possible.

    Args:
        plans: The recordings.
        validation, test: Shares of the subjects below 1, or their numbers.
        seed: Of the assignment.

    Returns:
        Subject to split.

    Raises:
        ValueError: If there are too few subjects.
    """
    people = sorted({plan.subject for plan in plans})
    shares = {"validation": validation, "test": test}
    sizes = [group_count(share, len(people), name, "subject") for name, share in shares.items()]
    if sum(sizes) >= len(people):
        raise ValueError(
            f"{len(people)} subjects are too few for {sizes[0]} in validation, {sizes[1]} in test and a training "
            "split: ask for smaller shares."
        )
    split_of = dict.fromkeys(people, "train")
    if sum(sizes):
        counts = np.zeros((len(people), 1 + max(int(plan.labels.max()) for plan in plans)))
        place = {subject: index for index, subject in enumerate(people)}
        for plan in plans:
            np.add.at(counts[place[plan.subject]], plan.labels, 1)
        # labels that no one has would count as absent
        parts = balanced_parts(counts[:, counts.any(axis=0)], list(range(len(people))), sizes, seed)
        for name, part in zip(shares, parts, strict=True):
            split_of.update({people[index]: name for index in part})
    return split_of


def plan_shards(
    plans: Sequence[Plan],
    split_of: dict[str, str],
    windows_per_shard: float,
    seed: int,
    format: str,
) -> dict[str, list[ShardPlan]]:
    """Group the recordings of each split into shards of about one size, the subjects mixed.

    A recording is read once, so it is in one shard; one that is larger than a shard has one of its own.

    Args:
        plans: The recordings; their windows are numbered in this order.
        split_of: Subject to split.
        windows_per_shard: How many windows a shard has, about.
        seed: Of all orders.
        format: "parquet" or "webdataset".

    Returns:
        Split to its shards, in the order in which they are numbered.
    """
    firsts = np.concatenate([[0], np.cumsum([len(plan.onsets) for plan in plans])]).tolist()
    shards: dict[str, list[ShardPlan]] = {}
    for number, split in enumerate(SPLITS):
        members = [index for index, plan in enumerate(plans) if split_of[plan.subject] == split]
        if not members:
            continue
        order = _mixed_order(members, plans, np.random.default_rng([seed, number]))
        ends = np.cumsum([len(plans[index].onsets) for index in order])
        n_shards = max(1, round(ends[-1] / windows_per_shard))
        groups: dict[int, list[int]] = {}
        for index, end in zip(order, ends, strict=True):
            middle = end - len(plans[index].onsets) / 2
            groups.setdefault(int(middle * n_shards / ends[-1]), []).append(index)
        shards[split] = [
            ShardPlan(
                f"data/{split}-{place:05d}-of-{len(groups):05d}{SUFFIXES[format]}",
                [seed, number, place],
                [(plans[index], firsts[index]) for index in group],
            )
            for place, group in enumerate(groups.values())
        ]
    return shards


def _mixed_order(members: list[int], plans: Sequence[Plan], rng: np.random.Generator) -> list[int]:
    """A random order in which the recordings of a subject are as far apart as they can."""
    of_person: dict[str, list[int]] = {}
    for index in members:
        of_person.setdefault(plans[index].subject, []).append(index)
    places = {}
    for own in of_person.values():
        for turn, index in enumerate(rng.permutation(own)):
            places[int(index)] = (turn + rng.random()) / len(own)
    return sorted(places, key=places.get)


def unknown_files(folder: Path, shards: dict[str, list[ShardPlan]]) -> list[str]:
    """Return the files in `data/` that belong to no shard of the plan."""
    known = {Path(shard.name).name for members in shards.values() for shard in members}
    return sorted(path.name for path in (folder / "data").glob("[!.]*") if path.name not in known)


__all__ = ["SPLITS", "assign_people", "plan_shards", "unknown_files", "usable_recordings"]
