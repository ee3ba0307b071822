# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Names of public data sets and their subjects: what is meant, or the nearest there is; and failed downloads."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


def find_name(name: str, known: Mapping[str, Any], prefix: str, what: str) -> Any:
    """Return the entry of a name.

    Args:
        name: The name wanted.
        known: All there are.
        prefix: What comes before the colon.
        what: What these are, for the message.

    Returns:
        Its value.

    Raises:
        ValueError: If there is none; the message lists names like it.
    """
    if name in known:
        return known[name]
    lower = {key.lower(): key for key in known}
    near = [lower[key] for key in difflib.get_close_matches(name.lower(), lower, n=5, cutoff=0.5)]
    if near:
        advice = f"did you mean {', '.join(f'{prefix}:{key}' for key in near)}?"
    else:
        advice = f"there are {', '.join(sorted(known))}."
    raise ValueError(f"{name!r} is none of {what}: {advice}")


def pick_subjects(subjects: Any, known: Sequence, name: str) -> list:
    """Return the subjects wanted, as the set itself spells them.

    Args:
        subjects: One or several, as numbers or text; None for all.
        known: All that the set has.
        name: Of the set, for the message.

    Returns:
        Entries of `known`, in the order asked for.

    Raises:
        ValueError: If one is unknown, or none is asked for.
    """
    if subjects is None:
        return list(known)
    wanted = [subjects] if isinstance(subjects, (str, int)) else list(subjects)
    of_text = {str(subject): subject for subject in known}
    unknown = [subject for subject in wanted if str(subject) not in of_text]
    if unknown or not wanted:
        given = f"{', '.join(list(of_text)[:20])}{f' ... ({len(of_text)} in all)' if len(of_text) > 20 else ''}"
        asked = f"has no subject {', '.join(map(repr, unknown))}" if unknown else "was asked for no subject at all"
        raise ValueError(f"{name} {asked}; its subjects are {given}.")
    return [of_text[str(subject)] for subject in dict.fromkeys(map(str, wanted))]


@contextmanager
def fetching(name: str) -> Iterator[None]:
    """Turn what a library's own download fails with into one sentence.

    Raises:
        OSError: In place of any `OSError` within the block, the errors of connections among them.
    """
    try:
        yield
    except OSError as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise OSError(
            f"the recordings of {name} could not be fetched or read: {type(error).__name__}: {reason}. They are "
            "downloaded when they are first used: is there a connection, and room on the disk? What is already there "
            "is not downloaded again."
        ) from error


__all__ = ["fetching", "find_name", "pick_subjects"]
