# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""The table of teachers: one row for each foundation model; those of braindecode are read off its version 1.8."""

from __future__ import annotations

import math

from .backbone import (
    ANY_CHANNELS,
    FIXED_CHANNELS,
    MODULE,
    NAMED_CHANNELS,
    PLACED_CHANNELS,
    Arguments,
    Backbone,
    argument_of,
    whole_patches,
)
from .time_series import TIME_SERIES


def _convolution_window(arguments: Arguments) -> tuple[int, int]:
    """Receptive field and stride, in samples, of a stack of convolutions without padding (Signal-JEPA)."""
    field_size, stride = 1, 1
    for _, kernel, step in arguments["feature_encoder__conv_layers_spec"]:
        field_size, stride = field_size + (kernel - 1) * stride, stride * step
    return field_size, stride


def _convolution_width(arguments: Arguments) -> int:
    """Width of EEG-DINO's patch embedding: channels of its last convolution x what is left of the patch."""
    left = arguments["patch_size"]
    for channels, kernel, stride, padding, _ in arguments["channels_kernel_stride_padding_norm"]:
        left, width = (left + 2 * padding - kernel) // stride + 1, channels
    return width * left


def _halvings(arguments: Arguments, n_times: int) -> int:
    """Steps left of `n_times` samples behind BENDR's convolutions, which round up one by one."""
    for step in arguments["enc_downsample"]:
        n_times = math.ceil(n_times / step)
    return n_times


def _check_eegpt(arguments: Arguments) -> str | None:
    if arguments["chan_proj_type"] != "none" and arguments["n_chans_target"] != 19:
        return "`n_chans_target` must be 19: EEGPT names the channels that it projects to, and has 19 names"
    return None


def _check_codebrain(arguments: Arguments) -> str | None:
    if arguments["out_channels"] != arguments["res_channels"]:
        return "`out_channels` must equal `res_channels`: all hidden states of a teacher have one width"
    return None


def _check_reve(arguments: Arguments) -> str | None:
    if not 0 <= arguments["patch_overlap"] < arguments["patch_size"]:
        return "`patch_overlap` must be 0 or more and less than `patch_size`"
    return None


_BY_POSITION = (
    "every channel a name of the 10-05 system, or a bipolar pair (its midpoint), so that it has a place on the head"
)
_BY_ORDER = "any names; number and order belong to the weights (one embedding a channel)"
# where braindecode says nothing, 20 microvolts, a usual standard deviation of scalp EEG, become 1
_UNKNOWN = "not documented; 20 microvolts become 1. Look it up for published weights"

