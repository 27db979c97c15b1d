import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import zoo
from zoo.colorizer import Colorizer
from zoo.errors import OptionError, TrainingError, UnknownNameError
from zoo.registry import colorizer_class
from zoo.training.budget import Budget
from zoo.training.feed import Feed

NAME = "gan_discriminator"
CLASSES = {name: colorizer_class(name) for name in zoo.list_colorizers()}


def can_generate(cls) -> bool:
    return cls.info.output == "ab" and cls.loss is not Colorizer.loss


GENERATORS = [name for name, cls in CLASSES.items() if can_generate(cls)]
OTHERS = [name for name, cls in CLASSES.items() if not can_generate(cls)]


def gan(generator: str = "zhang_classifier", **changes):
    options = CLASSES[NAME].preset("small")
    changes = {"batch_size": 4, "generator": generator, **changes}
    return CLASSES[NAME](dataclasses.replace(options, **changes), device="cpu", precision="fp32")


@pytest.mark.parametrize("name", OTHERS)
def test_who_paints_rgb_or_has_no_loss_is_refused_by_name(name):
    with pytest.raises(OptionError) as caught:
        zoo.load(NAME, generator=name)
    assert repr(name) in str(caught.value)
    assert ("RGB" if CLASSES[name].info.output == "rgb" else "no loss") in str(caught.value)


def test_an_unknown_generator_is_refused_with_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'zhang_classifier'"):
        zoo.load(NAME, generator="zhang_clasifier")


@pytest.mark.parametrize("name", GENERATORS)
def test_any_chroma_plugin_with_a_loss_can_generate_and_both_nets_learn(name, tiles):
    colorizer = gan(name)
    assert colorizer.generator.info.name == name
    assert colorizer.multiple == colorizer.generator.multiple
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as `fit` does
        fresh = colorizer.build().named_parameters()
        before = {n: p.detach().clone() for n, p in fresh if p.requires_grad}
    colorizer.fit(tiles, budget="2steps", size=32)
    after = {n: p for n, p in colorizer.net.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in after} == {"generator", "discriminator"}
    assert before.keys() == after.keys()
    assert [n for n in before if torch.equal(before[n], after[n])] == []
    # A gradient reached all of them, not weight decay alone.
    assert [n for n, p in after.items() if p.grad is None or not p.grad.any()] == []
    assert colorizer.predict(tiles[0, ..., 0]).shape == (64, 64, 3)


def test_the_default_generator_is_the_papers_classifier():
    options = CLASSES[NAME].Options()
    assert (options.generator, options.generator_preset) == ("zhang_classifier", "paper")
    assert zoo.load(NAME, device="cpu").generator.options == CLASSES["zhang_classifier"].Options()


class Watch:
    """A discriminator whose calls are noted: how its parameters stood, and from where it learnt."""

    def __init__(self, colorizer, monkeypatch):
        self.calls = []
        build = colorizer.build

        def built():
            net = build()
            net["discriminator"].register_forward_hook(self.note)
            return net

        monkeypatch.setattr(colorizer, "build", built)

    def note(self, discriminator, inputs, output):
        weights = torch.cat([p.detach().flatten() for p in discriminator.parameters()])
        frozen = not any(p.requires_grad for p in discriminator.parameters())
        self.calls.append((weights, frozen, inputs[1].requires_grad))


def test_the_discriminator_judges_real_and_forged_then_teaches_without_learning(tiles, monkeypatch):
    colorizer = gan()
    watch = Watch(colorizer, monkeypatch)
    colorizer.fit(tiles, budget="2steps", size=32)
    assert len(watch.calls) == 6
    for step in (watch.calls[:3], watch.calls[3:]):
        real, forged, lesson = step
        # The discriminator's own step: the generator gets no gradient from it.
        assert [call[1:] for call in (real, forged)] == [(False, False)] * 2
        assert torch.equal(real[0], forged[0])
        # Between them it was updated; in the generator's step it is frozen and lets through.
        assert not torch.equal(forged[0], lesson[0])
        assert lesson[1:] == (True, True)
    assert torch.equal(watch.calls[2][0], watch.calls[3][0]), "the generator's step changed it"
    assert all(p.requires_grad for p in colorizer.net["discriminator"].parameters())


