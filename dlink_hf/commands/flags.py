# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""How sub-commands read their arguments: flags, or one YAML or JSON file."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import field
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


# flags of TrainingArguments that `--help` shows, in short; all the others work too and are listed by transformers
_COMMON_TRAINING = {
    "output_dir": "Folder that everything is written to.",
    "num_train_epochs": "Epochs; 0 for the recipe's number of steps: 32 epochs, at least 800 steps and at most 2,000.",
    "max_steps": "Steps, in place of epochs.",
    "per_device_train_batch_size": "Windows in a batch.",
    "gradient_accumulation_steps": "Batches that make up one step.",
    "learning_rate": "Highest learning rate.",
    "weight_decay": "Weight decay of AdamW.",
    "warmup_steps": "Steps of warm-up; below 1, a share of all.",
    "lr_scheduler_type": "Course of the learning rate.",
    "seed": "Seed of weights and order.",
    "bf16": "Train in bfloat16.",
    "use_cpu": "Train on the CPU even where there is a GPU.",
    "report_to": "Where curves go: tensorboard, wandb ...",
    "logging_steps": "Steps between two lines of the log.",
    "eval_strategy": "When to score: no, steps or epoch.",
    "save_strategy": "When to save: no, steps or epoch.",
    "metric_for_best_model": "Score that --load_best_model_at_end and --early_stopping_patience go by.",
    "resume_from_checkpoint": "Go on from this checkpoint, or (True) from the last.",
    "dataloader_num_workers": "Processes that read windows.",
    "mimic_epochs": "Epochs of a first stage of layers and spectra alone.",
    "class_weighting": "balanced, or none.",
    "early_stopping_patience": "Stop after so many evaluations without a better score.",
    "save_studio": "Also save teacher, router and decoder.",
    "teacher_cache_dir": "Store the teacher's features here, and train from them.",
}


def arg(default: Any, help: str) -> Any:
    """A dataclass field with the help text that `--help` prints."""
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


