# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The method: losses, router, studio, trainer."""

from ..core.requires import check_installed


check_installed(("datasets", "accelerate", "sklearn", "evaluate"), "Distillation")
