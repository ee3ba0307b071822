# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""What of a teacher is trained (all of it, its head, or low-rank adapters), and how fast each of its layers learns."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import PreTrainedModel, TrainerCallback

from ..core.checks import one_of
from ..models.teacher.configuration_teacher import BACKBONES


ADAPTATIONS = ("full", "probe", "lora")


def check_is_teacher(model: nn.Module, what: str) -> None:
    """Refuse a model whose layers are not known.

    Args:
        model: any.
        what: what was asked of it, for the message.

    Raises:
        ValueError: the model is not a teacher.
    """
    if getattr(getattr(model, "base_model", None), "backbone", None) is None:
        raise ValueError(
            f"{what} is for teachers, whose layers are known; got {type(model).__name__}. A student trains whole."
        )


def layer_prefixes(model: PreTrainedModel) -> list[str]:
    """Names of the blocks whose outputs are the hidden states, the first first, as seen from the teacher's backbone.

    Args:
        model: a teacher.
    """
    # a tap may lie on a part of its block (`blocks.{}.attention`); the block is what the number belongs to
    if model.config.backbone not in BACKBONES:
        return list(model.config.module_info["layers"])
    pattern = BACKBONES[model.config.backbone].layers
    block = pattern[: pattern.index("{}") + 2]
    return [block.format(layer) for layer in range(model.config.num_hidden_layers)]


