"""The learnt noise: it moves images to their goal within epsilon, and an interrupted fit resumes to the same bytes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch.nn import functional as F

from uc_hf import UCProtector
from uc_hf.data.images import decode
from uc_hf.errors import SettingError
from uc_hf.fitting.noise import resize_noise
from uc_hf.methods.baselines.grating import draw_gratings, render
from uc_hf.methods.unlearnable_clusters.family import FAMILIES
from uc_hf.methods.unlearnable_clusters.objective import add_noise, distance, scraped
from uc_hf.protecting.noise import add_levels
from uc_hf.scoring.controls import random_sign_noise
from uc_hf.training.augmentations import random_pad_crop, random_resized_crop


class Stopped(Exception):
    pass


def distance_to_goal(protector: UCProtector, tiles: Dataset) -> float:
    """Mean L2 distance of the protected images' embeddings from the centroids that they were pulled to."""
    originals = [decode(value) for value in tiles["image"]]
    protected = [decode(data) for data in protector.protect(originals)]
    centroids, goals = protector.fitted.centroids, np.array(protector.fitted.goals)
    pulls = centroids[goals[protector.assign(originals)]]
    return float(np.linalg.norm(protector.embed(protected) - pulls, axis=1).mean())


@pytest.mark.parametrize(("parametrisation", "kind"), [("direct", "l2"), ("direct", "kl"), ("generator", "l2")])
def test_learnt_noise_moves_images_closer_to_their_goal_than_random_noise_does(
    tiles: Dataset, surrogate_folder: str, parametrisation: str, kind: str
):
    settings = {"n_clusters": 2, "batch_size": 16, "parametrisation": parametrisation, "distance": kind, "steps": 40}
    learnt = UCProtector(surrogate=surrogate_folder, **settings).fit(tiles)
    noise = learnt.canvases()
    assert np.abs(noise).max() <= 16
    random = learnt.with_noise(random_sign_noise(noise.shape, 16, seed=0))
    nothing = learnt.with_noise(np.zeros_like(noise))
    reached = distance_to_goal(learnt, tiles)
    assert reached < distance_to_goal(random, tiles) and reached < distance_to_goal(nothing, tiles)


