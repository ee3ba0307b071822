# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that braindecode saved, read from folders and over HTTP from a Hub on loopback.

What needs the Hub runs in one process of its own (`python tests/test_teacher_checkpoints.py`), since the client reads
`HF_ENDPOINT` when it is imported. It reads one request a line and answers each with a line.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from safetensors.torch import load_file, save_file


pytest.importorskip("braindecode", reason="teachers need braindecode: pip install 'dlink-hf[teachers]'")

import braindecode.models  # noqa: E402

from dlink_hf import DLinkTeacherConfig, DLinkTeacherForEEGClassification, DLinkTeacherModel  # noqa: E402
from dlink_hf.teacher_checkpoints import FITS, identify  # noqa: E402


NAMES = ["Fp1", "C3", "Cz", "C4"]
MORE = [*NAMES, "Pz", "Oz"]
SMALL = {
    "CBraMod": {"n_layer": 2, "dim_feedforward": 80, "drop_prob": 0.2},
    "Labram": {"num_layers": 2, "init_values": 0.3},
}
LAYERS = {"CBraMod": "encoder.layers.{}", "Labram": "blocks.{}"}


def windows(n_chans: int, n_times: int) -> torch.Tensor:
    """Two windows (2, C, T) of noise, in microvolts; the same in every process."""
    return 20 * torch.randn(2, n_chans, n_times, generator=torch.Generator().manual_seed(7))


def digest(tensors: list[torch.Tensor]) -> str:
    """The same for the same bits alone."""
    joined = hashlib.sha256()
    for tensor in tensors:
        joined.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode() + tensor.contiguous().numpy().tobytes())
    return joined.hexdigest()


@torch.no_grad()
def outputs_of_ours(model: DLinkTeacherModel) -> str:
    """Digest of the features and of all hidden states."""
    output = model(windows(model.config.n_chans, model.config.n_times), output_hidden_states=True)
    return digest([output.last_hidden_state, *output.hidden_states])


