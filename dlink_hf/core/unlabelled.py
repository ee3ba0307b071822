# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The label of a window with an unknown class."""

# what `datasets.ClassLabel` takes for no class, too
UNLABELLED = -1

__all__ = ["UNLABELLED"]