def _backbone_name(model: PreTrainedModel) -> str:
    """Name of the backbone in the model: `teacher.backbone`, or `backbone` where there is no head."""
    return next(name for name, module in model.named_modules() if module is model.base_model.backbone)


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def called_modules(model: PreTrainedModel) -> list[str]:
    """Names of the backbone's modules whose `forward` a window passes through, in the order of their first call.

    A module that is absent holds weights that others read directly (the output projection of
    `torch.nn.MultiheadAttention`), or none that are used.

    Args:
        model: a teacher; its weights, its random numbers and its mode stay as they are.
    """
    backbone, config = model.base_model.backbone, model.config
    order: dict[str, None] = {}
    modes = {module: module.training for module in model.modules()}
    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: order.setdefault(name))
        for name, module in backbone.named_modules()
    ]
    # the fused path of torch's transformer layers calls none of their parts; hooks turn it off for the layers, this
    # for the attention
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            model.eval()
            window = torch.randn(1, config.n_chans, config.n_times, generator=torch.Generator().manual_seed(0))
            model.base_model(20.0 * window.to(model.device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    return list(order)


def parameter_depths(model: PreTrainedModel) -> dict[str, int]:
    """Return how deep each parameter of a teacher lies: 0 before the first layer, i in layer i, L + 1 behind the last.

    What lies outside the layers is sorted by when it is used: patch embedding and positions are 0, a projection or
    norm behind the last layer and the head L + 1.

    Args:
        model: a teacher of L layers.

    Returns:
        name of the parameter -> depth.
    """
    prefixes, order = layer_prefixes(model), {name: index for index, name in enumerate(called_modules(model))}
    last = min((index for name, index in order.items() if _within(name, prefixes[-1])), default=len(order))
    head = len(prefixes) + 1
    place, depths = _backbone_name(model) + ".", {}
    for full_name, _ in model.named_parameters():
        if not full_name.startswith(place):
            depths[full_name] = head
            continue
        name = full_name.removeprefix(place)
        layer = next((index for index, prefix in enumerate(prefixes) if _within(name, prefix)), None)
        owner = name.rpartition(".")[0]
        while owner not in order and owner:
            owner = owner.rpartition(".")[0]
        behind = order.get(owner, 0) > last
        depths[full_name] = layer + 1 if layer is not None else head if behind else 0
    return depths


def parameter_groups(
    model: PreTrainedModel,
    learning_rate: float,
    weight_decay: float,
    decayed: Collection[str],
    layer_decay: float = 1.0,
    head_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Return the groups for an optimizer: the deeper a layer lies below the head, the slower it learns.

    The rate at depth i of `parameter_depths` is `learning_rate * layer_decay ** (L + 1 - i)`: the last layer learns
    with `layer_decay` times the full rate, the patch embedding with its (L + 1)-th power, as in ELECTRA (Clark et al.
    2020) and BEiT (Bao et al. 2022). The head has `head_multiplier` times the full rate.

    Args:
        model: a teacher; parameters that do not train are left out.
        learning_rate: the full rate.
        weight_decay: of the parameters named in `decayed`; that of the others is 0.
        decayed: names of parameters, such as `Trainer.get_decay_parameter_names` gives.
        layer_decay: in (0, 1]; 1 gives every layer the full rate.
        head_multiplier: positive.

    Returns:
        dicts of `params`, `lr` and `weight_decay`, the head first.

    Raises:
        ValueError: the model is not a teacher, or a value is out of range.
    """
    check_rates(layer_decay, head_multiplier)
    check_is_teacher(model, "A rate for each layer")
    depths = parameter_depths(model)
    deepest = model.config.num_hidden_layers + 1
    place = _backbone_name(model) + "."
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name, parameter in sorted(trained, key=lambda item: (item[0].startswith(place), -depths[item[0]])):
        scale = layer_decay ** (deepest - depths[name]) if name.startswith(place) else head_multiplier
        key = (learning_rate * scale, name in decayed)
        decay = weight_decay if name in decayed else 0.0
        groups.setdefault(key, {"params": [], "lr": key[0], "weight_decay": decay})["params"].append(parameter)
    return list(groups.values())


def check_rates(layer_decay: float, head_multiplier: float) -> None:
    """Refuse a decay outside (0, 1] and a multiplier that is not positive.

    Raises:
        ValueError: naming the argument.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(
            f"`learning_rate_decay` must lie in (0, 1], 1 for the same rate everywhere, got {layer_decay}."
        )
    if not 0 < head_multiplier < float("inf"):
        raise ValueError(f"`head_learning_rate_multiplier` must be positive, got {head_multiplier}.")


def check_adaptation(adaptation: str, rank: int) -> None:
    """Refuse an unknown adaptation, and a rank below one.

    Raises:
        ValueError: naming the argument.
    """
    one_of("`adaptation`", adaptation, ADAPTATIONS)
    if not isinstance(rank, int) or rank < 1:
        raise ValueError(f"The rank of low-rank adapters must be a positive whole number, got {rank!r}.")


@contextlib.contextmanager
def adapt_teacher(
    model: PreTrainedModel, adaptation: str = "full", rank: int = 8, alpha: float | None = None, seed: int = 0
) -> Iterator[PreTrainedModel]:
    """Prepare a teacher for one way of training; behind the block it is an ordinary model again.

    - `"full"`: everything trains.
    - `"probe"`: the head trains. The backbone is frozen: no gradient, no dropout, no running statistics.
    - `"lora"`: the head and low-rank adapters (Hu et al. 2022, `peft`) train. Every linear map and every attention
      of the layers gets an adapter; after the block they are merged into the weights, and the teacher has the same
      tensors as before. A `checkpoint-*` folder that a `Trainer` writes meanwhile holds them apart.

    Args:
        model: a teacher; a model of another kind only with `"full"`. It is changed in place.
        adaptation: one of the three.
        rank: of the adapters; their updates are scaled by `alpha / rank`.
        alpha: `2 * rank` where None.
        seed: of the adapters' first weights.

    Yields:
        the model.

    Raises:
        ImportError: adapters were asked for and `peft` is missing.
        ValueError: the adaptation or the rank is none, or the model is not a teacher.

    Example:

    ```python
    with adapt_teacher(teacher, "lora", rank=8):
        Trainer(teacher, args, train_dataset=windows, data_collator=EEGDataCollator()).train()
    teacher.save_pretrained("teacher")
    ```
    """
    check_adaptation(adaptation, rank)
    if adaptation == "full":
        yield model
        return
    check_is_teacher(model, f"`adaptation` {adaptation!r}")
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with contextlib.ExitStack() as stack:
        stack.callback(_let_train, model, trained)
        if adaptation == "lora":
            _add_adapters(model, rank, 2 * rank if alpha is None else alpha, seed, stack)
            for name, parameter in model.named_parameters():
                if not _within(name, _backbone_name(model)):
                    parameter.requires_grad_(trained[name])
        else:
            backbone = model.base_model.backbone.requires_grad_(False)
            # a Trainer calls `model.train()` before each step
            stack.callback(backbone.register_forward_pre_hook(_to_eval).remove)
        yield model


def _let_train(model: PreTrainedModel, trained: dict[str, bool]) -> None:
    """Undo a freezing: `trained` says which parameters had a gradient before it."""
    model.base_model.backbone.train(model.training)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained[name])


def _to_eval(module: nn.Module, inputs: Any) -> None:
    module.eval()


def adapted_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that get low-rank adapters: linear maps and attentions of the teacher's layers.

    Args:
        model: a teacher.

    Raises:
        ValueError: its layers hold none.
    """
    backbone, chosen = model.base_model.backbone, []
    for name, module in backbone.named_modules():
        fits = isinstance(module, nn.Linear) or (
            isinstance(module, nn.MultiheadAttention) and module._qkv_same_embed_dim
        )
        # the adapter of an attention takes care of its output projection
        inside = any(_within(name, other) for other in chosen)
        if fits and not inside and any(_within(name, prefix) for prefix in layer_prefixes(model)):
            chosen.append(name)
    if not chosen:
        raise ValueError(
            f"The layers of {model.config.backbone} hold neither linear maps nor torch's attention for "
            "adapters. Choose the adaptation 'full' or 'probe'."
        )
    return [f"{_backbone_name(model)}.{name}" for name in chosen]


class _WithAdapter(nn.Module):
    """Parametrization: a weight and the update of its adapter."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.__dict__["layer"] = layer  # no submodule: the adapter holds this one

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.layer.get_delta_weight("default")


def _add_adapters(model: PreTrainedModel, rank: int, alpha: float, seed: int, stack: contextlib.ExitStack) -> None:
    """Put adapters into a teacher, in place; `stack` merges them when it is closed."""
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ImportError as error:
        raise ImportError(
            "Low-rank adapters are those of peft, which could not be imported. Install it with "
            f'`pip install "dlink-hf[teachers]"`. The reason: {error}'
        ) from error
    targets, backbone = adapted_modules(model), model.base_model.backbone
    called = {id(backbone.get_submodule(name)) for name in called_modules(model)}
    passed_by = [name for name in targets if id(model.get_submodule(name)) not in called]
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, bias="none")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tuner = LoraModel(model, config, "default")
    stack.callback(tuner.merge_and_unload)
    # a map whose weight another module reads without calling it (LaBraM's qkv): the weight itself takes the update
    for name in passed_by:
        layer = model.get_submodule(name)
        parametrize.register_parametrization(layer.base_layer, "weight", _WithAdapter(layer))
        stack.callback(parametrize.remove_parametrizations, layer.base_layer, "weight", leave_parametrized=False)
    for module in model.base_model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            # its fused path reads the weights and would pass the adapters by; a hook turns it off
            stack.callback(module.register_forward_hook(_no_fused_path).remove)


def _no_fused_path(module: nn.Module, inputs: Any, output: Any) -> None:
    return None


class GradualUnfreezing(TrainerCallback):
    """For `Trainer`: only the head trains at first, then everything (Howard & Ruder 2018).

    Args:
        epochs: epochs in which the backbone stays frozen.

    Raises:
        ValueError: a negative number; or the training runs in several processes, which must agree on what trains.
    """

    def __init__(self, epochs: float):
        if not 0 <= epochs < float("inf"):
            raise ValueError(f"`freeze_epochs` must be a number of epochs, 0 or more, got {epochs}.")
        self.epochs = epochs
        self._frozen: contextlib.ExitStack | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        if args.world_size > 1:
            raise ValueError("`freeze_epochs` works in one process; train the head first, and then the rest.")

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        # the optimizer has been made by now, and knows the frozen weights too
        if state.epoch < self.epochs and self._frozen is None:
            self._frozen = contextlib.ExitStack()
            self._frozen.enter_context(adapt_teacher(model, "probe"))
        elif state.epoch >= self.epochs:
            self._thaw()

    def on_train_end(self, args, state, control, **kwargs):
        self._thaw()

    def _thaw(self) -> None:
        if self._frozen is not None:
            self._frozen.close()
            self._frozen = None


__all__ = [
    "ADAPTATIONS",
    "GradualUnfreezing",
    "adapt_teacher",
    "adapted_modules",
    "called_modules",
    "check_adaptation",
    "check_is_teacher",
    "check_rates",
    "layer_prefixes",
    "parameter_depths",
    "parameter_groups",
]
