"""Adaptive attacks recover noise that was put in by hand, and detectors tell nothing where there is nothing."""

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.methods.unlearnable_clusters.families.wave import TURN, WaveSettings, drawn
from uc_hf.scoring.counter_measures.adaptive import averaging, leaked, match, noise_patterns, projection, residuals
from uc_hf.scoring.counter_measures.restoration import restore
from uc_hf.scoring.counter_measures.spectral import spectral
from uc_hf.scoring.counter_measures.stored import jpeg
from uc_hf.scoring.detection import detect
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.labelled import LabelledImages


PATTERNS, SIZE = 4, 32


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def clean() -> LabelledImages:
    """400 pictures of blurred blobs and fine texture."""
    blobs = F.interpolate(torch.rand(400, 3, 6, 6, generator=seeded(0)), (SIZE, SIZE), mode="bicubic")
    texture = 10 * torch.randn(400, 3, SIZE, SIZE, generator=seeded(1))
    return LabelledImages((200 * blobs + 20 + texture).clamp(0, 255).byte(), torch.arange(400) % 5)


@pytest.fixture(scope="module")
def clusters() -> Tensor:
    return torch.randint(PATTERNS, (400,), generator=seeded(2))


def fine(patterns: int = PATTERNS) -> Tensor:
    """A random sign for every pixel."""
    return 12.0 * (2 * torch.randint(2, (patterns, 3, SIZE, SIZE), generator=seeded(3)) - 1)


def smooth() -> Tensor:
    """Waves of a third of the picture."""
    return 12 * torch.sin(
        F.interpolate(6 * torch.randn(PATTERNS, 3, 4, 4, generator=seeded(4)), (SIZE, SIZE), mode="bicubic")
    )


def published(clean: LabelledImages, noise: Tensor, clusters: Tensor) -> LabelledImages:
    return LabelledImages((clean.pixels.float() + noise[clusters]).round().clamp(0, 255).byte(), clean.labels)


def correlation(a: Tensor, b: Tensor) -> float:
    a, b = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (a, b))
    return float(F.cosine_similarity(a, b, dim=1).mean())


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.float() - b.float()).square().mean()))


def test_averaging_recovers_fine_noise_and_less_of_smooth_noise(clean: LabelledImages, clusters: Tensor) -> None:
    found = {}
    for name, noise in (("fine", fine()), ("smooth", smooth())):
        public = published(clean, noise, clusters).pixels
        taken_out = public.float() - averaging(public, PATTERNS).float()
        found[name] = correlation(taken_out, noise[clusters])
        if name == "fine":
            assert psnr(averaging(public, PATTERNS), clean.pixels) > psnr(public, clean.pixels) + 6
    assert found["fine"] > 0.95
    assert found["smooth"] < found["fine"]


def test_averaging_also_finds_clusters_in_a_surrogates_embeddings(
    clean: LabelledImages, clusters: Tensor, surrogate_folder: str
) -> None:
    public = published(clean, fine(), clusters).pixels
    recovered = averaging(public, PATTERNS, Surrogate.from_pretrained(surrogate_folder))
    assert psnr(recovered, clean.pixels) > psnr(public, clean.pixels)


@pytest.mark.parametrize("noise", [fine(), smooth()], ids=["fine", "smooth"])
def test_leaked_pairs_remove_the_noise_of_all_other_images(
    clean: LabelledImages, clusters: Tensor, noise: Tensor
) -> None:
    public = published(clean, noise, clusters)
    before, one, three = (
        psnr(pixels, clean.pixels) for pixels in (public.pixels, leaked(public, clean, 1), leaked(public, clean, 3))
    )
    assert before < 31 and one > 38 and three > one


def test_the_leak_alone_decides_what_is_subtracted(clean: LabelledImages, clusters: Tensor) -> None:
    """Originals that did not leak can be anything: the attack does not look at them."""
    public = published(clean, fine(), clusters)
    rows = [(noise_patterns(clean.pixels, public.pixels) == pattern).nonzero()[0] for pattern in range(PATTERNS)]
    noise = torch.cat([public.pixels[row].float() - clean.pixels[row].float() for row in rows])
    expected = (public.pixels.float() - noise[match(public.pixels, noise)]).clamp(0, 255).byte()
    assert torch.equal(leaked(public, clean, 1), expected)


def test_patterns_are_told_apart_also_behind_jpeg_and_none_is_seen_where_nothing_changed(
    clean: LabelledImages, clusters: Tensor
) -> None:
    public = published(clean, fine(), clusters).pixels
    for stored in (public, jpeg(public, 95)):
        found = noise_patterns(clean.pixels, stored)
        agree = found[:, None] == found
        assert torch.equal(agree, clusters[:, None] == clusters) and int(found.max()) == PATTERNS - 1
    assert (noise_patterns(clean.pixels, clean.pixels) == -1).all()
    assert torch.equal(leaked(clean, clean, 3), clean.pixels)


def test_patterns_of_one_protector_that_look_alike_are_told_apart(clean: LabelledImages, clusters: Tensor) -> None:
    noise = fine()
    noise[1] = torch.where(noise[2] > 0, noise[0], noise[1])
    assert F.cosine_similarity(*noise[:2].flatten(1), dim=0) > 0.4
    found = noise_patterns(clean.pixels, published(clean, noise, clusters).pixels)
    assert torch.equal(found[:, None] == found, clusters[:, None] == clusters)


def test_projection_takes_out_noise_that_tells_the_label(clean: LabelledImages) -> None:
    noise = fine(5)
    public = published(clean, noise, clean.labels)
    recovered = projection(public.pixels, public.labels).float()

    def shares(pixels: Tensor) -> Tensor:
        """How much of its own class's pattern each residual holds."""
        own = noise[public.labels].flatten(1)
        return (residuals(pixels).flatten(1) * own).sum(dim=1) / own.square().sum(dim=1)

    assert shares(public.pixels.float()).mean() > 0.9
    assert shares(recovered).mean().abs() < 0.35