@torch.no_grad()
def outputs_of_braindecode(model: torch.nn.Module, ch_names: list[str], n_times: int) -> str:
    """The same of braindecode's own model, by plain forward hooks, brought to (B, C, P, D) by hand."""
    name, states = type(model).__name__, []
    for layer in range(SMALL[name].get("n_layer", SMALL[name].get("num_layers"))):
        module = model.get_submodule(LAYERS[name].format(layer))
        module.register_forward_hook(lambda module, inputs, output: states.append(output))
    known = {"ch_names": ch_names} if name == "Labram" else {}
    microvolts = windows(len(ch_names), n_times)
    features = model.eval()(microvolts * 0.01, return_features=True, **known)["features"]
    shape = (2, len(ch_names), n_times // 200, 200)
    states = [state[:, 1:] for state in states] if name == "Labram" else states
    return digest([state.reshape(shape) for state in (features, *states)])


def client() -> None:
    """Answer requests from stdin: `{"ours": {...}}` or `{"braindecode": [name, {...}, ch_names, n_times]}`."""
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "ours" in request:
                model = DLinkTeacherModel.from_pretrained(**request["ours"])
                answer = {"digest": outputs_of_ours(model), "backbone": model.config.backbone}
            else:
                name, arguments, ch_names, n_times = request["braindecode"]
                model = getattr(braindecode.models, name).from_pretrained(**arguments)
                answer = {"digest": outputs_of_braindecode(model, ch_names, n_times)}
        except (OSError, ValueError) as error:
            answer = {"error": type(error).__name__, "message": str(error), "cause": type(error.__cause__).__name__}
        print("ANSWER " + json.dumps(answer), flush=True)


def save(folder: Path, name: str, n_chans: int = 6, n_times: int = 800, **arguments: Any) -> Path:
    """A small model with random weights, saved by braindecode itself."""
    torch.manual_seed(len(name))
    arguments = {"n_outputs": 3, "n_chans": n_chans, "n_times": n_times, "sfreq": 200.0, **SMALL[name], **arguments}
    model = getattr(braindecode.models, name)(**arguments)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the Hub: checkpoints as braindecode writes them, and spoilt copies."""
    root = tmp_path_factory.mktemp("hub")
    named = [{"ch_name": name, "kind": 2} for name in MORE]
    cbramod = save(root / "eeg/cbramod", "CBraMod", chs_info=named)
    save(root / "eeg/labram", "Labram", n_times=1000)
    save(root / "eeg/cbramod@v1", "CBraMod", n_layer=1)
    shutil.copytree(cbramod, root / "eeg/gated")
    shutil.copytree(cbramod, root / "eeg/private")
    shutil.copytree(cbramod, root / "eeg/folders/inside")
    pickled = shutil.copytree(cbramod, root / "eeg/pickled")
    (pickled / "model.safetensors").unlink()
    cut = shutil.copytree(cbramod, root / "eeg/cut")
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    bare = root / "eeg/bare"
    bare.mkdir()
    tensors = load_file(cbramod / "model.safetensors")
    renamed = {f"model.{key}": value for key, value in tensors.items()} | {"model.decoder.weight": torch.ones(2)}
    save_file(renamed, bare / "base.safetensors")
    bert = root / "eeg/bert"
    bert.mkdir()
    (bert / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 8}))
    save_file({"embeddings.word_embeddings.weight": torch.ones(4, 8)}, bert / "model.safetensors")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`HF_HOME` of the process that talks to the Hub."""
    return tmp_path_factory.mktemp("home")


Ask = Callable[..., dict[str, Any]]


class Session:
    """The Hub, and a process that asks it."""

    def __init__(self, saved: Path, home: Path):
        self.hub = HubServer(saved, private=["eeg/private"], gated=["eeg/gated"], token="hf_right")
        self.hub.__enter__()
        environment = self.hub.environment(home, OMP_NUM_THREADS="1")
        self.process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ours(self, name: str, **arguments: Any) -> dict[str, Any]:
        return self._ask({"ours": {"pretrained_model_name_or_path": name, **arguments}})

    def braindecode(self, backbone: str, name: str, ch_names: list[str], n_times: int, **arguments: Any) -> str:
        request = [backbone, {"pretrained_model_name_or_path": name, **arguments}, ch_names, n_times]
        return self._ask({"braindecode": request})["digest"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise RuntimeError(f"the client ended with {self.process.wait()}")

    def stop_hub(self) -> None:
        if self.hub is not None:
            self.hub.__exit__()
            self.hub = None

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.stop_hub()


@pytest.fixture(scope="module")
def session(saved: Path, home: Path) -> Iterator[Session]:
    """One process and one Hub for all tests; the last test takes the Hub away."""
    running = Session(saved, home)
    yield running
    running.close()


@pytest.mark.parametrize(
    ("name", "backbone", "ch_names", "n_times"),
    [("eeg/cbramod", "CBraMod", MORE, 800), ("eeg/labram", "Labram", MORE, 1000)],
)
def test_the_hub_gives_the_bits_that_braindecode_reads(
    session: Session, name: str, backbone: str, ch_names: list[str], n_times: int
) -> None:
    ours = session.ours(name, ch_names=ch_names)
    assert ours["backbone"] == backbone
    assert ours["digest"] == session.braindecode(backbone, name, ch_names, n_times)


def test_saved_again_it_is_the_same_in_our_own_format(saved: Path, tmp_path: Path) -> None:
    for name, backbone in (("eeg/cbramod", "CBraMod"), ("eeg/labram", "Labram")):
        model = DLinkTeacherModel.from_pretrained(saved / name, ch_names=MORE)
        model.save_pretrained(tmp_path / backbone)
        again = DLinkTeacherModel.from_pretrained(tmp_path / backbone)
        assert json.loads((tmp_path / backbone / "config.json").read_text())["model_type"] == "dlink_teacher"
        assert outputs_of_ours(again) == outputs_of_ours(model)
        theirs = getattr(braindecode.models, backbone).from_pretrained(saved / name)
        assert outputs_of_ours(again) == outputs_of_braindecode(theirs, MORE, again.config.n_times)


def test_only_safetensors_are_downloaded(session: Session, home: Path) -> None:
    session.ours("eeg/cbramod")
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
    assert outputs_of_ours(ours) == outputs_of_braindecode(theirs, NAMES, 400)


def test_other_channels_and_windows_need_nothing_of_cbramod(saved: Path) -> None:
    theirs = braindecode.models.CBraMod.from_pretrained(saved / "eeg/cbramod", return_encoder_output=True)
    ours = DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod", ch_names=["O1", "Oz", "O2"], n_times=1200)
    assert ours.config.backbone_kwargs == {**SMALL["CBraMod"]}
    assert outputs_of_ours(ours) == outputs_of_braindecode(theirs, ["O1", "Oz", "O2"], 1200)


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
    first = session.ours("eeg/cbramod", revision="v1", ch_names=MORE)
    other = session.ours("eeg/cbramod", ch_names=MORE)
    assert first["digest"] != other["digest"]
    assert first["digest"] != session.ours("eeg/folders", subfolder="inside")["digest"] == other["digest"]
    for name in ("eeg/private", "eeg/gated"):
        assert session.ours(name, token="hf_right", cache_dir=str(tmp_path))["digest"] == other["digest"]


def test_a_cache_of_its_own_and_downloading_anew(session: Session, tmp_path: Path) -> None:
    session.ours("eeg/cbramod", cache_dir=str(tmp_path))
    blobs = [path for path in tmp_path.rglob("*") if path.name == "model.safetensors"]
    assert len(blobs) == 1
    blobs[0].resolve().write_bytes(b"damaged")
    answer = session.ours("eeg/cbramod", cache_dir=str(tmp_path))
    assert answer["error"] == "ValueError" and "`force_download=True`" in answer["message"]
    assert "digest" in session.ours("eeg/cbramod", cache_dir=str(tmp_path), force_download=True)


def test_weights_of_another_name_and_prefix(session: Session, saved: Path) -> None:
    plain = session.ours("eeg/cbramod")["digest"]
    asked = {"ch_names": MORE, "n_times": 800, "backbone": "CBraMod", "key_prefix": "model.", "drop": ["decoder."]}
    options = {"backbone_kwargs": SMALL["CBraMod"], "filename": "base.safetensors"}
    assert session.ours("eeg/bare", **asked, **options)["digest"] == plain
    without = session.ours("eeg/bare", **asked)
    assert without["error"] == "ValueError" and "`filename=`: base.safetensors" in without["message"]
    with pytest.raises(ValueError, match="left over: decoder.weight"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/bare", **{**asked, "drop": []}, **options)
    with pytest.raises(ValueError, match="not every tensor begins with `key_prefix` 'net.'"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/bare", **{**asked, "key_prefix": "net."}, **options)
    with pytest.raises(ValueError, match=r'say which class they belong to \(`backbone="CBraMod"`\)'):
        DLinkTeacherModel.from_pretrained(saved / "eeg/bare")


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
        ("eeg/bert", {}, "ValueError", "describes a model of type 'bert', which is no EEG teacher"),
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
    answer = session.ours(name, **arguments)
    assert answer.get("error") == error, answer
    assert message in answer["message"] and ("filename" in arguments or name in answer["message"])
    assert len(answer["message"]) < 700


def test_pickled_weights_are_never_read(session: Session, saved: Path, home: Path) -> None:
    with pytest.raises(ValueError, match="Reading a pickle can run any code"):
        DLinkTeacherModel.from_pretrained(saved / "eeg/pickled")
    assert "pickled weights only" in session.ours("eeg/pickled")["message"]
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
    with pytest.raises(ValueError, match="a multiple of Labram's patch of 200 samples, got 450"):
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
        ValueError, match="activation=os.abort, where CBraMod has GELU: classes named in a file are not"
    ):
        DLinkTeacherModel.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is no JSON file"):
        DLinkTeacherModel.from_pretrained(folder)


def test_a_truncated_shard_of_our_own_format(saved: Path, tmp_path: Path) -> None:
    model = DLinkTeacherModel.from_pretrained(saved / "eeg/cbramod")
    model.save_pretrained(tmp_path, max_shard_size="400KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert outputs_of_ours(DLinkTeacherModel.from_pretrained(tmp_path)) == outputs_of_ours(model)
    shards[1].write_bytes(shards[1].read_bytes()[:-100])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        DLinkTeacherModel.from_pretrained(tmp_path)


def test_every_backbone_is_told_apart_by_its_tensors() -> None:
    from dlink_hf.configuration_teacher import BACKBONES

    assert set(BACKBONES) <= set(FITS)
    for name in SMALL:
        own = DLinkTeacherModel(DLinkTeacherConfig(backbone=name, backbone_kwargs=SMALL[name])).backbone
        assert identify(list(own.state_dict())) == name


def test_the_cache_serves_while_offline_and_when_the_hub_is_gone(session: Session, home: Path) -> None:
    before = session.ours("eeg/cbramod")["digest"]
    session.stop_hub()
    assert session.ours("eeg/cbramod")["digest"] == before
    # this process is offline (HF_HUB_OFFLINE=1)
    model = DLinkTeacherModel.from_pretrained("eeg/cbramod", cache_dir=home / "hub")
    assert outputs_of_ours(model) == before
    with pytest.raises(OSError, match=r"eeg/uncached is no folder here, its config.json is not in the cache.*offline"):
        DLinkTeacherModel.from_pretrained("eeg/uncached", cache_dir=home / "hub")


if __name__ == "__main__":
    client()
