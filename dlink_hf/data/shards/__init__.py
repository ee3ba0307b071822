# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Corpora in shards: prepared once, read as rows or as a stream."""

from ...core.old_paths import names_of_old_module
from ...core.requires import check_installed


check_installed(("datasets",), "A corpus in shards")

__getattr__ = names_of_old_module(__name__)
