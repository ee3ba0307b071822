# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The label of a window whose class nobody told."""

# what `datasets.ClassLabel` takes for no class, too
UNLABELLED = -1

__all__ = ["UNLABELLED"]