@pytest.mark.parametrize(("parametrisation", "steps"), [("direct", 40), ("generator", 20)])
def test_an_interrupted_fit_resumes_to_the_same_bytes(
    tiles: Dataset,
    surrogate_folder: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parametrisation: str,
    steps: int,
):
    settings = {"surrogate": surrogate_folder, "n_clusters": 2, "batch_size": 8, "canvas_size": 16}
    settings |= {"parametrisation": parametrisation, "steps": steps}
    seen = []

    def scraped_until(limit: int) -> Callable[..., torch.Tensor]:
        def see(*args: object) -> torch.Tensor:
            if len(seen) == limit:
                raise Stopped
            seen.append(None)
            return scraped(*args)

        return see

    whole = UCProtector(**settings).fit(tiles, checkpoint_dir=tmp_path / "whole").canvases()
    with monkeypatch.context() as patch:
        patch.setattr("uc_hf.methods.unlearnable_clusters.gradient.scraped", scraped_until(steps // 2 + 1))
        with pytest.raises(Stopped):
            UCProtector(**settings).fit(tiles, checkpoint_dir=tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    seen.clear()
    with monkeypatch.context() as patch:
        patch.setattr("uc_hf.methods.unlearnable_clusters.gradient.scraped", scraped_until(steps))
        resumed = UCProtector(**settings).fit(tiles, checkpoint_dir=tmp_path).canvases()
    assert len(seen) < steps and np.array_equal(resumed, whole)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_fit_has_one_length():
    with pytest.raises(SettingError, match=r"steps=60 and epochs=50\.0 both say .* write epochs=None"):
        UCProtector.paper(surrogate="uc_hf/tiny", steps=60)


@pytest.mark.parametrize("eot_scale", [0.5, (0.35, 0.7, 1.0), (1.0, 0.35), (0, 1)])
def test_what_is_no_range_of_crops_is_refused(eot_scale: object):
    with pytest.raises(SettingError, match=r"eot_scale=.* is not a pair .* write for example \(0\.35, 1\.0\)"):
        UCProtector(surrogate="uc_hf/tiny", parametrisation="direct", eot_scale=eot_scale)


def test_the_papers_recipe_passes_each_noise_fifty_times_over_the_whole_set():
    paper = UCProtector.paper(surrogate="uc_hf/tiny").settings
    steps = FAMILIES.find(paper.parametrisation).n_steps(paper, 3680)
    assert steps * paper.batch_size == pytest.approx(500 * 3680, rel=1e-3)
    assert (paper.parametrisation, paper.distance, paper.goal, paper.eot_scale) == ("generator", "kl", "next", None)
    assert paper.max_fit_images is None and not paper.normalise


def test_noise_stretched_over_an_image_stays_within_epsilon_and_whole():
    noise = torch.from_numpy(np.random.default_rng(0).integers(-16, 17, (3, 24, 24)).astype(np.int8))
    for size in ((24, 24), (97, 31), (9, 200)):
        stretched = resize_noise(noise, size)
        assert stretched.shape == (3, *size) and stretched.dtype == torch.int8 and stretched.abs().max() <= 16
        exact = F.interpolate(noise[None].float(), size, mode="bilinear", antialias=True)[0]
        assert (stretched - exact).abs().max() <= 1
    assert torch.equal(resize_noise(noise, (24, 24)), noise)


@pytest.mark.parametrize("strength", [4, 16])
def test_a_texture_that_is_stretched_keeps_its_full_strength_and_its_place(strength: int):
    texture = strength * render(draw_gratings(1, np.random.default_rng(0)), 24)[0].to(torch.int8)
    stretched = resize_noise(texture, (97, 131))
    assert stretched.dtype == torch.int8 and stretched.abs().unique().tolist() == [strength]
    smooth = F.interpolate(texture[None].float(), (97, 131), mode="bilinear", antialias=True)[0]
    sure = smooth.abs() > 1  # a byte may be off by one where the sign changes
    assert torch.equal(stretched[sure].sign(), smooth[sure].sign().to(torch.int8))


def test_adding_noise_clips_to_the_pixel_range():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, 6, 6, generator=generator)
    noise = torch.rand(2, 3, 6, 6, generator=generator) * 0.4 - 0.2
    protected = add_noise(pixels, noise)
    assert protected.min() >= 0 and protected.max() <= 1
    assert torch.allclose(protected, (pixels + noise).clamp(0, 1))


def test_adding_levels_to_a_picture_is_adding_noise():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    noise = rng.integers(-16, 17, (30, 40, 3)).astype(np.int8)
    one, delta = (torch.from_numpy(array).permute(2, 0, 1)[None].float() / 255 for array in (pixels, noise))
    expected = (add_noise(one, delta) * 255).round().byte()[0].permute(1, 2, 0).numpy()
    assert np.array_equal(add_levels(pixels, noise), expected)


def test_distances_are_zero_at_the_goal_and_match_their_formulas():
    a, b = torch.randn(4, 7, generator=torch.Generator().manual_seed(0)).split(2)
    for kind in ("l2", "kl"):
        assert distance(a, a, kind).abs().max() < 1e-6
    assert torch.allclose(distance(a, b, "l2"), ((a - b) ** 2).sum(1))
    p, q = b.softmax(1), a.softmax(1)
    assert torch.allclose(distance(a, b, "kl"), (p * (p / q).log()).sum(1), atol=1e-6)


def test_random_crops_are_seeded_differentiable_and_inside_the_image():
    images = torch.rand(6, 3, 20, 24, generator=torch.Generator().manual_seed(0), requires_grad=True)
    crops = [random_resized_crop(images, torch.Generator().manual_seed(seed), scale=(0.3, 1.0)) for seed in (1, 1, 2)]
    assert crops[0].shape == images.shape
    assert torch.equal(crops[0], crops[1]) and not torch.equal(crops[0], crops[2])
    assert crops[0].min() >= images.min() - 1e-6 and crops[0].max() <= images.max() + 1e-6
    crops[0].sum().backward()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_a_crop_of_everything_is_the_image_or_its_mirror():
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    views = random_pad_crop(images, torch.Generator().manual_seed(0), padding=0)
    mirrored = [bool(torch.equal(view, image.flip(-1))) for view, image in zip(views, images, strict=True)]
    same = [bool(torch.equal(view, image)) for view, image in zip(views, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 0 < sum(mirrored) < 8


def test_a_padded_crop_shifts_over_black():
    images = torch.ones(50, 3, 8, 8)
    views = random_pad_crop(images, torch.Generator().manual_seed(0), padding=2)
    assert set(views.unique().tolist()) == {0.0, 1.0}
    assert views.flatten(1).mean(dim=1).min() >= (6 / 8) ** 2
