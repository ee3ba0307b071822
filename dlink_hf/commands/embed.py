# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""`dlink embed`: one vector for every window of a folder of recordings, as a Parquet table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..core.atomic_files import staged
from ..core.requires import require
from ..inference.feature_pipeline import EEGFeatureExtractionPipeline
from ..inference.loading import pipeline
from ..preprocessing.recordings import find_recordings
from .arguments import arg, named, parse
from .reading import ReadingArguments, with_reading


DESCRIPTION = (
    "Describe every window of a folder of recordings by one vector: `dlink embed FOLDER --model DIR --output "
    "embeddings.parquet`. One row per window: recording, onset and duration in seconds, reason, embedding."
)


@dataclass
class EmbedArguments(ReadingArguments):
    """Which recordings, by which model, and where the table goes."""

    folder: str = arg("", "Folder of recordings, of any depth, or one recording; also the first word after `embed`.")
    model: str = arg("dlink-mic-small", "Folder, Hub id or short name of a student or a teacher; it needs no head.")
    output: str = arg("embeddings.parquet", "Table to write.")
    state: str | None = arg(None, "`compressed` (a student's default), `mimic` or `tokens` (a teacher's).")
    pooling: str = arg("mean", "Of mimic and tokens: `mean` over channels and patches, or `channels`: over patches.")
    stride_seconds: float | None = arg(None, "From one window to the next, in seconds; the model's own.")
    skip_broken: bool = arg(False, "Leave out recordings that can't be read, and name them.")


def write_embeddings(
    pipe: EEGFeatureExtractionPipeline,
    paths: Sequence[Path],
    root: Path,
    output: Path,
    *,
    facts: dict[str, Any],
    skip_broken: bool = False,
    **options: Any,
) -> tuple[int, dict[str, str]]:
    """Write the features of recordings as a Parquet table, one recording after the other.

    Args:
        pipe: what makes the features.
        paths: of the recordings.
        root: folder that the column `recording` is relative to.
        output: file to write; replaced when the new one is complete.
        facts: JSON values, kept in the table's metadata under `dlink_hf`.
        skip_broken: leave out recordings that can't be used rather than raise.
        **options: of the pipeline's call.

    Returns:
        number of windows, and recording -> why it was left out.

    Raises:
        ImportError: pyarrow is missing.
        OSError, ValueError: a recording can't be used, or none can, or the file can't be written.
    """
    arrow, parquet = (require(name, "Writing Parquet") for name in ("pyarrow", "pyarrow.parquet"))
    n_windows, left_out, writer = 0, {}, None
    with staged(output.parent) as partial:
        try:
            for path in tqdm(paths, desc="embed", unit="recording"):
                name = path.relative_to(root).as_posix()
                try:
                    windows: Any = pipe(path, **options)
                except (OSError, ValueError) as error:
                    if not skip_broken:
                        raise ValueError(f"{name}: {error} (--skip_broken leaves such recordings out)") from error
                    left_out[name] = str(error)
                    continue
                features = np.stack([window["features"] for window in windows])
                flat = arrow.array(features.ravel(), type=arrow.float32())
                columns = {
                    "recording": arrow.array([name] * len(windows)),
                    "onset": arrow.array([window["onset"] for window in windows], type=arrow.float64()),
                    "duration": arrow.array([window["duration"] for window in windows], type=arrow.float64()),
                    "reason": arrow.array([window["reason"] for window in windows], type=arrow.string()),
                    "embedding": arrow.FixedSizeListArray.from_arrays(flat, features.shape[1]),
                }
                table = arrow.table(columns, metadata={"dlink_hf": json.dumps(facts)})
                if writer is None:
                    writer = parquet.ParquetWriter(partial / output.name, table.schema)
                writer.write_table(table)
                n_windows += len(windows)
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise ValueError("no recording could be used: " + "; ".join(f"{k}: {v}" for k, v in left_out.items()))
    return n_windows, left_out


def run(argv: Sequence[str]) -> None:
    """Entry of `dlink embed`.

    Raises:
        ValueError: an argument is missing or unknown, or a recording can't be used.
    """
    (args,) = parse("embed", DESCRIPTION, (EmbedArguments,), named(argv, "--folder"))
    if not args.folder:
        raise ValueError("say which recordings: dlink embed FOLDER --model DIR.")
    folder, output = Path(args.folder), Path(args.output)
    if output.suffix != ".parquet":
        raise ValueError(f"--output is a Parquet table, NAME.parquet, got {args.output!r}.")
    paths, root = ([folder], folder.parent) if folder.is_file() else (find_recordings(folder), folder)
    choice = {"pooling": args.pooling, **({} if args.state is None else {"state": args.state})}
    pipe: Any = pipeline("eeg-feature-extraction", model=args.model, **choice)
    pipe.feature_extractor = with_reading(pipe.feature_extractor, args)
    options = {name: getattr(args, name) for name in ("stride_seconds", "unit") if getattr(args, name) is not None}
    facts = {"model": args.model, "state": args.state or "default", "pooling": args.pooling}
    n_windows, left_out = write_embeddings(
        pipe, paths, root, output, facts=facts, skip_broken=args.skip_broken, **options
    )
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    print(f"{n_windows} windows of {len(paths) - len(left_out)} recordings written to {output}")


__all__ = ["EmbedArguments", "run", "write_embeddings"]
