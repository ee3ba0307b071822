# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""A Hub on loopback for the tests, which the real `huggingface_hub` client reads from and writes to."""
