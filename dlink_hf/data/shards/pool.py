# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Work in several processes: one thread each, no process left behind, an error of one stops all."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

import dill


_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")

# run(function, tasks) gives function(*task) of each, in the order in which they end
Run = Callable[[Callable, Iterable[tuple]], Iterator[Any]]


@contextmanager
def worker_pool(num_proc: int) -> Iterator[Run]:
    """A function that runs tasks in `num_proc` fresh processes (spawned); in this one where it is 1.

    No more tasks are handed out than processes can start on at once, so that memory does not grow with their number.
    After an error those that run are waited for, the others are dropped. A process ends when this one is killed.

    Args:
        num_proc: Number of processes.

    Yields:
        `run(function, tasks)`, an iterator over what `function(*task)` returns.

    Raises:
        ValueError: If `num_proc` is below 1.
        RuntimeError: While running, if a process was killed.
    """
    if isinstance(num_proc, bool) or not isinstance(num_proc, int) or num_proc < 1:
        raise ValueError(f"num_proc={num_proc!r}: give a number of processes, at least 1.")
    if num_proc == 1:
        yield lambda function, tasks: (function(*task) for task in tasks)
        return
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    # read when a process starts, and processes start with the first task
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_proc, mp_context=context, initializer=_follow_parent)
    try:
        yield lambda function, tasks: _run(pool, 2 * num_proc, function, iter(tasks))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _run(pool: ProcessPoolExecutor, limit: int, function: Callable, tasks: Iterator[tuple]) -> Iterator[Any]:
    def hand_out(count: int) -> set[Future]:
        # dill, because recordings are opened by closures
        return {pool.submit(_call, function, dill.dumps(task)) for task in islice(tasks, count)}

    try:
        running = hand_out(limit)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= hand_out(len(done))
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a worker process died: it was killed, perhaps for want of memory, or could not start. Take fewer "
            "processes (num_proc) or smaller shards (shard_mb); what is whole is kept. A script that calls this with "
            "num_proc above 1 must do so under `if __name__ == '__main__':`."
        ) from error


def _call(function: Callable, task: bytes) -> Any:
    return function(*dill.loads(task))


def _follow_parent() -> None:
    """Let only the parent answer Ctrl-C, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


__all__ = ["Run", "worker_pool"]
