# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Feature extractor: an EEG recording or array becomes windows in microvolts with named, placed channels."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers.feature_extraction_utils import BatchFeature, FeatureExtractionMixin

from ..core.atomic_files import staged
from ..core.checkpoint_names import ShortNamesMixin
from .alignment import Alignment, AlignmentSession
from .preparation import EEGPreparation
from .settings_file import SettingsFileMixin


class EEGFeatureExtractor(EEGPreparation, ShortNamesMixin, SettingsFileMixin, FeatureExtractionMixin):
    r"""
    Turns EEG recordings into model inputs: EEG channels picked and named alike, microvolts, one sampling rate,
    optional filters, windows of one length.

    In this order: channels are picked and checked, the unit becomes microvolts, MNE resamples, notches and band-passes
    (zero-phase FIR) at the *new* rate, so that every recording meets the same filter whatever rate it came at. What
    lies below 0.9 of the lower Nyquist frequency passes the resampling with a relative error below 1e-3; above, it is
    attenuated, and beyond the new Nyquist frequency it is gone. Near the ends of a recording filters see a mirror
    image of it: the outer 51 samples (of the slower rate) are less exact where it is resampled, half a filter's length
    (1.65 s / `l_freq` in Hz up to 2 Hz, 3.3 s for a notch) where it is filtered. The output is never padded.

    With an `alignment` the windows are last brought onto the ground of all subjects, by statistics of the subject's
    own unlabelled windows: fit them on the whole of the subject's session, all of its recordings together
    (`fit_alignment`), not on a file or block that holds only one class, or as the session goes on (`start_session`).
    A model that was trained on aligned windows is of little use on others.

    Args:
        ch_names (`list[str]`, *optional*):
            Channels to deliver, in this order, in any spelling. All EEG channels in the recording's order when `None`.
        sfreq (`float`, *optional*, defaults to 200.0):
            Sampling rate of the output in Hz.
        n_times (`int`, *optional*, defaults to 1000):
            Samples in a window, at `sfreq`.
        stride (`int`, *optional*):
            Samples from the start of one window to the next, at `sfreq`; `n_times` (no overlap) when `None`.
        l_freq (`float`, *optional*):
            Lower edge of the pass band in Hz; no high-pass when `None`.
        h_freq (`float`, *optional*):
            Upper edge of the pass band in Hz; no low-pass but that of the resampling when `None`.
        notch_freq (`float` or `list[float]`, *optional*):
            Frequencies of line noise to take out, in Hz.
        unit (`str`, *optional*):
            Unit of the numbers as they come in, `"uV"`, `"mV"` or `"V"`: those of an array, or those that MNE's
            `raw.get_data()` gives. `None` means volts for files and MNE objects (MNE's convention) and must be said in
            the call for arrays. A file that holds millivolts labelled as volts is read right with `unit="mV"`.
        missing_channels (`str`, *optional*, defaults to `"subset"`):
            What to do where a recording lacks some of `ch_names`: `"subset"` delivers the others, `"error"` raises.
        unknown_channels (`str`, *optional*, defaults to `"error"`):
            What to do with EEG channels whose name is unknown: `"error"` names them, `"drop"` leaves them out.
            Where `ch_names` names the channels, others are never refused.
            Channels of another type or of a known other name (ECG, EOG, trigger ...) are always left out, and so are
            those that MNE's `info["bads"]` marks; the log says which.
        duplicate_channels (`str`, *optional*, defaults to `"error"`):
            What to do where several channels are one electrode and their samples differ: `"error"` names them,
            `"first"` and `"last"` choose. Where the samples are equal to the bit the first is taken.
        outlying_channels (`str`, *optional*, defaults to `"error"`):
            What to do with a channel whose amplitude is hundreds of times that of the others, so that its unit is
            wrong or its electrode broken: `"error"` names it, `"drop"` leaves it out.
        min_abs_uv, max_abs_uv (`float`, *optional*, default to 0.1 and 1000.0):
            Plausible typical amplitude in microvolts: mean absolute deviation from the median within one second, then
            the median over seconds and channels. Outside, the unit is taken to be wrong. `None` switches a bound off.
        reject_uv (`float`, *optional*):
            Windows in which a sample exceeds this, in microvolts after filtering, are artefacts: training leaves them
            out (`build_dataset`), a trained model gives them no label but a reason, and no alignment is fitted on
            them. The call cuts them all the same. None where training kept all windows.
        alignment (`str`, *optional*):
            Unsupervised alignment of each subject: `"zscore"`, `"euclidean"`, `"monge"` or `"euclidean_monge"` (see
            `dlink_hf.alignment`); none when `None`.
        alignment_reference (`dict`, *optional*):
            For `"monge"`, the spectrum that all subjects get: what `monge_reference` makes of the training subjects. A
            fixed one, falling as 1/f, when `None`.
        alignment_min_seconds (`float`, *optional*, defaults to 30.0):
            Seconds of a subject's signal that an alignment needs at least.

    Raises:
        TypeError: For an argument of a wrong type or an unknown name.
        ValueError: For a value out of range; the message names the argument.

    Examples:

    ```python
    >>> extractor = EEGFeatureExtractor(sfreq=200.0, n_times=1000, l_freq=0.5, h_freq=75.0, notch_freq=50.0)
    >>> batch = extractor("recording.edf", return_tensors="pt")
    >>> logits = model(batch["input_values"], channel_positions=batch["channel_positions"]).logits
    ```
    """

    model_input_names = ["input_values", "channel_positions"]

    def _keep_foreign(self, fields: dict[str, Any]) -> None:
        FeatureExtractionMixin.__init__(self, **fields)

    def __call__(
        self,
        recording: Any,
        *,
        sfreq: float | None = None,
        ch_names: Sequence[str] | None = None,
        unit: str | None = None,
        onsets: Sequence[float] | None = None,
        is_filtered: bool = False,
        align: bool = True,
        alignment_state: Alignment | AlignmentSession | Mapping[str, Any] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Windows of one recording, or of several.

        Args:
            recording:
                A path, an `mne.io.Raw`, `mne.Epochs`, an array or tensor (C, T) of a whole recording or (N, C, T) of
                N prepared windows, or a list of those. The recording itself is never changed.
            sfreq (`float`, *optional*):
                Sampling rate of an array in Hz. Files and MNE objects know theirs.
            ch_names (`Sequence[str]`, *optional*):
                The C channel names of an array. Files and MNE objects know theirs.
            unit (`str`, *optional*):
                As in the constructor, for this call.
            onsets (`Sequence[float]`, *optional*):
                Start of each wanted window, in seconds from the first sample of the recording; windows follow each
                other by `stride` when `None`. A window begins at the sample nearest to its onset. For prepared windows
                (N, C, T) and Epochs: where they began, handed on as it is. For a list of recordings: a list of lists.
            is_filtered (`bool`, *optional*, defaults to `False`):
                Whether the signal has been filtered already as this extractor would; then it filters no more.
            align (`bool`, *optional*, defaults to `True`):
                `False` leaves the windows unaligned, where the extractor has an alignment: to fit one on them.
            alignment_state (`Alignment`, `AlignmentSession` or `dict`, *optional*):
                What `fit_alignment` made of the subject's session, or its `to_dict()`. When `None`, an extractor that
                aligns fits on all windows of this very call, which should then be all of one subject's session.
            return_tensors (`str`, *optional*):
                `"pt"` for torch tensors; NumPy arrays otherwise.

        Returns:
            `BatchFeature`: `input_values` (N, C, n_times) float32 microvolts; `channel_positions` (C, 3) float32
            metres; `ch_names`, a list of C names; `onset` (N,) float64, seconds from the first sample of the recording
            to the first of the window, NaN for prepared windows without `onsets`. For a list of recordings also
            `recording_index` (N,) int64, the place in the list.

        Raises:
            FileNotFoundError: Where a path leads nowhere.
            TypeError: Where `recording` is of no known kind.
            ValueError: Where something is missing, contradictory or implausible; the message says what to do.
        """
        options = {"sfreq": sfreq, "ch_names": ch_names, "unit": unit, "onsets": onsets, "is_filtered": is_filtered}
        data = self.windows(recording, **options, align=align, alignment_state=alignment_state)
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["ch_names"])

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Publish preprocessor_config.json on the Hub in one commit; see `dlink_hf.hub.publish_folder`."""
        from ..hub.publish import publish_saved

        return publish_saved(self, repo_id, **kwargs)

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Write the settings as JSON, whole or not at all.

        Args:
            json_file_path (`str` or `os.PathLike`): Where to; an older file stays until the new one is whole.

        Raises:
            OSError: Where it can't be written.
        """
        path = Path(json_file_path)
        with staged(path.parent) as partial:
            (partial / path.name).write_text(self.to_json_string(), encoding="utf-8")
