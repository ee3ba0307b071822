# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Public data sets by name."""

from ...core.requires import check_installed


check_installed(("datasets", "pandas"), "Loading a public data set")
