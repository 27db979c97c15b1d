"""AlexNet's weights for LPIPS: where they are, how to get them, and proof that they are the ones.

Torch is imported inside the functions, so that a command can say where the weights are before
it pays for that import.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import WeightsError
from zoo.weights import download as downloads

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.data.dataset import Progress

VARIABLE = "ZOO_LPIPS_WEIGHTS"
"""The environment variable that names a file, as `--lpips-weights` does."""

FEATURES_SHA256 = "2b566cc3a4d6f0a7343701af22f461f1ac3dcd03a3ac28cce10968a1d3c85fdc"
"""Of the ten tensors of torchvision's IMAGENET1K_V1 as little-endian float32, in order."""

_SHAPES: dict[str, tuple[int, ...]] = {
    "features.0.weight": (64, 3, 11, 11),
    "features.0.bias": (64,),
    "features.3.weight": (192, 64, 5, 5),
    "features.3.bias": (192,),
    "features.6.weight": (384, 192, 3, 3),
    "features.6.bias": (384,),
    "features.8.weight": (256, 384, 3, 3),
    "features.8.bias": (256,),
    "features.10.weight": (256, 256, 3, 3),
    "features.10.bias": (256,),
}


@dataclass(frozen=True)
class LPIPSBackbone:
    """What came of the search.

    Attributes:
        path: a verified file, or None where there is none.
        status: one line for people: where the file is from, or why there is none and what to do.
    """

    path: Path | None
    status: str


def find_lpips_weights(
    option: str | Path | None,
    *,
    download: bool,
    progress: Progress | None = None,
    timeout: float = 5.0,
) -> LPIPSBackbone:
    """Looks in `option`, in `ZOO_LPIPS_WEIGHTS`, in torchvision's cache, then downloads.

    Args:
        option: the file given with `--lpips-weights`, if any.
        download: whether torchvision's checkpoint (244 MB) may be downloaded to its cache.
        progress: told of the download.
        timeout: seconds to wait for a connection, and then for each answer of the server.

    Raises:
        WeightsError: a file named by `option` or by the variable is missing or is not AlexNet's.
    """
    for named, by in ((option, "--lpips-weights"), (os.environ.get(VARIABLE), VARIABLE)):
        if named:
            path = Path(named).expanduser()
            load_alexnet_features(path, named_by=by)
            return LPIPSBackbone(path, f"{path} (from {by})")

    cached = _cached_file()
    spoilt = ""
    if cached.exists():
        try:
            load_alexnet_features(cached, named_by="torchvision's cache")
            return LPIPSBackbone(cached, f"{cached} (from torchvision's cache)")
        except WeightsError as error:
            spoilt = f"{error}; "
    if not download:
        return LPIPSBackbone(None, f"{spoilt}AlexNet's weights are not here: {how_to_get()}")
    if downloads.is_offline():
        unasked = f"AlexNet's weights are not here, and {downloads.OFFLINE_VARIABLE} is set"
        return LPIPSBackbone(None, f"{spoilt}{unasked}: {how_to_get()}")
    try:
        downloads.download(
            [alexnet_url()],
            cached,
            sha256=_hash_in_name(cached.name),
            what="AlexNet's weights for LPIPS",
            progress=progress,
            timeout=timeout,
        )
        load_alexnet_features(cached, named_by="the download")
    except WeightsError as error:
        return LPIPSBackbone(None, f"{error}: {how_to_get()}")
    return LPIPSBackbone(cached, f"{cached} (downloaded from {alexnet_url()})")


def how_to_get() -> str:
    """What a person can do for the weights where they could not be had."""
    return f"download {alexnet_url()} elsewhere and pass --lpips-weights FILE"


def alexnet_url() -> str:
    """Where torchvision keeps the checkpoint IMAGENET1K_V1."""
    from torchvision.models import AlexNet_Weights

    return str(AlexNet_Weights.IMAGENET1K_V1.url)


def load_alexnet_features(path: str | Path, *, named_by: str = "") -> dict[str, Tensor]:
    """The ten tensors `features.0.weight` … `features.10.bias`, float32, in this order.

    The file is safetensors or a torch checkpoint (`.pth`, `.pt`) of the whole AlexNet or of its
    features, with or without the prefix `features.`. Pickled code is never run.

    Args:
        path: the file.
        named_by: what named the file, for the message.

    Raises:
        WeightsError: the file is missing or unreadable, lacks a tensor, or its tensors are not
            those of torchvision's IMAGENET1K_V1: a distance from others would not be LPIPS.
    """
    import torch

    path = Path(path)
    where = f"{path}{f' (from {named_by})' if named_by else ''}"
    state = _read(path, where)
    features: dict[str, Tensor] = {}
    for name, shape in _SHAPES.items():
        tensor = state.get(name, state.get(name.removeprefix("features.")))
        if not isinstance(tensor, torch.Tensor):
            raise WeightsError(f"{where} is not AlexNet's: it lacks {name}")
        if tuple(tensor.shape) != shape:
            raise WeightsError(
                f"{where} is not AlexNet's: {name} is {tuple(tensor.shape)}, not {shape}"
            )
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{where} is damaged: {name} holds NaN or infinity")
        features[name] = tensor.detach().to(torch.float32).contiguous()
    if _digest(features) != FEATURES_SHA256:
        raise WeightsError(
            f"{where} is not torchvision's IMAGENET1K_V1, the only AlexNet that gives LPIPS; "
            f"{alexnet_url()} is"
        )
    return features


def _digest(features: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in _SHAPES:
        digest.update(features[name].numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _read(path: Path, where: str) -> dict[str, object]:
    if not path.is_file():
        raise WeightsError(f"{where} is no file; give {alexnet_url()}, downloaded")
    try:
        state: object
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            import torch

            state = torch.load(path, map_location="cpu", weights_only=True)
    # Whatever the many readers behind torch.load raise, it means the same to the user.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{where} cannot be read as weights: {reason[:200]}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{where} is not AlexNet's: it holds a {type(state).__name__}")
    return state


def _cached_file() -> Path:
    from torch import hub

    return Path(hub.get_dir()) / "checkpoints" / alexnet_url().rpartition("/")[2]


def _hash_in_name(name: str) -> str:
    """The first digits of the SHA-256, which torchvision's names end in."""
    found = re.search(r"-([0-9a-f]{8,})\.", name)
    if found is None:
        raise WeightsError(f"{name} does not carry its checksum in its name")
    return found[1]
