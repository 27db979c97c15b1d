"""Half the bits give the same pictures: a trained network in bf16 against itself in float32."""

from __future__ import annotations

import pytest
import torch

import zoo
from zoo import registry
from zoo.color.lab import rgb_to_lab
from zoo.registry import colorizer_class, list_colorizers

LEARNERS = [name for name in list_colorizers() if not colorizer_class(name).info.floor]
STEPS, IMAGES, SIDE = 40, 16, 64


@pytest.mark.long
@pytest.mark.parametrize("name", LEARNERS)
def test_a_trained_network_in_bf16_paints_the_same(name, new, tmp_path):
    photos = registry.open_dataset("photos")
    trained = new(name).fit(photos.open("train", SIDE), budget=f"{STEPS}steps", size=SIDE)
    trained.save(tmp_path / "weights.safetensors")
    coarse = zoo.load(
        name, weights=tmp_path / "weights.safetensors", device="cpu", precision="bf16"
    )
    images = photos.open("test", SIDE).images[:IMAGES]
    truth = torch.from_numpy(images).movedim(-1, 1).float() / 255
    L, _ = rgb_to_lab(truth)
    difference = (trained.predict_ab(L) - coarse.predict_ab(L)).abs().mean()
    assert 0 < difference < 0.5  # units of ab

    def psnr(colorizer):
        rgb = (colorizer.predict_rgb(L) * 255).round() / 255
        return -10 * (rgb - truth).square().mean((1, 2, 3)).log10()

    assert (psnr(trained) - psnr(coarse)).mean().abs() < 0.05  # dB
