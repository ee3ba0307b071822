# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A model on recordings."""
