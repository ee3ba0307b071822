# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The labels of a window, and of a place in a stretch, whose class is unknown."""

# what `datasets.ClassLabel` takes for no class, too
UNLABELLED = -1
# what the cross-entropy of PyTorch leaves out
IGNORED = -100

__all__ = ["IGNORED", "UNLABELLED"]
