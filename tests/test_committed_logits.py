# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The checkpoints in model_cards/ and in the package give the numbers that they gave when they were committed.

    python tests/test_committed_logits.py

writes committed_logits.json again. Do so for a new checkpoint only: a change of the code must not change the numbers
of a checkpoint that somebody may have downloaded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dlink_hf


ROOT = Path(__file__).resolve().parent.parent
COMMITTED = Path(__file__).parent / "committed_logits.json"
CHECKPOINTS = {
    path.parent.relative_to(ROOT).as_posix(): path.parent
    for folder in ("model_cards", "dlink_hf/checkpoints")
    for path in sorted((ROOT / folder).glob("*/config.json"))
}
N_ENTRIES = 256
# Another processor sums in another order: 24 bits over some ten layers leave about 1e-6 of the largest value. Small
# entries are differences of large ones, so the error is measured against the largest and not each against itself.
TOLERANCE = 1e-5


def load(folder: Path) -> torch.nn.Module:
    """Load the checkpoint of a folder into the class that its config names."""
    architecture = json.loads((folder / "config.json").read_text("utf-8"))["architectures"][0]
    if architecture == "DLinkTeacherModel":
        pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")
    return getattr(dlink_hf, architecture).from_pretrained(folder).eval()


def output_of(model: torch.nn.Module) -> torch.Tensor:
    """Compute the logits of two windows of noise; of a model without a head, entries of its states, evenly spread.

    Args:
        model: a student or teacher, in evaluation mode.

    Returns:
        (2, num_labels), or (n,) with n at most 3 * `N_ENTRIES`.
    """
    shape = (2, len(model.config.ch_names), model.config.n_times)
    # uniform noise of -30 ... 30 microvolts: its bits are the same everywhere, those of `randn` are not
    windows = 60 * torch.rand(shape, generator=torch.Generator().manual_seed(7)) - 30
    with torch.no_grad():
        output = model(windows, output_hidden_states=True)
    if "logits" in output:
        return output.logits
    states = [output.last_hidden_state, output.hidden_states[0], output.get("compressed_state")]
    return torch.cat([spread(state) for state in states if state is not None])


def spread(values: torch.Tensor) -> torch.Tensor:
    """At most `N_ENTRIES` of the entries, evenly spread."""
    flat = values.flatten()
    return flat[torch.linspace(0, len(flat) - 1, min(N_ENTRIES, len(flat)), dtype=torch.float64).long()]


def test_every_checkpoint_has_committed_numbers():
    assert set(json.loads(COMMITTED.read_text("utf-8"))) == set(CHECKPOINTS) and len(CHECKPOINTS) >= 7


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_gives_the_numbers_that_it_gave(name):
    expected = np.array(json.loads(COMMITTED.read_text("utf-8"))[name])
    found = output_of(load(CHECKPOINTS[name])).numpy()
    assert found.shape == expected.shape and np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_a_small_change_of_one_layer_is_found():
    name = "dlink_hf/checkpoints/dlink-mic-small"
    expected = np.array(json.loads(COMMITTED.read_text("utf-8"))[name])
    model = load(CHECKPOINTS[name])
    with torch.no_grad():
        model.blocks[0].get_parameter(next(name for name, _ in model.blocks[0].named_parameters())).mul_(1.001)
    off = np.abs(output_of(model).numpy() - expected).max()
    assert off > 3 * TOLERANCE * np.abs(expected).max()


def main() -> None:
    torch.set_num_threads(1)
    found = {name: output_of(load(folder)).tolist() for name, folder in CHECKPOINTS.items()}
    # one line a checkpoint
    lines = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in found.items()]
    COMMITTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    print(f"{len(found)} checkpoints -> {COMMITTED}, by {dlink_hf.__file__}", file=sys.stderr)


if __name__ == "__main__":
    main()
