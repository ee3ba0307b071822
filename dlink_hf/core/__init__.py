# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What needs nothing else of the package: files, downloads, electrode names, the record of an export."""
