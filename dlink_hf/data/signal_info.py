# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The names of `signal_facts` under their former address."""

from .signal_facts import SignalInfo, build_report, concatenate_windows, set_signal_info, signal_info


__all__ = ["SignalInfo", "build_report", "concatenate_windows", "set_signal_info", "signal_info"]
