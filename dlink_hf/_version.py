# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The package's version: the one place that setup.py and the modules read."""

__version__ = "0.1.0"
