# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""An exported student, run by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.checks import int_at_least
from .exported_student import ExportedStudent, Runner


MODEL_FILE = "model.onnx"


class OnnxStudent(ExportedStudent):
    """An exported student that ONNX Runtime runs on the CPU; see [`ExportedStudent`] for what it takes and refuses.

    Example:

    ```python
    >>> from dlink_hf import OnnxStudent
    >>> student = OnnxStudent.from_pretrained("outputs/export/int8")
    >>> student(windows).logits  # windows (B, C, T) in microvolts
    ```
    """

    backend = "onnx"
    model_file = MODEL_FILE

    @staticmethod
    def make_runner(weights: bytes, n_threads: int | None = None) -> Runner:
        """Return what runs the bytes of an ONNX file.

        Raises:
            ImportError: ONNX Runtime is not installed.
            ValueError: the bytes are no model that it can run, or `n_threads` is below 1.
        """
        session = make_session(weights, 1 if n_threads is None else n_threads)

        names = sorted(one.name for one in session.get_inputs())
        if "input_values" not in names or [one.name for one in session.get_outputs()] != ["logits"]:
            raise ValueError(
                f"This ONNX model takes {', '.join(names)}: it is not an exported student, which takes input_values "
                "and gives logits. Export the student again."
            )

        def run(values: np.ndarray, positions: np.ndarray | None) -> np.ndarray:
            given = {} if positions is None else {"channel_positions": positions}
            return session.run(["logits"], {"input_values": values, **given})[0]

        shapes = {one.name: list(one.shape) for one in (*session.get_inputs(), *session.get_outputs())}
        run.shapes = shapes  # type: ignore[attr-defined]
        return run


def make_session(weights: bytes, n_threads: int = 1) -> Any:
    """Return an `onnxruntime.InferenceSession` on the CPU.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: the bytes are no model that it can run, or `n_threads` is below 1.
    """
    int_at_least("n_threads", n_threads)
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "Exported students are run by ONNX Runtime, which is not installed: pip install 'dlink-hf[export]', or "
            "only onnxruntime on a device."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = n_threads, 1
    # errors are raised; warnings would go past Python's own log
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common base class but this one
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run this model: {error}. A newer ONNX Runtime may; or "
            "export the student again."
        ) from error


__all__ = ["MODEL_FILE", "OnnxStudent", "make_session"]
