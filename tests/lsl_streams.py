# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""LSL streams for tests: real outlets in processes of their own, on this machine alone.

By hand: `python tests/lsl_streams.py '[{"name": "mine", "ch_names": ["C3", "Cz"]}]'`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


CONFIG = "[multicast]\nResolveScope = machine\n[ports]\nIPv6 = disable\n[log]\nlevel = -3\n"


def stay_on_this_machine() -> None:
    """Keep LSL, in this process and its children, to this machine; before pylsl is imported."""
    path = Path(tempfile.gettempdir(), f"dlink-tests-lsl-{os.getpid()}.cfg")
    path.write_text(CONFIG)
    os.environ["LSLAPICFG"] = str(path)


def unique_name() -> str:
    """A name that no test that runs beside this one has."""
    return f"test-{uuid.uuid4().hex[:10]}"


@contextmanager
def outlets(*options: dict[str, Any]) -> Iterator[subprocess.Popen]:
    """A process that sends streams, killed at the end; see `serve` for the options of each."""
    process = subprocess.Popen([sys.executable, __file__, json.dumps(options)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


def serve(streams: list[dict[str, Any]]) -> None:
    """Send streams for ever: sample k of channel c is C k + c, 20 ms a chunk, stamped by when it is due."""
    import time

    import pylsl

    sending, silent = [], []
    for options in streams:
        names = options.get("ch_names", ["C3", "Cz", "C4", "Pz"])
        sfreq, kind = options.get("sfreq", 200.0), options.get("format", "float32")
        info = pylsl.StreamInfo(
            options["name"], options.get("type", "EEG"), len(names), sfreq, kind, options.get("source_id", "")
        )
        if options.get("is_described", True):
            info.set_channel_labels(names)
            for key in ("types", "units"):
                if key in options:
                    getattr(info, f"set_channel_{key}")(options[key])
        outlet = pylsl.StreamOutlet(info)
        is_sent = sfreq > 0 and kind != "string"
        # an outlet that nobody holds is gone
        (sending if is_sent else silent).append((outlet, len(names), sfreq, round(0.02 * sfreq)))
    print("ready", flush=True)
    start, n_chunks = pylsl.local_clock(), 0
    while True:
        n_chunks += 1
        # on schedule after a stop too: what was held up comes in one burst
        time.sleep(max(0.0, start + 0.02 * n_chunks - pylsl.local_clock()))
        for outlet, count, sfreq, size in sending:
            first = (n_chunks - 1) * size
            chunk = [[count * k + c for c in range(count)] for k in range(first, first + size)]
            outlet.push_chunk(chunk, [start + k / sfreq for k in range(first, first + size)])


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
