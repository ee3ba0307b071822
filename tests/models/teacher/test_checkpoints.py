# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that braindecode saved, read from folders and over HTTP from a Hub on loopback.

What needs the Hub runs in one process of its own (`python tests/test_teacher_checkpoints.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import torch
from fake_hub.process import HubProcess, answer_requests
from fake_hub.server import HubServer
from safetensors.torch import load_file, save_file


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

import braindecode.models  # noqa: E402
from braindecode_hub import (  # noqa: E402
    SMALL,
    digest,
    save,
    small_config,
    states_of_braindecode,
    states_of_ours,
    windows,
    write_reve_positions,
)

from dlink_hf import DLinkTeacherForEEGClassification, DLinkTeacherModel  # noqa: E402
from dlink_hf.models.teacher.backbone import BRAINDECODE  # noqa: E402
from dlink_hf.models.teacher.backbones import BACKBONES  # noqa: E402
from dlink_hf.models.teacher.checkpoints import FITS, identify  # noqa: E402


NAMES = ["Fp1", "C3", "Cz", "C4"]
MORE = [*NAMES, "Pz", "Oz"]


def outputs(model: DLinkTeacherModel) -> str:
    """Digest of all hidden states and the features."""
    return digest(states_of_ours(model))


@torch.no_grad()
def outputs_by_hand(model: torch.nn.Module, ch_names: list[str], n_times: int) -> str:
    """The same of braindecode's CBraMod or Labram of two layers, hooked and brought to (B, C, P, D) by hand."""
    labram, states = type(model).__name__ == "Labram", []
    for layer in range(2):
        module = model.get_submodule(f"blocks.{layer}" if labram else f"encoder.layers.{layer}")
        module.register_forward_hook(lambda module, inputs, output: states.append(output))
    known = {"ch_names": ch_names} if labram else {}
    features = model.eval()(windows(len(ch_names), n_times) * 0.01, return_features=True, **known)["features"]
    if labram:
        states = [state[:, 1:] for state in states]
    else:  # what follows CBraMod's last layer rebuilds the signal
        features = states[-1]
    return digest([state.reshape(2, len(ch_names), n_times // 200, 200) for state in (*states, features)])


def answer(arguments: dict[str, Any]) -> dict[str, Any]:
    """Load a teacher: arguments of `from_pretrained`, and `compare`, whether to ask braindecode too."""
    compare = arguments.pop("compare")
    try:
        model = DLinkTeacherModel.from_pretrained(**arguments)
        found = {"digest": outputs(model), "backbone": model.config.backbone}
        if compare:
            name = arguments["pretrained_model_name_or_path"]
            found["braindecode"] = digest(states_of_braindecode(model.config, name))
    except (OSError, ValueError) as error:
        return {"error": type(error).__name__, "message": str(error)}
    return found


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of the Hub: every backbone as braindecode saves it (`small/`), variants and spoilt copies (`eeg/`)."""
    root = tmp_path_factory.mktemp("hub")
    environment = pytest.MonkeyPatch()  # of this process and its children, for the module
    environment.setenv("REVE_POSITIONS_PATH", str(write_reve_positions(tmp_path_factory.mktemp("reve"))))
    for name, options in SMALL.items():
        save(root / "small" / name, small_config(name, MORE), **options)
    cbramod = shutil.copytree(root / "small/CBraMod", root / "eeg/cbramod")
    save(root / "eeg/cbramod@v1", small_config("CBraMod", MORE), n_layer=1)
    save(root / "eeg/labram", small_config("Labram", MORE), named=False, **SMALL["Labram"])
    for name in ("gated", "private", "pickled", "cut", "folders/inside"):
        shutil.copytree(cbramod, root / "eeg" / name)
    (root / "eeg/pickled/model.safetensors").unlink()
    cut = root / "eeg/cut/model.safetensors"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    known = shutil.copytree(cbramod, root / "braindecode/cbramod-pretrained")
    (known / "config.json").unlink()
    bare, bert = root / "eeg/bare", root / "eeg/bert"
    bare.mkdir()
    tensors = load_file(cbramod / "model.safetensors")
    renamed = {f"model.{key}": value for key, value in tensors.items()} | {"model.decoder.weight": torch.ones(2)}
    save_file(renamed, bare / "base.safetensors")
    bert.mkdir()
    (bert / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    save_file({"embeddings.word_embeddings.weight": torch.ones(4, 8)}, bert / "model.safetensors")
    yield root
    environment.undo()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`HF_HOME` of the process that talks to the Hub."""
    return tmp_path_factory.mktemp("home")


class Session(HubProcess):
    """The Hub, and a process that asks it."""

    def __init__(self, saved: Path, home: Path):
        hub = HubServer(saved, private=["eeg/private"], gated=["eeg/gated"], token="hf_right")
        super().__init__(hub, __file__, home, OMP_NUM_THREADS="1")

    def load(self, name: str, compare: bool = False, **arguments: Any) -> dict[str, Any]:
        """What the process makes of `DLinkTeacherModel.from_pretrained(name, **arguments)`."""
        return self.request({"pretrained_model_name_or_path": name, "compare": compare, **arguments})


@pytest.fixture(scope="module")
def session(saved: Path, home: Path) -> Iterator[Session]:
    """One process and one Hub for all tests; the last test takes the Hub away."""
    running = Session(saved, home)
    yield running
    running.close()


def test_every_backbone_is_here() -> None:
    assert set(BACKBONES) == set(FITS)
    assert set(SMALL) == {name for name, spec in BACKBONES.items() if spec.package == BRAINDECODE}


@pytest.mark.parametrize("backbone", SMALL)
def test_the_hub_gives_the_bits_that_braindecode_reads(
    session: Session, saved: Path, tmp_path: Path, backbone: str
) -> None:
    named = {"ch_names": MORE} if backbone == "BENDR" else {}
    answer = session.load(f"small/{backbone}", compare=True, **named)
    assert answer["backbone"] == backbone
    assert answer["digest"] == answer["braindecode"]
    model = DLinkTeacherModel.from_pretrained(saved / "small" / backbone, **named)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "dlink_teacher"
    assert outputs(DLinkTeacherModel.from_pretrained(tmp_path)) == outputs(model) == answer["digest"]
    assert identify(list(model.backbone.state_dict())) == backbone


@pytest.mark.parametrize("backbone", ["CBraMod", "Labram"])
def test_hooks_set_by_hand_see_the_same(saved: Path, backbone: str) -> None:
    theirs = getattr(braindecode.models, backbone).from_pretrained(saved / "small" / backbone)
    ours = DLinkTeacherModel.from_pretrained(saved / "small" / backbone)
    assert outputs(ours) == outputs_by_hand(theirs, MORE, 1000)


def test_only_safetensors_are_downloaded(session: Session, home: Path) -> None:
    session.load("eeg/cbramod")
    assert not [request for request in session.hub.requests if request.endswith(".bin")]
    assert not list(home.rglob("*.bin"))


def test_the_head_is_new_and_the_rest_is_said(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = {0: "rest", 1: "left", 2: "right", 3: "feet"}
    model, info = DLinkTeacherForEEGClassification.from_pretrained(
        saved / "eeg/labram", ch_names=NAMES, n_times=400, id2label=names, output_loading_info=True
    )
    config = model.config
    assert (config.num_labels, config.id2label, config.ch_names, config.n_times) == (4, names, NAMES, 400)
    assert config.backbone_kwargs == {"num_layers": 2, "init_values": 0.3}
    assert info["dropped_keys"] == {"final_layer.weight", "final_layer.bias"}
    assert info["cut_keys"] == {"temporal_embedding": (6, 3)}
    assert info["missing_keys"] == {key for key in model.state_dict() if key.startswith("head.")}
    assert not (info["unexpected_keys"] or info["new_keys"] or info["ignored_options"] or model.training)
    assert model(windows(4, 400)).logits.shape == (2, 4)
    assert "left out final_layer (2 tensors" in caplog.text
    assert "cut temporal_embedding from 6 to 3 rows" in caplog.text


def test_a_shorter_window_reads_what_braindecode_reads_with_the_embedding_cut(saved: Path) -> None:
    theirs = braindecode.models.Labram(n_outputs=3, n_chans=4, n_times=400, sfreq=200.0, **SMALL["Labram"])
    tensors = load_file(saved / "eeg/labram/model.safetensors")
    tensors["temporal_embedding"] = tensors["temporal_embedding"][:, :3]
    theirs.load_state_dict(tensors, strict=True)
    ours = DLinkTeacherModel.from_pretrained(saved / "eeg/labram", ch_names=NAMES, n_times=400)
    assert outputs(ours) == outputs_by_hand(theirs, NAMES, 400)


def test_other_channels_and_windows_need_nothing_of_cbramod(saved: Path) -> None:
    theirs = braindecode.models.CBraMod.from_pretrained(saved / "eeg/cbramod", return_encoder_output=True)
    ours = DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod", ch_names=["O1", "Oz", "O2"], n_times=1200)
    assert ours.config.backbone_kwargs == {**SMALL["CBraMod"]}
    assert outputs(ours) == outputs_by_hand(theirs, ["O1", "Oz", "O2"], 1200)


def test_a_head_for_a_probe_can_be_asked_for(saved: Path) -> None:
    folder = str(saved / "eeg/cbramod")
    signal = {"ch_names": ["C3", "C4"], "n_times": 400, "num_labels": 2}
    model = DLinkTeacherForEEGClassification.from_pretrained(folder, head_size=None, **signal)
    assert model.config.head_size is None and model.head.features is None
    assert DLinkTeacherForEEGClassification.from_pretrained(folder, **signal).config.head_size == 32


def test_channels_are_the_saved_ones_where_none_are_given(saved: Path) -> None:
    assert DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod").config.ch_names == MORE
    with pytest.raises(ValueError, match=r"which channels it reads \(there are 6\). Give `ch_names=`"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/labram")


def test_dtype(saved: Path) -> None:
    half = DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod", dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="`dtype` must be a torch dtype"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod", dtype="float17")


def test_revision_subfolder_and_token(session: Session, tmp_path: Path) -> None:
    first = session.load("eeg/cbramod", revision="v1", ch_names=MORE)
    other = session.load("eeg/cbramod", ch_names=MORE)
    assert first["digest"] != other["digest"]
    assert first["digest"] != session.load("eeg/folders", subfolder="inside")["digest"] == other["digest"]
    for name in ("eeg/private", "eeg/gated"):
        assert session.load(name, token="hf_right", cache_dir=str(tmp_path))["digest"] == other["digest"]


def test_a_cache_of_its_own_and_downloading_anew(session: Session, tmp_path: Path) -> None:
    session.load("eeg/cbramod", cache_dir=str(tmp_path))
    blobs = [path for path in tmp_path.rglob("*") if path.name == "model.safetensors"]
    assert len(blobs) == 1
    blobs[0].resolve().write_bytes(b"damaged")
    answer = session.load("eeg/cbramod", cache_dir=str(tmp_path))
    assert answer["error"] == "ValueError" and "`force_download=True`" in answer["message"]
    assert "digest" in session.load("eeg/cbramod", cache_dir=str(tmp_path), force_download=True)


def test_weights_of_another_name_and_prefix(session: Session, saved: Path) -> None:
    plain = session.load("eeg/cbramod")["digest"]
    asked = {"ch_names": MORE, "n_times": 1000, "backbone": "CBraMod", "key_prefix": "model.", "drop": ["decoder."]}
    options = {"backbone_kwargs": SMALL["CBraMod"], "filename": "base.safetensors"}
    assert session.load("eeg/bare", **asked, **options)["digest"] == plain
    without = session.load("eeg/bare", **asked)
    assert without["error"] == "ValueError" and "`filename=`: base.safetensors" in without["message"]
    with pytest.raises(ValueError, match="left over: decoder.weight"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/bare", **{**asked, "drop": []}, **options)
    with pytest.raises(ValueError, match="not every tensor begins with `key_prefix` 'net.'"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/bare", **{**asked, "key_prefix": "net."}, **options)
    with pytest.raises(ValueError, match=r'say which teacher they belong to \(`backbone="CBraMod"`\)'):
        DLinkTeacherModel.from_pretrained(saved / "eeg/bare")


def test_known_weights_need_no_config(session: Session) -> None:
    asked = {"ch_names": MORE, "n_times": 1000, "backbone_kwargs": SMALL["CBraMod"]}
    answer = session.load("braindecode/cbramod-pretrained", **asked)
    assert answer == {"digest": session.load("eeg/cbramod")["digest"], "backbone": "CBraMod"}


def test_the_hub_answers_ranges_and_lists_folders(session: Session, saved: Path) -> None:
    file = saved / "eeg/cbramod/model.safetensors"
    asked = Request(f"{session.hub.url}/eeg/cbramod/resolve/main/model.safetensors", headers={"Range": "bytes=5-8"})
    with urlopen(asked) as answer:
        assert (answer.status, answer.read()) == (206, file.read_bytes()[5:9])
        assert answer.headers["Content-Range"] == f"bytes 5-8/{file.stat().st_size}"
    with urlopen(f"{session.hub.url}/api/models/eeg/folders/tree/main") as answer:
        assert [(entry["type"], entry["path"]) for entry in json.load(answer)] == [("directory", "inside")]
    with urlopen(f"{session.hub.url}/api/models/eeg/folders/tree/main?recursive=true") as answer:
        assert {entry["path"] for entry in json.load(answer)} > {"inside", "inside/config.json"}


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("eeg/nothing", {}, "OSError", "neither a folder here nor a repository"),
        ("eeg/nothing", {"token": "hf_right"}, "OSError", "Check the spelling"),
        ("eeg/private", {}, "OSError", "if it is private, log in with `hf auth login` or give `token=`"),
        ("eeg/private", {"token": "hf_wrong"}, "OSError", "if it is private"),
        ("eeg/gated", {}, "OSError", "eeg/gated is gated. Accept its conditions on http://127.0.0.1"),
        ("eeg/gated", {"token": "hf_wrong"}, "OSError", "eeg/gated is gated"),
        ("eeg/cbramod", {"revision": "v9"}, "OSError", "has no revision 'v9'"),
        ("eeg/cbramod", {"filename": "pytorch_model.bin"}, "ValueError", "must be a .safetensors file"),
        ("eeg/pickled", {}, "ValueError", "pickled weights only (pytorch_model.bin)"),
        ("eeg/cut", {}, "ValueError", "no whole safetensors file"),
        ("eeg/bert", {}, "ValueError", "describes a model of type 'bert', which is not an EEG teacher"),
        (
            "eeg/bert",
            {"backbone": "CBraMod", "ch_names": NAMES, "n_times": 400},
            "ValueError",
            "left over: embeddings.",
        ),
        ("eeg/labram", {"backbone": "CBraMod"}, "ValueError", "holds the tensors of Labram, not of CBraMod"),
        ("not/a/hub/id", {}, "OSError", "neither a folder that exists nor a Hub id"),
        ("eeg/uncached", {"local_files_only": True}, "OSError", "is not in the cache"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_error(
    session: Session, name: str, arguments: dict[str, Any], error: str, message: str
) -> None:
    answer = session.load(name, **arguments)
    assert answer.get("error") == error, answer
    assert message in answer["message"] and ("filename" in arguments or name in answer["message"])
    assert len(answer["message"]) < 700


def test_pickled_weights_are_never_read(session: Session, saved: Path, home: Path) -> None:
    with pytest.raises(ValueError, match="Reading a pickle can run any code"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/pickled")
    assert "pickled weights only" in session.load("eeg/pickled")["message"]
    assert not [request for request in session.hub.requests if request.startswith("GET") and ".bin" in request]


def test_a_partial_load_is_an_error_that_names_the_tensors(saved: Path, tmp_path: Path) -> None:
    def spoil(change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
        shutil.rmtree(tmp_path / "spoilt", ignore_errors=True)
        folder = shutil.copytree(saved / "eeg/cbramod", tmp_path / "spoilt")
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        return folder

    lost = "encoder.layers.1.linear1.weight"
    with pytest.raises(ValueError, match=f"missing: {lost}.*partly loaded"):
        DLinkTeacherModel.from_pretrained(spoil(lambda tensors: tensors.pop(lost)))
    with pytest.raises(ValueError, match="left over: extra.weight"):
        DLinkTeacherModel.from_pretrained(spoil(lambda tensors: tensors.update({"extra.weight": torch.ones(1)})))
    with pytest.raises(ValueError, match=rf"another shape: {lost} \(checkpoint \(3, 200\), model \(80, 200\)\)"):
        DLinkTeacherModel.from_pretrained(spoil(lambda tensors: tensors.update({lost: torch.ones(3, 200)})))
    model, info = DLinkTeacherModel.from_pretrained(
        spoil(lambda tensors: tensors.pop(lost)), start_anew=[lost], output_loading_info=True
    )
    assert info["new_keys"] == {lost} == info["missing_keys"]
    with pytest.raises(ValueError, match="no tensor begins with nowhere"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod", start_anew=["nowhere"])
    with pytest.raises(ValueError, match="`start_anew` must be a list of names"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod", start_anew="encoder")


def test_channels_and_windows_that_the_model_cannot_take(saved: Path) -> None:
    labram = saved / "eeg/labram"
    with pytest.raises(ValueError, match="Labram has no embedding for EOG1"):
        DLinkTeacherModel.from_pretrained(labram, ch_names=["C3", "EOG1"])
    with pytest.raises(ValueError, match=r"windows of at most 1000 samples; `n_times` is 1200"):
        DLinkTeacherModel.from_pretrained(labram, ch_names=NAMES, n_times=1200)
    with pytest.raises(ValueError, match="a multiple of Labram's patch of 200 samples .*, got 450"):
        DLinkTeacherModel.from_pretrained(labram, ch_names=NAMES, n_times=450)
    with pytest.raises(ValueError, match="`sfreq` must be 200.0 Hz"):
        DLinkTeacherModel.from_pretrained(labram, ch_names=NAMES, sfreq=128)
    with pytest.raises(ValueError, match="no field 'channels'"):
        DLinkTeacherModel.from_pretrained(labram, ch_names=NAMES, channels=4)


def test_options_of_the_class(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shutil.copytree(saved / "eeg/cbramod", tmp_path / "options")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "retired": 3}))
    _, info = DLinkTeacherModel.from_pretrained(folder, output_loading_info=True)
    assert info["ignored_options"] == {"retired": 3}
    assert "does not know: {'retired': 3}" in caplog.text
    model = DLinkTeacherModel.from_pretrained(folder, backbone_kwargs={"drop_prob": 0.0})
    assert model.config.backbone_kwargs == {**SMALL["CBraMod"], "drop_prob": 0.0}
    (folder / "config.json").write_text(json.dumps({**config, "activation": "os.abort"}))
    with pytest.raises(
        ValueError, match="activation='os.abort'. Of the classes that a file names only those of torch.nn"
    ):
        DLinkTeacherModel.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not a JSON file"):
        DLinkTeacherModel.from_pretrained(folder)


def test_a_truncated_shard_of_our_own_format(saved: Path, tmp_path: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod")
    model.save_pretrained(tmp_path, max_shard_size="400KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert outputs(DLinkTeacherModel.from_pretrained(tmp_path)) == outputs(model)
    shards[1].write_bytes(shards[1].read_bytes()[:-100])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        DLinkTeacherModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("backbone", "tensors"),
    [
        ("BIOT", "encoder.channel_tokens."),
        ("EEGPT", "chan_proj."),
        ("SignalJEPA", "pos_encoder.pos_encoder_spat."),
        ("EEGDINO", "patch_embedding.channel_embedding."),
        ("PBT", "pos_embedding."),
        ("MEDFormer", "enc_embedding."),
        ("MVPFormer", "channel_embedding."),
    ],
)
def test_weights_that_belong_to_channels_are_not_given_to_others(saved: Path, backbone: str, tensors: str) -> None:
    folder = saved / "small" / backbone
    for names in (list(reversed(MORE)), ["O1", *MORE[1:]]):
        with pytest.raises(ValueError, match=f"tells channels by their place; .*start_anew=.'{tensors}'"):
            DLinkTeacherModel.from_pretrained(folder, ch_names=names)
    others = ["O1", "O2", "P3", "P4", "Fz"]
    model, info = DLinkTeacherModel.from_pretrained(
        folder, ch_names=others, start_anew=[tensors], output_loading_info=True
    )
    assert info["new_keys"] and all(key.startswith(tensors) for key in info["new_keys"])
    assert model.config.ch_names == others and states_of_ours(model)


@pytest.mark.parametrize("backbone", ["Labram", "REVE", "LUNA", "STEEGFormer", "ZUNA"])
def test_channels_known_by_name_or_place_may_come_in_any_order(saved: Path, backbone: str) -> None:
    folder = saved / "small" / backbone
    model = DLinkTeacherModel.from_pretrained(folder)
    turned = DLinkTeacherModel.from_pretrained(folder, ch_names=MORE[::-1])
    x = windows(len(MORE), model.config.n_times)
    with torch.no_grad():
        expected, got = model(x).last_hidden_state, turned(x.flip(1)).last_hidden_state
    torch.testing.assert_close(got.flip(1), expected, atol=1e-3, rtol=1e-3)
    assert states_of_ours(DLinkTeacherModel.from_pretrained(folder, ch_names=MORE[:3]))


def test_names_of_tensors_and_options_as_the_authors_have_them(saved: Path, tmp_path: Path) -> None:
    """LUNA's authors name some tensors otherwise; REVE's keep the format of transformers."""
    luna = DLinkTeacherModel.from_pretrained(saved / "small/LUNA")
    tensors = load_file(saved / "small/LUNA/model.safetensors")
    for old, new in luna.backbone.mapping.items():
        if new in tensors:
            tensors[old] = tensors.pop(new)
    assert "channel_location_embedder.0.fc1.weight" in tensors
    save_file(tensors, tmp_path / "LUNA_base.safetensors")
    options = {"backbone_kwargs": luna.config.backbone_kwargs, "filename": "LUNA_base.safetensors"}
    again = DLinkTeacherModel.from_pretrained(tmp_path, backbone="LUNA", ch_names=MORE, n_times=1000, **options)
    assert outputs(again) == outputs(luna)
    reve = shutil.copytree(saved / "small/REVE", tmp_path / "reve")
    config = {"model_type": "reve", "architectures": ["Reve"], "dropout": 0.1, **SMALL["REVE"]}
    (reve / "config.json").write_text(json.dumps(config))
    model, info = DLinkTeacherModel.from_pretrained(reve, ch_names=MORE, n_times=920, output_loading_info=True)
    assert model.config.backbone_kwargs == SMALL["REVE"] and info["ignored_options"] == {}
    assert outputs(model) == outputs(DLinkTeacherModel.from_pretrained(saved / "small/REVE", n_times=920))


def test_bendr_does_not_name_its_channels(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"small/BENDR was trained on 6 channels.*start_anew=\['encoder.encoder.Enc"):
        DLinkTeacherModel.from_pretrained(saved / "small/BENDR", ch_names=NAMES)
    model = DLinkTeacherModel.from_pretrained(
        saved / "small/BENDR", ch_names=NAMES, start_anew=["encoder.encoder.Encoder_0.0."]
    )
    assert states_of_ours(model)


def test_eegpt_takes_channels_by_name_without_its_projection(saved: Path) -> None:
    others, options = ["O1", "O2", "P3"], {"backbone_kwargs": {"chan_proj_type": "none"}}
    with pytest.raises(ValueError, match=r"`backbone_kwargs=\{'chan_proj_type': 'none'\}, drop=\['chan_proj"):
        DLinkTeacherModel.from_pretrained(saved / "small/EEGPT", ch_names=others)
    model = DLinkTeacherModel.from_pretrained(saved / "small/EEGPT", ch_names=others, drop=["chan_proj."], **options)
    assert model.config.token_chans == 3
    known = braindecode.models.eegpt.EEGPT_CHANNELS
    assert model.backbone.chans_id.flatten().tolist() == [known.index(name.upper()) for name in others]


def test_steegformer_keeps_the_slots_of_named_channels(saved: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(saved / "small/STEEGFormer", ch_names=["C4", "Fp1"])
    assert model.backbone.channel_indices.tolist() == [9, 0]


def test_the_cache_serves_while_offline_and_when_the_hub_is_gone(session: Session, home: Path) -> None:
    before = session.load("eeg/cbramod")["digest"]
    session.stop_hub()
    assert session.load("eeg/cbramod")["digest"] == before
    # this process is offline (HF_HUB_OFFLINE=1)
    model = DLinkTeacherModel.from_pretrained("eeg/cbramod", cache_dir=home / "hub")
    assert outputs(model) == before
    with pytest.raises(OSError, match=r"eeg/uncached is not a folder here, its config.json .*cache.*offline"):
        DLinkTeacherModel.from_pretrained("eeg/uncached", cache_dir=home / "hub")


if __name__ == "__main__":
    answer_requests(answer)