def test_without_the_adversarial_term_the_generator_learns_what_it_learns_alone(tiles):
    options = {"width": 0.125, "batch_size": 4, "learning_rate": 1e-3, "temperature": 1}
    alone, fed = (feed_of(tiles) for _ in range(2))
    generator = zoo.load("zhang_classifier", device="cpu", precision="fp32", **options)
    torch.manual_seed(0)
    generator.net = generator.build().train()
    colorizer = gan(adversarial_weight=0, learning_rate=1e-3)
    colorizer.generator = zoo.load("zhang_classifier", device="cpu", precision="fp32", **options)
    torch.manual_seed(0)
    colorizer.net = colorizer.build().train()
    assert_same(generator.net, colorizer.net["generator"])
    [(L, ab)] = alone
    generator.loss(L, ab).backward()
    colorizer.train(fed)
    fed.close()
    for (name, p), (_, q) in zip(
        generator.net.named_parameters(), colorizer.generator.net.named_parameters(), strict=True
    ):
        # Clipping scales all gradients by one factor.
        assert F.cosine_similarity(p.grad.flatten(), q.grad.flatten(), 0) > 0.999, name


def assert_same(first, second):
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def feed_of(tiles) -> Feed:
    budget = Budget.parse("1steps")
    return Feed(tiles, budget, batch_size=4, size=32, device=torch.device("cpu"))


def test_both_nets_are_charged_to_the_budget(tiles):
    with_discriminator = gan().fit(tiles, budget="1steps", size=32).record.cost.flops
    generator = CLASSES["zhang_classifier"]
    options = dataclasses.replace(generator.preset("small"), batch_size=4)
    alone = generator(options, device="cpu", precision="fp32").fit(tiles, budget="1steps", size=32)
    # The generator goes forward twice, and the discriminator three times.
    assert with_discriminator > 4 / 3 * alone.record.cost.flops


def test_prediction_uses_running_statistics_not_the_batchs(tiles):
    colorizer = gan().fit(tiles, budget="2steps", size=32)
    greys = tiles[:8, :32, :32, 1]
    alone = np.stack([colorizer.predict(grey) for grey in greys]).astype(int)
    assert np.abs(colorizer.predict(greys) - alone).max() <= 1
    strange = np.stack([greys[0], np.zeros_like(greys[0]), np.full_like(greys[0], 255)])
    assert np.abs(colorizer.predict(strange)[0] - alone[0]).max() <= 1
    assert colorizer.info.differs
    assert "running statistics" in " ".join(colorizer.info.differs)


def test_a_generator_whose_prediction_has_no_gradient_is_refused(tiles):
    colorizer = gan()
    generator = colorizer.generator
    colorizer.generator = type(generator)(
        dataclasses.replace(generator.options, temperature=0), device="cpu", precision="fp32"
    )
    with pytest.raises(TrainingError, match="zhang_classifier has no gradient"):
        colorizer.fit(tiles, budget="1steps", size=32)
    assert torch._C._len_torch_dispatch_stack() == 0


@pytest.mark.parametrize(
    ("layers", "patch"),
    [(3, 70), (2, 34)],
)
def test_one_logit_sees_a_patch_of_pix2pix_size(layers, patch):
    discriminator = (
        CLASSES[NAME](discriminator_layers=layers, discriminator_width=8, device="cpu")
        .build()["discriminator"]
        .eval()
    )
    ab = torch.zeros(1, 2, 128, 128, requires_grad=True)
    logits = discriminator(torch.full((1, 1, 128, 128), 50.0), ab)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    touched = ab.grad[0].abs().sum(0)
    rows, columns = (torch.nonzero(touched.sum(axis)).flatten() for axis in (1, 0))
    assert int(rows.max() - rows.min()) + 1 == patch
    assert int(columns.max() - columns.min()) + 1 == patch


def test_the_papers_discriminator_has_pix2pix_parameters():
    # 3 → 64 → 128 → 256 → 512 → 1, 4×4; bias where there is no batch-norm.
    widths = [3, 64, 128, 256, 512]
    expected = 64 + 1 + sum(i * o * 16 for i, o in zip([*widths], [*widths[1:], 1], strict=True))
    expected += 2 * (128 + 256 + 512)
    discriminator = CLASSES[NAME](generator_preset="small", device="cpu").build()["discriminator"]
    assert sum(p.numel() for p in discriminator.parameters()) == expected


@pytest.mark.parametrize(("option", "usual"), [("averaging", 0), ("pretrained_rate", 1)])
def test_options_of_the_shared_loop_alone_are_not_passed_over(option, usual):
    with pytest.raises(OptionError, match=rf"{option} must stay {usual}, got 0\.9"):
        zoo.load(NAME, device="cpu", **{option: 0.9})


@pytest.mark.parametrize("options", [{"discriminator_layers": 0}, {"discriminator_width": 0}])
def test_no_discriminator_is_refused(options):
    with pytest.raises(OptionError, match="at least 1"):
        zoo.load(NAME, **options)