BACKBONES: dict[str, Backbone] = {
    "CBraMod": Backbone(
        layers="encoder.layers.{}",
        layout="b c p d",
        depth_argument="n_layer",
        defaults={"n_layer": 12, "emb_dim": 200, "patch_size": 200},
        width=argument_of("emb_dim"),
        **whole_patches("patch_size"),
        channels=ANY_CHANNELS,
        channel_contract="any number of channels, any names",
        sfreq=200.0,
        input_scale=0.01,
        scale_note="microvolts / 100",
        # proj_out, behind the last layer, gives back samples; CBraMod's authors, too, fine-tune without it
        build={"return_encoder_output": True},
        fixed={"patch_size": 200, "emb_dim": 200},
    ),
    "Labram": Backbone(
        layers="blocks.{}",
        layout="b (c p) d",
        prefix_tokens=lambda arguments, layer: 1,
        depth_argument="num_layers",
        defaults={"num_layers": 12, "embed_dim": 200, "patch_size": 200},
        width=argument_of("embed_dim"),
        **whole_patches("patch_size"),
        channels=NAMED_CHANNELS,
        channel_contract="names of LaBraM's list of 128 electrodes, any number and order",
        sfreq=200.0,
        input_scale=0.01,
        scale_note="microvolts / 100",
        final="norm",
        final_prefix=1,
        max_patches=argument_of("embed_dim"),
        passes_ch_names=True,
        fixed={"patch_size": 200, "neural_tokenizer": True, "use_mean_pooling": False},
    ),
    "BIOT": Backbone(
        # the outputs of a block's two parts are what is added to the state; the state itself enters the next block
        layers="encoder.transformer.layers.layers.{}.0",
        last="encoder.transformer",
        layout="b (c p) d",
        depth_argument="num_layers",
        defaults={"num_layers": 4, "embed_dim": 256, "hop_length": 100},
        width=argument_of("embed_dim"),
        # frames of a short-time Fourier transform of one second
        window=lambda arguments: (200, arguments["hop_length"]),
        patch=lambda arguments: 200,
        channels=FIXED_CHANNELS,
        channel_contract=f"{_BY_ORDER}; 16 or 18 in the published ones",
        sfreq=200.0,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        max_patches=lambda arguments: 1000,
        fixed={"return_feature": False},
    ),
    "EEGPT": Backbone(
        layers="target_encoder.blocks.{}",
        layout="(b p) c d",
        suffix_tokens=argument_of("embed_num"),
        depth_argument="depth",
        defaults={
            "depth": 8,
            "embed_dim": 512,
            "embed_num": 4,
            "patch_size": 64,
            "patch_stride": 32,
            "chan_proj_type": "conv1d_constraint",
            "n_chans_target": 19,
        },
        width=argument_of("embed_dim"),
        window=lambda arguments: (arguments["patch_size"], arguments["patch_stride"]),
        patch=argument_of("patch_size"),
        channels=FIXED_CHANNELS,
        channel_contract="any names; number and order belong to the weights, which project them to 19 channels of "
        "their own. With chan_proj_type='none': names of EEGPT's list of 62 electrodes, any number and order",
        sfreq=256.0,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        token_chans=lambda arguments, n_chans: n_chans if arguments["chan_proj_type"] == "none" else 19,
        build={"return_encoder_output": True},
        check=_check_eegpt,
    ),
    "BENDR": Backbone(
        layers="contextualizer.transformer_layers.{}",
        layout="p b d",
        prefix_tokens=lambda arguments, layer: 1,
        depth_argument="transformer_layers",
        defaults={"transformer_layers": 8, "encoder_h": 512, "enc_downsample": (3, 2, 2, 2, 2, 2)},
        width=lambda arguments: 3 * arguments["encoder_h"],
        window=lambda arguments: (1, 1),
        patch=lambda arguments: math.prod(arguments["enc_downsample"]),
        n_patches=_halvings,
        channels=FIXED_CHANNELS,
        channel_contract="any names; number and order belong to the weights (the first convolution mixes them): in "
        "the published ones BENDR_CHANNEL_ORDER, 19 of the 10-20 system and SCALE",
        sfreq=256.0,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        token_chans=lambda arguments, n_chans: 1,
        final="contextualizer.norm",
        final_layout="p b d",
        final_prefix=1,
        fixed={"encoder_only": False, "layer_drop": 0.0},
    ),
    "SignalJEPA": Backbone(
        layers="transformer.encoder.layers.{}",
        layout="b (c p) d",
        depth_argument="transformer__num_encoder_layers",
        defaults={
            "transformer__num_encoder_layers": 8,
            "transformer__d_model": 64,
            "feature_encoder__conv_layers_spec": ((8, 32, 8), (16, 2, 2), (32, 2, 2), (64, 2, 2), (64, 2, 2)),
            "channel_embedding": "scratch",
        },
        width=argument_of("transformer__d_model"),
        window=_convolution_window,
        patch=lambda arguments: _convolution_window(arguments)[0],
        reads_tail=True,
        channels=PLACED_CHANNELS,
        channel_contract=f"{_BY_POSITION}; number and order belong to the weights. With "
        "channel_embedding='pretrain_aligned': names of the 62 pre-training electrodes, any number and order",
        sfreq=128.0,
        input_scale=1.0,
        scale_note="microvolts",
        final="transformer.encoder",
    ),
    "REVE": Backbone(
        layers="transformer.layers.{}.0",
        last="transformer",
        layout="b (c p) d",
        depth_argument="depth",
        defaults={"depth": 22, "embed_dim": 512, "patch_size": 200, "patch_overlap": 20},
        width=argument_of("embed_dim"),
        window=lambda arguments: (arguments["patch_size"], arguments["patch_size"] - arguments["patch_overlap"]),
        patch=argument_of("patch_size"),
        reads_tail=True,
        channels=NAMED_CHANNELS,
        channel_contract="names of REVE's bank of positions (a file that is downloaded once), any number and order",
        sfreq=200.0,
        input_scale=0.05,
        scale_note="z-scored and clipped at 15; 20 microvolts become 1. For z-scored input set 1",
        check=_check_reve,
    ),
    "LUNA": Backbone(
        layers="blocks.{}",
        layout="b p d",
        depth_argument="depth",
        defaults={"depth": 8, "embed_dim": 64, "num_queries": 4, "patch_size": 40},
        width=lambda arguments: arguments["embed_dim"] * arguments["num_queries"],
        **whole_patches("patch_size"),
        channels=PLACED_CHANNELS,
        channel_contract=f"{_BY_POSITION}; any number and order",
        sfreq=None,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        token_chans=lambda arguments, n_chans: 1,
        final="norm",
        final_layout="b p d",
        forward={},
    ),
    "CodeBrain": Backbone(
        layers="residual_layer.residual_blocks.{}",
        layout="b d (c p)",
        element=lambda arguments: (0,),
        depth_argument="num_res_layers",
        defaults={"num_res_layers": 8, "res_channels": 200, "out_channels": 200, "patch_size": 200},
        width=argument_of("res_channels"),
        **whole_patches("patch_size"),
        channels=ANY_CHANNELS,
        channel_contract="any number of channels, any names",
        sfreq=200.0,
        input_scale=0.01,
        scale_note="not documented; microvolts / 100, as CBraMod has it",
        final="norm",
        final_layout="b c p d",
        fixed={"pretrain_mode": False},
        check=_check_codebrain,
    ),
    "EEGDINO": Backbone(
        layers="encoder_layers.{}",
        layout="b (c p) d",
        # the global tokens join behind layer number `global_token_layer`, counted from 1
        prefix_tokens=lambda arguments, layer: (
            arguments["n_global_tokens"] if layer >= arguments["global_token_layer"] else 0
        ),
        depth_argument="n_layer",
        defaults={
            "n_layer": 12,
            "patch_size": 200,
            "n_channel_embeddings": 19,
            "n_global_tokens": 1,
            "global_token_layer": 1,
            "channels_kernel_stride_padding_norm": (
                (25, 49, 25, 24, (5, 25)),
                (25, 3, 1, 1, (5, 25)),
                (25, 3, 1, 1, (5, 25)),
            ),
        },
        width=_convolution_width,
        **whole_patches("patch_size"),
        channels=FIXED_CHANNELS,
        channel_contract=f"{_BY_ORDER}; at most 19, or as many as n_channel_embeddings says",
        sfreq=200.0,
        input_scale=0.01,
        scale_note="microvolts / 100",
        max_chans_argument="n_channel_embeddings",
        build={"return_encoder_output": True},
    ),
    "STEEGFormer": Backbone(
        layers="encoder.{}",
        layout="b (p c) d",
        prefix_tokens=lambda arguments, layer: 1,
        depth_argument="depth",
        defaults={"depth": 8, "embed_dim": 512, "patch_size": 16, "n_chans_pos": 145, "chan_pos_idx": None},
        width=argument_of("embed_dim"),
        **whole_patches("patch_size"),
        channels=NAMED_CHANNELS,
        channel_contract="names of the published vocabulary of 145 slots (a file that is downloaded once), "
        "any number and order; or the slot of every channel in backbone_kwargs['chan_pos_idx']",
        sfreq=None,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        final="norm",
        final_layout="b (p c) d",
        final_prefix=1,
        max_patches=lambda arguments: 2047,
    ),
    "MVPFormer": Backbone(
        layers="blocks.{}",
        layout="b p c d",
        depth_argument="n_layers",
        defaults={"n_layers": 4, "d_model": 256, "segment_len": 2560, "max_segments": 110, "max_channels": 128},
        width=argument_of("d_model"),
        **whole_patches("segment_len"),
        channels=FIXED_CHANNELS,
        channel_contract=f"{_BY_ORDER}; at most 128, or as many as max_channels says",
        sfreq=None,
        input_scale=1.0,
        scale_note="any: each patch is brought to unit power first",
        final="ln_f",
        final_layout="b p c d",
        max_patches=argument_of("max_segments"),
        max_chans_argument="max_channels",
    ),
    "PBT": Backbone(
        layers="transformer_encoder.encoder_block.{}",
        layout="b (c p) d",
        prefix_tokens=lambda arguments, layer: 1,
        depth_argument="num_layers",
        defaults={"num_layers": 4, "embed_dim": 128, "d_input": 64},
        width=argument_of("embed_dim"),
        **whole_patches("d_input"),
        channels=FIXED_CHANNELS,
        channel_contract="any names; number and order belong to the weights (one embedding a token)",
        sfreq=None,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        forward={},
    ),
    "MEDFormer": Backbone(
        layers="encoder.attn_layers.{}",
        # as braindecode has it, a token is a group of neighbouring channels over the whole window; of the
        # granularities the finest is read, its last token being the one that the granularities exchange
        layout="b c d",
        element=lambda arguments: (0, min(enumerate(arguments["patch_len_list"]), key=lambda item: item[1])[0]),
        depth_argument="num_layers",
        defaults={"num_layers": 6, "embed_dim": 128, "patch_len_list": (2, 8, 16)},
        width=argument_of("embed_dim"),
        window=lambda arguments: (1, 1),
        patch=lambda arguments: 0,
        n_patches=lambda arguments, n_times: 1,
        token_chans=lambda arguments, n_chans: n_chans // min(arguments["patch_len_list"]) + 1,
        channels=FIXED_CHANNELS,
        channel_contract="any names; number and order belong to the weights (neighbours in the array share a token)",
        sfreq=None,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        max_times=5000,
        forward={},
        fixed={"single_channel": False},
    ),
    "ZUNA": Backbone(
        layers="encoder.layers.{}",
        layout="b (c p) d",
        # a register comes before every patch; the model's own output is read from the registers only
        every=2,
        depth_argument="n_layers",
        defaults={"n_layers": 16, "dim": 1024, "fine_time_pts": 32, "max_seqlen": 256},
        width=argument_of("dim"),
        **whole_patches("fine_time_pts"),
        channels=PLACED_CHANNELS,
        channel_contract=f"{_BY_POSITION}; any number and order",
        sfreq=256.0,
        input_scale=0.05,
        scale_note=_UNKNOWN,
        final="encoder.norm",
        max_patches=argument_of("max_seqlen"),
    ),
    **TIME_SERIES,
}

__all__ = ["ANY_CHANNELS", "BACKBONES", "FIXED_CHANNELS", "MODULE", "NAMED_CHANNELS", "PLACED_CHANNELS", "Backbone"]
