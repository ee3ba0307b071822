# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""An exported student, run by ExecuTorch."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..core.checks import int_at_least
from .exported_student import ExportedStudent, Runner


MODEL_FILE = "model.pte"

# programs keep the pool of threads that they were loaded with
_loaded: list[bool] = []


class ExecutorchStudent(ExportedStudent):
    """An exported student that ExecuTorch runs on the CPU; see [`ExportedStudent`] for what it takes and refuses.

    The file holds a program for one window; windows go through it one by one, on as many threads as ExecuTorch takes.

    Example:

    ```python
    >>> from dlink_hf import ExecutorchStudent
    >>> student = ExecutorchStudent.from_pretrained("outputs/export/int8")
    >>> student(windows).logits  # windows (B, C, T) in microvolts
    ```
    """

    backend = "executorch"
    model_file = MODEL_FILE

    @staticmethod
    def make_runner(weights: bytes, n_threads: int | None = None) -> Runner:
        """Return what runs the bytes of an ExecuTorch program.

        Raises:
            ImportError: ExecuTorch is not installed.
            ValueError: the bytes are no program that it can run, or `n_threads` can't be had any more.
        """
        if n_threads is not None:
            set_threads(n_threads)
        program = make_program(weights)

        def run(values: np.ndarray, positions: np.ndarray | None) -> np.ndarray:
            # asked of the program each time (it is loaded once): a method that is kept outlives the bytes it reads
            method = program.load_method("forward")
            logits = [method.execute([window])[0].numpy().copy() for window in torch.from_numpy(values).split(1)]
            return np.concatenate(logits)

        return run


@contextmanager
def quiet() -> Iterator[None]:
    """Keep from the user what ExecuTorch, torchao and torch say of one another at import and at work."""
    loggers = [logging.getLogger(name) for name in ("torchao", "torch.utils._pytree")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def import_runtime() -> Any:
    """Return the module `executorch.runtime`.

    Raises:
        ImportError: ExecuTorch, or a package that it needs, is not installed.
    """
    try:
        with quiet():
            import executorch.runtime
    except ImportError as error:
        raise ImportError(
            f"Students in its format are run by ExecuTorch, which is not there ({error}): pip install "
            "'dlink-hf[executorch]'."
        ) from error
    return executorch.runtime


def set_threads(n_threads: int) -> None:
    """Set the number of threads of ExecuTorch, which has one pool for the whole process, as large as it finds cores.

    Raises:
        ImportError: ExecuTorch is not installed.
        ValueError: the number is below 1, or it is another than that of a program that was loaded before.
    """
    int_at_least("n_threads", n_threads)
    import_runtime()
    from executorch.extension.pybindings import portable_lib

    found = portable_lib._threadpool_get_thread_count()
    if found == n_threads:
        return
    if _loaded:
        # a program whose pool is taken away hangs
        raise ValueError(
            f"ExecuTorch has one pool of threads for the whole process, and a program is loaded already that uses "
            f"{found} of them: give n_threads={n_threads} to the first that is loaded, or leave it out."
        )
    portable_lib._unsafe_reset_threadpool(n_threads)


def make_program(weights: bytes) -> Any:
    """Return an `executorch.runtime.Program` with the method `forward`.

    Raises:
        ImportError: ExecuTorch is not installed.
        ValueError: the bytes are no program that it can run.
    """
    runtime = import_runtime()
    try:
        program = runtime.Runtime.get().load_program(weights)
        program.load_method("forward")
        _loaded.append(True)
    except (RuntimeError, KeyError) as error:
        raise ValueError(
            f"This ExecuTorch cannot run the program ({error}): it was made by another version, or lacks a backend "
            "here. Export the student again with the version that runs it."
        ) from error
    return program


__all__ = ["MODEL_FILE", "ExecutorchStudent", "import_runtime", "make_program", "quiet", "set_threads"]