def test_a_detector_of_equal_sets_is_at_chance(clean: LabelledImages) -> None:
    found = detect(clean.pixels, clean.pixels)
    assert found is not None
    assert (found.accuracy, found.chance, found.cluster_accuracy) == (0.5, 0.5, None)


def test_a_detector_finds_protected_images_and_their_cluster(clean: LabelledImages, clusters: Tensor) -> None:
    found = detect(clean.pixels, published(clean, fine(), clusters).pixels)
    assert found is not None and found.accuracy > 0.9
    assert found.cluster_accuracy is not None and found.cluster_chance is not None
    assert found.cluster_accuracy > 0.95 and found.cluster_chance < 0.4


@pytest.mark.parametrize("changed", [(0, 1), (0, 399), (5, 6, 7)])
def test_a_detector_names_no_patterns_where_few_pictures_were_changed(
    clean: LabelledImages, clusters: Tensor, changed: tuple[int, ...]
) -> None:
    some = clean.pixels.clone()
    some[list(changed)] = published(clean, fine(), clusters).pixels[list(changed)]
    found = detect(clean.pixels, some)
    assert found is not None and found.accuracy < 0.6 and found.cluster_accuracy is None


def test_a_detector_of_a_few_pictures_names_no_patterns_and_one_alone_is_no_test(
    clean: LabelledImages, clusters: Tensor
) -> None:
    public = published(clean, fine(), clusters).pixels
    assert detect(clean.pixels[:1], public[:1]) is None
    for few in (2, 3, 5):
        found = detect(clean.pixels[:few], public[:few])
        assert found is not None and found.cluster_accuracy is None


def test_waves_at_phases_of_their_own_are_one_pattern_for_each_cluster(clean: LabelledImages) -> None:
    waves, clusters = (
        drawn(WaveSettings(surrogate="uc_hf/tiny"), np.eye(PATTERNS, dtype=np.float32)),
        torch.arange(400) % PATTERNS,
    )
    phases = torch.randint(TURN, (400,), generator=seeded(6))
    size = (SIZE, SIZE)
    own = [waves.at_phase(size, int(group), int(phase)) for group, phase in zip(clusters, phases, strict=True)]
    public = published(clean, torch.from_numpy(np.stack(own)).float(), torch.arange(400))
    assert torch.equal(noise_patterns(clean.pixels, public.pixels), clusters)


def test_tints_are_patterns_of_their_own_and_a_few_leaked_pairs_take_most_of_them_off(clean: LabelledImages) -> None:
    corners = 16.0 * torch.tensor([[1, 1, -1], [-1, -1, 1], [1, -1, 1], [-1, 1, -1]])
    which = torch.arange(400) % len(corners)
    public = published(clean, corners[:, :, None, None].expand(-1, 3, SIZE, SIZE), which)
    assert torch.equal(noise_patterns(clean.pixels, public.pixels), which)

    def cast(pixels: Tensor) -> Tensor:
        return (pixels.float() - clean.pixels.float()).mean(dim=(2, 3)).abs().mean()

    assert cast(leaked(public, clean, 3)) < cast(public.pixels) / 2


def test_noise_of_each_images_own_is_no_cluster(clean: LabelledImages) -> None:
    own = 12.0 * (2 * torch.randint(2, (400, 3, SIZE, SIZE), generator=seeded(5)) - 1)
    public = published(clean, own, torch.arange(400))
    found = detect(clean.pixels, public.pixels)
    assert found is not None
    assert found.cluster_accuracy is not None and found.cluster_accuracy < 0.1


def waves(n: int, clusters: Tensor) -> Tensor:
    """A square wave for each cluster, blue against red, at another phase in every image: float [n, 3, SIZE, SIZE]."""
    phase = torch.rand(n, generator=seeded(6))[:, None, None]
    x = torch.arange(SIZE, dtype=torch.float32)
    angle = torch.arange(PATTERNS)[clusters, None, None] * torch.pi / PATTERNS
    period = 3.5 + torch.arange(PATTERNS)[clusters, None, None]
    across = x * angle.cos() + x[:, None] * angle.sin()
    wave = torch.where((2 * torch.pi * (across / period + phase)).sin() >= 0, 1.0, -1.0)
    return torch.stack([-12 * wave, torch.zeros_like(wave), 16 * wave], dim=1)


def with_waves(clean: LabelledImages, clusters: Tensor) -> LabelledImages:
    changed = clean.pixels.float() + waves(len(clean), clusters)
    return LabelledImages(changed.round().clamp(0, 255).byte(), clean.labels)


def test_phases_end_averaging_and_spectral_grouping_undoes_them(clean: LabelledImages, clusters: Tensor) -> None:
    public = with_waves(clean, clusters)
    plain = psnr(public.pixels, clean.pixels)
    assert psnr(averaging(public.pixels, PATTERNS), clean.pixels) < plain + 1
    assert psnr(spectral(public.pixels, PATTERNS), clean.pixels) > plain + 3


def test_spectral_grouping_leaves_clean_images_much_as_they_are(clean: LabelledImages) -> None:
    assert psnr(spectral(clean.pixels, PATTERNS), clean.pixels) > 30


@pytest.mark.slow
def test_a_few_leaked_pairs_teach_a_network_to_restore_images(clean: LabelledImages, clusters: Tensor) -> None:
    public = with_waves(clean, clusters)
    assert psnr(restore(public, clean, pairs=40), clean.pixels) > psnr(public.pixels, clean.pixels) + 3