class FlagParser(argparse.ArgumentParser):
    """A flag for every field of dataclasses, in the form of transformers' `HfArgumentParser`, which it spares.

    Args:
        classes: dataclasses of fields of type str, int, float or bool, a list of these, or one of them or None.
        **kwargs: as of `argparse.ArgumentParser`.
    """

    def __init__(self, classes: Sequence[type], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._classes = classes
        for cls in classes:
            hints = get_type_hints(cls)
            for each in dataclasses.fields(cls):
                self._add(each, hints[each.name])

    def _add(self, each: dataclasses.Field, hint: Any) -> None:
        options = [f"--{each.name}"] + ([f"--{each.name.replace('_', '-')}"] if "_" in each.name else [])
        default: Any = each.default
        if each.default_factory is not dataclasses.MISSING:
            default = each.default_factory()
        kinds = [kind for kind in get_args(hint) if kind is not type(None)] if isinstance(hint, UnionType) else [hint]
        kind, given = kinds[0], {"default": default, "help": each.metadata.get("help")}
        if get_origin(kind) is list:
            self.add_argument(*options, nargs="+", type=get_args(kind)[0], **given)
        elif kind is bool:
            self.add_argument(*options, nargs="?", const=True, type=_truth, **given)
            if default is True:
                no = [f"--no_{each.name}", f"--no-{each.name.replace('_', '-')}"]
                self.add_argument(*no, action="store_false", dest=each.name, **given)
        else:
            self.add_argument(*options, type=kind, **given)

    def parse_args_into_dataclasses(self, args: Sequence[str], return_remaining_strings: bool = True) -> list[Any]:
        """Return an object of each class, and the words that were not understood."""
        space, rest = self.parse_known_args(args)
        return [*self.parse_dict(vars(space)), rest]

    def parse_dict(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return an object of each class of the values of its fields."""
        return tuple(
            cls(**{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values})
            for cls in self._classes
        )


def _truth(text: str) -> bool:
    known = {"yes": True, "true": True, "t": True, "y": True, "1": True}
    known |= {"no": False, "false": False, "f": False, "n": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"a truth value is True or False, got {text!r}")
    return known[text.lower()]


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with one spelling of each flag, and defaults only where they say something."""

    def _get_help_string(self, action: argparse.Action) -> str:
        empty = action.default in (None, "", argparse.SUPPRESS)
        return action.help if empty else super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        options = action.option_strings
        if not options or action.dest == "help":
            return super()._format_action_invocation(action)
        return options[0] if action.nargs == 0 else f"{options[0]} {action.dest.rsplit('_', 1)[-1].upper()}"


def named(argv: Sequence[str], *flags: str) -> list[str]:
    """The words of a command, its first ones named by `flags`: `DIR user/name` gives `--folder DIR --repo_id ...`."""
    words, found = list(argv), []
    for flag in flags:
        if not words or words[0].startswith("-") or words[0].endswith((".yaml", ".yml", ".json")):
            break
        found += [flag, words.pop(0)]
    return found + words


def parse(
    command: str,
    description: str,
    classes: Sequence[type],
    argv: Sequence[str],
    defaults: dict[str, Any] | None = None,
) -> tuple[Any, ...]:
    """Read the arguments of a sub-command from flags, or from one YAML or JSON file.

    Args:
        command: the sub-command, for the messages.
        description: what it does, for `--help`.
        classes: dataclasses, one object of each is returned.
        argv: the words after the sub-command.
        defaults: values of fields where neither flags nor file give one.

    Returns:
        one object of each class.

    Raises:
        FileNotFoundError: the file of arguments does not exist.
        ValueError: the file holds a key that no argument has.
        SystemExit: flags are not understood (status 2), or help was asked for (status 0).
    """
    make: Any = FlagParser
    if not all(cls.__module__.startswith(__package__) for cls in classes):
        # transformers' training arguments have types that only its own parser knows
        make = import_module("transformers").HfArgumentParser
    parser = make(
        list(classes),
        prog=f"dlink {command}",
        description=description + " Flags can also be put in one file: `dlink " + command + " FILE.yaml` (or .json).",
        formatter_class=_HelpFormatter,
        usage=f"dlink {command} [--flags | FILE.yaml | FILE.json]",
    )
    names = {f.name for cls in classes for f in dataclasses.fields(cls) if f.init}
    parser.set_defaults(**{key: value for key, value in (defaults or {}).items() if key in names})
    own = {f.name for cls in classes if cls.__module__.startswith(__package__) for f in dataclasses.fields(cls)}
    for action in parser._actions:
        if action.dest not in own | set(_COMMON_TRAINING) | {"help"}:
            action.help = argparse.SUPPRESS
        elif any(option.startswith("--no_") for option in action.option_strings):
            action.help = f"The same as --{action.dest} False."
            action.default = argparse.SUPPRESS
        elif action.dest not in own and action.dest in _COMMON_TRAINING:
            action.help = _COMMON_TRAINING[action.dest]
    if len(argv) == 1 and argv[0].endswith((".yaml", ".yml", ".json")):
        return _parse_file(parser, Path(argv[0]), names, defaults or {})
    *objects, rest = parser.parse_args_into_dataclasses(list(argv), return_remaining_strings=True)
    if rest:
        parser.error(f"not understood: {' '.join(rest)} (dlink {command} --help lists the flags)")
    return tuple(objects)


def _parse_file(parser: Any, path: Path, names: set[str], defaults: dict[str, Any]) -> tuple[Any, ...]:
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"There is no file of arguments {path}.")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold one mapping of arguments to values, got {type(values).__name__}.")
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(f"{path} holds unknown arguments: {', '.join(unknown)}.")
    return parser.parse_dict({**{k: v for k, v in defaults.items() if k in names}, **values})


__all__ = ["FlagParser", "arg", "named", "parse"]
