# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What the kernel of Linux says of the memory of this process; it imports nothing, so that it weighs nothing."""

from __future__ import annotations


def kernel_memory(field: str) -> int | None:
    """Read this process's resident memory from the kernel.

    Args:
        field: `VmRSS` for what is resident now, `VmHWM` for the most since the start or [`reset_kernel_peak`].

    Returns:
        bytes; None where the kernel does not say, as on systems other than Linux.
    """
    try:
        with open("/proc/self/status") as file:
            return next((1024 * int(line.split()[1]) for line in file if line.startswith(f"{field}:")), None)
    except OSError:
        return None


def reset_kernel_peak() -> bool:
    """Bring the high-water mark down to what is resident now (Linux, `man proc_pid_clear_refs`); False if it can't."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return kernel_memory("VmHWM") is not None


__all__ = ["kernel_memory", "reset_kernel_peak"]
