# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checks of single arguments, which refuse a value with one form of message, and lists of names for messages."""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection, Iterable
from typing import Any, TypeVar


Value = TypeVar("Value")

# what code raises that was given values of other types than it expects: those of a file that was not checked
MALFORMED = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)


def one_of(name: str, value: Value, choices: Collection[Any], hint: str = "") -> Value:
    """Return the value if it is one of the choices.

    Args:
        name: What the message calls the argument, such as "`kind`", "unit" or "--format".
        value: The value.
        choices: The values that are allowed.
        hint: What the message ends with, such as what to do.

    Raises:
        ValueError: It is none of them; the message lists them.
    """
    if value not in choices:
        message = f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}."
        raise ValueError(f"{message} {hint}".rstrip())
    return value


def positive(name: str, value: Any, unit: str = "") -> float:
    """Return the value as a float if it is a finite number above 0; a truth value is not a number.

    Args:
        name: What the message calls the argument.
        value: The value.
        unit: What it counts, in the plural, such as "hertz".

    Raises:
        ValueError: It is not such a number.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a number{f' of {unit}' if unit else ''} above 0, got {value!r}.")
    return float(value)


def int_at_least(name: str, value: Any, least: int = 1, unit: str = "") -> int:
    """Return the value as an int if it is a whole number of at least `least`; a truth value is not a number.

    Args:
        name: What the message calls the argument.
        value: The value.
        least: The smallest number that is allowed.
        unit: What it counts, in the plural, such as "windows".

    Raises:
        ValueError: It is not such a number.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or value < least:
        counted = f" of {unit}, at least {least}" if unit else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{counted}, got {value!r}.")
    return int(value)


def first_names(names: Iterable[Any], most: int = 8) -> str:
    """List the first of many names for a message, and say how many more there are.

    Example:

    ```python
    >>> first_names(["C3", "Cz", "C4"], most=2)
    'C3, Cz and 1 more'
    ```
    """
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


__all__ = ["MALFORMED", "first_names", "int_at_least", "one_of", "positive"]
