# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model costs: size, time, memory, energy."""

from ..core.old_paths import names_of_old_module


__getattr__ = names_of_old_module(__name__)
