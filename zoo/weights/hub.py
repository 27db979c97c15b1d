"""Weights in repositories of the Hugging Face hub: `hf:owner/repository`, or with `/file`.

The hub's own client downloads them into its own cache, which other programs share. It is imported
once something is to be downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from zoo.errors import DownloadError, WeightsError
from zoo.text import first_line
from zoo.weights.download import MOST_BYTES, TIMEOUT, file_sha256, wrong_hash

PREFIX = "hf:"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
"""The suffixes of PyTorch's own files, which are read with `weights_only=True`."""

_SAFE_SUFFIX = ".safetensors"
_FORM = re.compile(r"hf:([A-Za-z0-9][\w.-]*)/([A-Za-z0-9][\w.-]*)((?:/[\w][\w. +-]*)*)", re.ASCII)
# What a repository calls its only weights.
_USUAL_NAMES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class HubFile:
    """A file that was downloaded from the hub.

    Attributes:
        path: where the hub's cache has it.
        revision: the commit that it is of.
        license: what the repository's card says of it; empty where nothing.
    """

    path: Path
    revision: str
    license: str


def is_hub(text: str) -> bool:
    """Whether a text names weights on the hub."""
    return text.startswith(PREFIX)


def split(text: str) -> tuple[str, str]:
    """`hf:owner/repository[/file]` as repository and file; the file is empty where none is named.

    Raises:
        WeightsError: it has another form, or the file is none of weights.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise WeightsError(
            f"{text!r} names no weights on the hub; type hf:OWNER/REPOSITORY, or "
            "hf:OWNER/REPOSITORY/FILE"
        )
    owner, repository, file = match.groups()
    file = file.removeprefix("/")
    if file and not file.endswith((_SAFE_SUFFIX, *CHECKPOINT_SUFFIXES)):
        raise WeightsError(
            f"{text} is no file of weights; type one that ends in "
            f"{_SAFE_SUFFIX}, {', '.join(CHECKPOINT_SUFFIXES[:-1])} or {CHECKPOINT_SUFFIXES[-1]}"
        )
    return f"{owner}/{repository}", file


def page(text: str) -> str:
    """The web page of a repository."""
    return f"https://huggingface.co/{split(text)[0]}"


def download(text: str, revision: str = "") -> HubFile:
    """Downloads weights from the hub, or finds them in its cache.

    Args:
        text: `hf:owner/repository`, whose only weights are taken, safetensors before others; or
            with `/file`.
        revision: a commit; the newest where empty.

    Raises:
        DownloadError: the hub could not be asked, or delivered something else.
        WeightsError: there is no such repository or file, or the client is not installed.
    """
    repository, file = split(text)
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise WeightsError(
            f"{text} needs the package huggingface-hub; type pip install huggingface-hub"
        ) from error
    try:
        found = hub.HfApi().model_info(
            repository, revision=revision or None, timeout=TIMEOUT, files_metadata=True
        )
        siblings = {each.rfilename: each for each in found.siblings or ()}
        chosen = siblings.get(file or _choose(text, list(siblings)))
        if chosen is None:
            raise WeightsError(f"{repository} has no file {file}; it has {_listed(siblings)}")
        if (chosen.size or 0) > MOST_BYTES:
            raise WeightsError(f"{text} has {chosen.size:,} bytes, more than {MOST_BYTES:,}")
        commit = str(found.sha)
        path = Path(hub.hf_hub_download(repository, chosen.rfilename, revision=commit))
    except WeightsError:
        raise
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"{text}: its owner lets in those who asked; ask at {page(text)}, then type "
            "hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise WeightsError(
            f"{text}: the hub has no repository {repository}, or it is private; check the name, or "
            "type hf auth login"
        ) from error
    # Whatever the many layers below the client raise, it means the same to the user.
    except Exception as error:
        _fail(text, error)
    expected = chosen.lfs.sha256 if chosen.lfs is not None else ""
    if not (digest := file_sha256(path)).startswith(expected):
        raise DownloadError(f"{wrong_hash(path, digest, expected)}, as the hub says; delete it")
    return HubFile(path, commit, _license(found.card_data))


def _choose(text: str, files: Sequence[str]) -> str:
    for suffixes in ((_SAFE_SUFFIX,), CHECKPOINT_SUFFIXES):
        matching = [name for name in files if name.endswith(suffixes)]
        usual = [name for name in matching if name in _USUAL_NAMES]
        if len(usual or matching) == 1:
            return (usual or matching)[0]
        if matching:
            raise WeightsError(
                f"{text} holds several files of weights; type one of "
                f"{_listed(f'{text}/{name}' for name in matching)}"
            )
    raise WeightsError(f"{text} holds no file of weights; it has {_listed(files)}")


def _listed(names: Any) -> str:
    names = sorted(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "none"


def _license(card: Any) -> str:
    said = card.get("license") if card is not None else None
    return said if isinstance(said, str) else ""


def _fail(text: str, error: Exception) -> NoReturn:
    reason = first_line(error).rstrip(".")
    raise DownloadError(
        f"{text} could not be had from the hub ({reason[:200]}); connect to the network once, or "
        "name a file on disk"
    ) from error
