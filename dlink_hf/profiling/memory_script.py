# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Memory that a model takes in a process of its own: run as a script, whose last line of output is the answer.

Only the standard library is imported above: what a process weighs before anything else is part of the answer.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any


# by its path: with the package around it, it would weigh 2 MB in every process that is measured
_folder = os.path.dirname(__file__)  # noqa: PTH120 (pathlib would weigh something too)
_spec = spec_from_file_location("kernel_memory", f"{_folder}/kernel_memory.py")
_readers = module_from_spec(_spec)
_spec.loader.exec_module(_readers)
kernel_memory, reset_kernel_peak = _readers.kernel_memory, _readers.reset_kernel_peak


def _resident(field: str) -> int:
    found = kernel_memory(field)
    if found is None:
        import resource

        # elsewhere only the peak is known; macOS counts it in bytes
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return found


def _run_onnx(task: dict[str, Any]) -> tuple[int, int]:
    import numpy
    import onnxruntime

    imported, import_peak = _resident("VmRSS"), _resident("VmHWM")
    reset_kernel_peak()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = task["n_threads"], 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(task["path"], options, providers=["CPUExecutionProvider"])
    for _ in range(task["n_runs"]):
        session.run(None, {"input_values": numpy.ones(task["shape"], dtype=numpy.float32)})
    return imported, import_peak


def _run_torch(task: dict[str, Any]) -> tuple[int, int]:
    import torch

    from dlink_hf.profiling.models import Window, build_model, import_parts
    from dlink_hf.profiling.runtimes import load_executorch, make_runner

    import_parts(task["model"], task["backend"])
    torch.set_num_threads(task["n_threads"])
    imported, import_peak = _resident("VmRSS"), _resident("VmHWM")
    reset_kernel_peak()
    if task["backend"] == "executorch":
        call = load_executorch(task["path"], task["n_threads"])
    else:
        call = make_runner(build_model(task["model"], Window(**task["window"])), task["backend"])
    with torch.inference_mode():
        for _ in range(task["n_runs"]):
            call(input_values=torch.ones(task["shape"]))
    return imported, import_peak


def main() -> None:
    """Entry of the script: a task as JSON in, bytes as JSON out."""
    bare = _resident("VmRSS")
    task = json.loads(sys.argv[1])
    imported, import_peak = (_run_onnx if task["backend"] in ("onnx", "int8") else _run_torch)(task)
    peak = _resident("VmHWM")
    print(
        json.dumps(
            {
                "interpreter": bare,
                "beyond_interpreter": max(peak, import_peak) - bare,
                "beyond_imports": max(peak - imported, 0),
            }
        )
    )


if __name__ == "__main__":
    main()
