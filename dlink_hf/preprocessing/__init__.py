# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""From a recording to windows in microvolts: reading, channels, filters, alignment."""
