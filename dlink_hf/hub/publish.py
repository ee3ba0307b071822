# Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
"""Publish a checkpoint on the Hub: one commit of all that belongs to it, which keeps what users wrote in its card."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    HfApi,
    ModelCard,
    constants,
    is_offline_mode,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file

from ..core.atomic_files import damaged
from ..core.export_record import DEPLOY_FILE, MODEL_FILES, check_belongs, exports_in, read_deploy
from ..core.fetch import is_of_transport, read_json
from ..core.text import for_terminal, without_tokens
from .card_merging import is_generated, merge_model_card, name_in_usage
from .model_card import build_model_card
from .remote_code import REMOTE_CODE_MODULES, add_remote_code, remove_remote_code
from .rights import check_rights
from .teacher_card import build_part_card


logger = logging.getLogger(__name__)

# what belongs to a published checkpoint, as patterns relative to its folder; nothing else of a folder is uploaded
PUBLISHED = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "README.md",
    "people.json",
    "training_args.json",
    "LICENSE*",
    "*.png",
    "plots/*.png",
    *(
        f"{place}/{name}"
        for place in ("onnx", "onnx/*", "executorch", "executorch/*")
        for name in (*MODEL_FILES, DEPLOY_FILE, "config.json", "preprocessor_config.json")
    ),
)


# tensors of a batch normalisation that are no parameters
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
# answers that mean the Hub stumbles or is busy, how often it is asked in all, and how long is waited at most (s)
RETRY_STATUS_CODES = (429, 500, 502, 503, 504)
TRIES, LONGEST_WAIT = 4, 60


def publishable_files(folder: str | os.PathLike, with_code: bool = False) -> list[str]:
    """Return what of a folder belongs to a published checkpoint; a link that leads out of the folder does not.

    Args:
        folder: of the checkpoint.
        with_code: Python files too.

    Returns:
        names relative to the folder, with `/` between their parts, in order.
    """
    patterns = (*PUBLISHED, *(("*.py",) if with_code else ()))
    found = {path for pattern in patterns for path in Path(folder).glob(pattern) if path.is_file()}
    home = Path(folder).resolve()
    outside = {path for path in found if not path.resolve().is_relative_to(home)}
    for path in sorted(outside):
        logger.warning("%s is left out: it is a link that leads out of the folder, to %s", path, path.resolve())
    return sorted(path.relative_to(folder).as_posix() for path in found - outside)


def publish_folder(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    commit_message: str | None = None,
    commit_description: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    tags: list[str] | None = None,
    remote_code: bool | None = None,
    despite_no_derivatives: bool = False,
) -> CommitInfo:
    """Upload a checkpoint to the Hub in one commit; the folder stays as it is.

    The commit holds the files of [`publishable_files`] that the Hub has not got. The card is that of the folder, or
    one made from the config; it is merged into the one on the Hub, so that what users wrote there stays. A
    push that breaks off leaves the repository as it was, and can be repeated.

    Args:
        folder: of a saved checkpoint; or of nothing but a feature extractor.
        repo_id: `user/name`, or `name` for the user who is logged in; made where there is none.
        commit_message, commit_description: of the commit.
        private: whether a new repository is private; one that exists stays as it is.
        token: of a user who may write there; that of `hf auth login`, or of HF_TOKEN, by default.
        revision: branch, made where there is none; `main` by default.
        create_pr: open a pull request with the commit rather than change the branch.
        tags: more tags for the card.
        remote_code: put the code of the student next to the weights, for those who have transformers but not this
            package: `AutoModel.from_pretrained(repo_id, trust_remote_code=True)`. By default, code is renewed in
            a repository that has some, and put into no other.
        despite_no_derivatives: publish a model that goes back to weights of which no derivatives may be shared: with
            the authors' permission, or into a repository that is private to you.

    Returns:
        `huggingface_hub.CommitInfo`: `oid`, `commit_url`, and `pr_url` of a pull request.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
        ValueError: the name is none, code was asked for and there is none to add, an export in `onnx` or
            `executorch` belongs to other weights than those of the folder, or the licence of the weights that the
            model goes back to forbids to share it.
        OSError: no connection, no or wrong token, no right to write there, or the Hub refused. Nothing was published.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. Name the folder of a saved checkpoint.")
    if not {"config.json", "preprocessor_config.json"} & set(publishable_files(folder)):
        raise FileNotFoundError(
            f"{folder} holds neither config.json nor preprocessor_config.json: it is not a checkpoint. After `dlink "
            "distill --output_dir DIR` the student lies in DIR/student."
        )
    _check_exports(folder)
    if (folder / "config.json").is_file():
        check_rights(read_json(folder / "config.json"), despite_no_derivatives)
    if is_offline_mode():
        raise OSError("HF_HUB_OFFLINE is set, so that nothing can be published. Unset it first.")
    api = HfApi(token=token)
    with explained(repo_id), tempfile.TemporaryDirectory(prefix="dlink-push-") as temporary:
        repo_id = with_retries(api.create_repo, repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not create_pr and not revision.startswith("refs/"):
            with_retries(api.create_branch, repo_id, branch=revision, exist_ok=True)
        base = with_retries(api.model_info, repo_id, revision=revision).sha
        copy = _copy(folder, Path(temporary))
        if (copy / "config.json").is_file():
            if remote_code is None:
                remote_code = f"{REMOTE_CODE_MODULES[0]}.py" in with_retries(
                    api.list_repo_files, repo_id, revision=base
                )
            add_remote_code(copy) if remote_code else remove_remote_code(copy)
            _write_card(copy, repo_id, _remote_card(api, repo_id, base), tags or [])
        files = publishable_files(copy, with_code=bool(remote_code))
        logger.info("publishing %s as %s", ", ".join(files), repo_id)
        commit = with_retries(
            api.create_commit,
            repo_id,
            [CommitOperationAdd(path_in_repo=name, path_or_fileobj=copy / name) for name in files],
            commit_message=commit_message or f"Upload {'student' if 'model.safetensors' in files else files[0]}",
            commit_description=commit_description,
            revision=revision,
            create_pr=create_pr,
            # what was merged into the card must still be what is there
            parent_commit=base,
        )
    return commit


def _check_exports(folder: Path) -> None:
    """Refuse to publish weights together with an export of others."""
    exports, weights = exports_in(folder), folder / "model.safetensors"
    if not exports or not weights.is_file():
        return
    try:
        tensors = load_file(weights)
    except SafetensorError as error:
        raise damaged(str(folder), error) from error
    for export in exports:
        check_belongs(read_deploy(export), tensors, None, export, str(folder))


def with_retries(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call of the Hub's client gives; where the Hub stumbles or is busy it is asked again, up to `TRIES` times.

    The client itself does so for some of its requests, but not for that of a commit. All are safe to repeat.

    Args:
        call: of the client.
        *args, **kwargs: its arguments.

    Raises:
        whatever the last try raised.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return call(*args, **kwargs)
        except Exception as error:
            response = getattr(error, "response", None)
            status = getattr(response, "status_code", None)
            stumbles = status in RETRY_STATUS_CODES if status is not None else is_of_transport(error)
            if not stumbles or attempt == TRIES:
                raise
            asked = response.headers.get("Retry-After", "") if response is not None else ""
            seconds = float(asked) if asked.isdigit() else 2.0 ** (attempt - 1)
            if seconds > LONGEST_WAIT:
                raise
            logger.warning("the Hub answered %s; asking again in %g s", status or type(error).__name__, seconds)
            time.sleep(seconds)
    raise AssertionError("not reached")


def _copy(folder: Path, into: Path) -> Path:
    """The files to publish, where they can be changed without touching the user's."""
    for name in publishable_files(folder):
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, into / name)
    return into


def _remote_card(api: HfApi, repo_id: str, commit: str | None) -> str | None:
    """Text of the card that is on the Hub, or None where there is none."""
    with tempfile.TemporaryDirectory(prefix="dlink-card-") as temporary:
        try:
            path = api.hf_hub_download(repo_id, "README.md", revision=commit, local_dir=temporary)
        except EntryNotFoundError:
            return None
        return Path(path).read_text("utf-8", errors="replace")


def _write_card(folder: Path, repo_id: str, remote: str | None, tags: list[str]) -> None:
    """The card to publish: the folder's own, or one from the config, named after the repository, merged with `remote`.

    Raises:
        ValueError: what is on the Hub can't be merged with.
    """
    path = folder / "README.md"
    config = read_json(folder / "config.json")
    if path.is_file():
        card = ModelCard.load(path, ignore_metadata_errors=True)
    elif remote is not None and tags:
        card = ModelCard(remote, ignore_metadata_errors=True)
    elif remote is None:
        has_head = {"MiCForEEGClassification", "MiCForEEGRegression"} & set(config.get("architectures") or ())
        build = build_model_card if has_head else build_part_card
        card = build(config, name=repo_id.split("/")[-1], model_id=repo_id)
    else:
        return
    if not card.data.library_name:
        # by these a model is found, and known for what loads it
        card.data.library_name, tags = "dlink_hf", ["dlink_hf", *tags]
    if tags:
        card.data.tags = list(dict.fromkeys([*(card.data.tags or []), *tags]))
    if not path.is_file() and remote is not None:
        path.write_text(str(card), encoding="utf-8", newline="\n")
        return
    text = name_in_usage(str(card), repo_id)
    if remote is not None and not is_generated(text) and remote != text:
        logger.warning(
            "The card on the Hub stays: README.md of the folder has no part that dlink_hf made, so it can't be told "
            "which of the two is newer. To publish the folder's, delete README.md of %s there first.",
            repo_id,
        )
    if remote is not None:
        try:
            text = merge_model_card(remote, text)
        except ValueError as error:
            raise ValueError(
                f"{error}. Mend README.md of {repo_id} on the Hub, or delete it there, and push again."
            ) from error
    path.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """Turn what the client of the Hub raises in the block into an error that says what to do.

    Args:
        repo_id: what is being written to.

    Raises:
        ValueError: the name is none that the Hub takes.
        OSError: everything else that goes wrong on the way.
    """
    where = f"the Hub ({constants.ENDPOINT})"
    nothing = "Nothing was published; what is there is as it was."
    try:
        yield
    except HFValidationError as error:
        raise ValueError(
            f"{repo_id!r} is not a name for a repository: give `user/name`, of letters, digits and - _ . only, at "
            "most 96 in all."
        ) from error
    except LocalTokenNotFoundError as error:
        raise OSError(
            "Publishing needs a token. Log in with `hf auth login`, set HF_TOKEN, or give `token=`. " + nothing
        ) from error
    except RevisionNotFoundError as error:
        raise OSError(f"{repo_id} has no such branch on {where}. {nothing}") from error
    except HfHubHTTPError as error:
        raise OSError(_refused(error, repo_id, where, nothing)) from None
    except OSError:
        raise
    except (LookupError, AttributeError, TypeError) as error:
        raise OSError(f"{where} gave an answer that can't be read ({error!r}). {nothing}") from None
    except Exception as error:
        # an upload that failed is told of by an error that says nothing itself
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        if isinstance(cause, HfHubHTTPError):
            raise OSError(_refused(cause, repo_id, where, nothing)) from None
        if cause is None or not is_of_transport(cause):
            raise
        error = cause
        raise OSError(
            without_tokens(
                f"the connection to {where} broke off ({type(error).__name__}: {error}). {nothing} Push again: what "
                "arrived is not sent twice."
            )
        ) from None


def _refused(error: HfHubHTTPError, repo_id: str, where: str, nothing: str) -> str:
    status = getattr(error.response, "status_code", None)
    advice = _advice(status, repo_id, getattr(error, "server_message", None) or "")
    return for_terminal(without_tokens(f"{where} refused: {advice} {nothing}"), keep="\n")


def _advice(status: int | None, repo_id: str, message: str) -> str:
    said = f" It says: {message}." if message else ""
    known: Mapping[int, str] = {
        400: f"the request for {repo_id!r} is not valid.{said} Names have only letters, digits, -, _ and dots.",
        401: "the token is missing, wrong or expired. Log in again with `hf auth login`, or give `token=`.",
        403: f"the token may not write to {repo_id}.{said} Take a token with the role `write`, of the user that "
        "the repository belongs to; or use `create_pr=True`.",
        404: f"{repo_id} is not there, or it is private and belongs to somebody else. Take another name, or a token "
        "that may see it.",
        409: f"{repo_id} exists and the request does not fit it.{said}",
        412: f"somebody else changed {repo_id} in the meantime. Push again.",
        429: "too many requests. Wait for some minutes, then push again.",
    }
    if status in known:
        return known[status]
    return f"it answered {status} to the request for {repo_id}.{said} If that is its own fault, push again later."


def publish_saved(
    saveable: Any, repo_id: str, *, max_shard_size: int | str | None = None, **kwargs: Any
) -> CommitInfo:
    """Save a model or a feature extractor into a temporary folder and publish that.

    Exports that lie next to the weights in the folder that a model was loaded from go along, unless it has
    changed since.

    Args:
        saveable: what has `save_pretrained`.
        repo_id: see [`publish_folder`].
        max_shard_size: as `save_pretrained` of a model takes it.
        **kwargs: as [`publish_folder`] takes them.

    Returns, raises: as [`publish_folder`].
    """
    sharding = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
    with tempfile.TemporaryDirectory(prefix="dlink-push-") as folder:
        saveable.save_pretrained(folder, **sharding)
        _add_exports(saveable, Path(folder))
        return publish_folder(folder, repo_id, **kwargs)


def _add_exports(saveable: Any, folder: Path) -> None:
    """Put the exports next to the weights in the folder that a model was loaded from into that of a saved copy."""
    source = Path(getattr(saveable, "name_or_path", None) or folder)
    if source == folder or not source.is_dir():
        return
    for export in exports_in(source):
        try:
            check_belongs(read_deploy(export), saveable.state_dict(), None, export, str(source))
        except ValueError as error:
            logger.warning("not published: %s", error)
            continue
        for name in publishable_files(source):
            if (source / name).parent == export:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / name, folder / name)


__all__ = ["PUBLISHED", "explained", "publish_folder", "publish_saved", "publishable_files", "with_retries"]
