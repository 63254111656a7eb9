"""Counter-measures against independent implementations (Pillow, SciPy) and closed forms."""

import itertools
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy import ndimage
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from uc_hf.errors import SettingError
from uc_hf.scoring.counter_measures import batch, operations, rates, restoration, steps, stored
from uc_hf.scoring.counter_measures.known import KNOWN, counter_measure
from uc_hf.scoring.counter_measures.registry import find_counter_measure, find_each
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.trainer import train_target
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    """Twelve pictures with smooth and rough parts, uint8 [12, 3, 32, 32]."""
    coarse = torch.rand(12, 3, 5, 5, generator=seeded())
    smooth = F.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1) * 255
    return (smooth + 12 * torch.randn(12, 3, 32, 32, generator=seeded(1))).clamp(0, 255).byte()


def pictures(pixels: Tensor) -> list[Image.Image]:
    return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).numpy()]


def stacked(images: list[Image.Image]) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(image.convert("RGB")) for image in images])).permute(0, 3, 1, 2)


def through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(BytesIO(stream.getvalue()))


@pytest.mark.parametrize(
    ("ours", "pillow"),
    [
        (lambda p: stored.jpeg(p, 30), lambda picture: through_jpeg(picture, 30)),
        (stored.gray, lambda picture: picture.convert("L")),
        (lambda p: stored.median(p, 5), lambda picture: picture.filter(ImageFilter.MedianFilter(5))),
    ],
    ids=["jpeg", "gray", "median"],
)
def test_filters_of_stored_images_give_the_bytes_of_pillow(
    pixels: Tensor, ours: Callable[[Tensor], Tensor], pillow: Callable[[Image.Image], Image.Image]
) -> None:
    assert torch.equal(ours(pixels), stacked([pillow(picture) for picture in pictures(pixels)]))


def test_gaussian_smoothing_is_scipys(pixels: Tensor) -> None:
    expected = ndimage.gaussian_filter(pixels.numpy().astype(float), (0, 0, 1.5, 1.5), mode="nearest")
    assert np.abs(stored.gaussian(pixels, 1.5).numpy() - expected).max() <= 0.51


def test_a_gray_world_undoes_a_cast_and_keeps_a_balanced_picture(pixels: Tensor) -> None:
    dim = 40 + pixels / 4
    cast = dim * torch.tensor([1.3, 1.0, 0.8]).view(1, 3, 1, 1)
    balanced, undone = (stored.grayworld(images.round().byte()).float() for images in (dim, cast))
    means = undone.mean(dim=(2, 3))
    assert (means.amax(dim=1) - means.amin(dim=1)).max() < 1
    same = [images / images.mean(dim=(1, 2, 3), keepdim=True) for images in (balanced, undone)]
    assert (same[0] - same[1]).abs().max() < 0.03


def test_depth_reduction_leaves_evenly_spread_levels(pixels: Tensor) -> None:
    assert set(stored.bits(pixels, 2).unique().tolist()) == {0, 85, 170, 255}
    assert (stored.bits(pixels, 2).int() - pixels.int()).abs().max() <= 43
    assert torch.equal(stored.bits(pixels, 8), pixels)


def test_a_low_pass_keeps_slow_waves_and_removes_fast_ones() -> None:
    x = torch.arange(32)
    slow, fast = (60 * torch.cos(2 * torch.pi * cycles * x / 32) for cycles in (4, 12))
    mixed = (128 + slow + fast[:, None]).round().byte().expand(1, 3, 32, 32)
    assert ((stored.lowpass(mixed, 0.5).float() - (128 + slow)).abs() <= 1.5).all()


def test_a_notch_takes_out_a_wave_and_little_of_the_picture(pixels: Tensor) -> None:
    x = torch.arange(32)
    wave = 25 * torch.cos(2 * torch.pi * (9 * x + 4 * x[:, None]) / 32)
    dim = pixels.float() / 2 + 40
    cleaned, plain = (stored.notch(images.round().byte(), 3).float() for images in (dim + wave, dim))
    left = ((cleaned - plain) * wave).sum(dim=(2, 3)) / wave.square().sum()
    assert left.abs().max() < 0.25
    assert (plain - dim).square().mean().sqrt() < wave.square().mean().sqrt() / 4
    flat = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    assert torch.equal(stored.notch(flat, 3), flat)


def test_shrinking_removes_what_is_finer_than_the_factor_and_keeps_the_rest(pixels: Tensor) -> None:
    flat = torch.full((1, 3, 32, 32), 90, dtype=torch.uint8)
    checks = flat + 40 * ((torch.arange(32) + torch.arange(32)[:, None]) % 2).byte()
    assert torch.equal(stored.resize(flat, 4), flat)
    assert (stored.resize(checks, 4).float() - 110).abs().max() <= 1
    assert torch.equal(stored.resize(pixels, 1), pixels)


@pytest.mark.parametrize(
    ("operation", "amount", "pillow"),
    [
        (operations.equalize, 1.0, ImageOps.equalize),
        (operations.autocontrast, 1.0, ImageOps.autocontrast),
        (operations.posterize, 0.5, lambda picture: ImageOps.posterize(picture, 6)),
        (operations.solarize, 0.5, lambda picture: ImageOps.solarize(picture, 128)),
        (operations.brightness, 0.5, lambda picture: ImageEnhance.Brightness(picture).enhance(1.45)),
        (operations.contrast, -0.5, lambda picture: ImageEnhance.Contrast(picture).enhance(0.55)),
        (operations.colour, 0.5, lambda picture: ImageEnhance.Color(picture).enhance(1.45)),
        (operations.sharpness, -1.0, lambda picture: ImageEnhance.Sharpness(picture).enhance(0.1)),
        (operations.rotate, 1.0, lambda picture: turned(picture, 30)),
        (operations.translate_x, 5 / 16 / 0.9, lambda picture: shifted(picture, 5)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_operations_of_randaugment_match_pillows(
    pixels: Tensor, operation: Callable[..., Tensor], amount: float, pillow: Callable[[Image.Image], Image.Image]
) -> None:
    ours = operation(pixels.float() / 255, torch.full((len(pixels),), amount)).clamp(0, 1) * 255
    theirs = stacked([pillow(picture) for picture in pictures(pixels)])
    assert (ours - theirs.float())[:, :, 8:24, 8:24].abs().max() <= 2.5


def turned(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, Image.Resampling.BILINEAR)


def shifted(picture: Image.Image, columns: int) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, columns, 0, 1, 0))


@pytest.fixture(scope="module")
def labels() -> Tensor:
    return F.one_hot(torch.arange(12), 12).float()


@pytest.mark.parametrize("measure", [batch.mixup, batch.cutmix], ids=["mixup", "cutmix"])
def test_mixed_labels_weigh_each_image_by_its_share_of_the_pixels(
    measure: Callable[..., tuple[Tensor, Tensor]], labels: Tensor
) -> None:
    shades = torch.arange(12) / 12
    images = shades[:, None, None, None].expand(12, 3, 20, 24).clone()
    mixed, weights = measure(images, labels, seeded(), 1.0)
    assert torch.allclose(weights.sum(dim=1), torch.ones(12))
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), weights @ shades, atol=1e-5)
    assert not torch.equal(weights, labels)


def test_cutout_removes_a_square_of_its_share_of_the_side(labels: Tensor) -> None:
    images = torch.zeros(12, 3, 40, 40)
    areas = torch.stack(
        [(batch.cutout(images, labels, seeded(seed), 0.5)[0] > 0).float().sum((2, 3)) for seed in range(40)]
    )
    assert areas.max() == 20 * 20  # whole squares, and parts of squares at the border
    assert areas.min() >= 10 * 10
    # The centre is uniform: along each side a square keeps 7/8 of itself on average.
    assert areas.mean() / 400 == pytest.approx((7 / 8) ** 2, abs=0.03)


def test_erasing_fills_its_share_of_the_images_with_boxes_of_random_values(labels: Tensor) -> None:
    images = torch.full((600, 3, 20, 20), -1.0)
    erased, _ = batch.erasing(images, labels, seeded(), 0.5)
    gone = (erased >= 0).all(dim=1)
    assert (gone.flatten(1).any(dim=1)).float().mean() == pytest.approx(0.5, abs=0.07)
    assert gone.float().mean(dim=(1, 2)).max() <= 0.34
    assert erased[erased >= 0].std() == pytest.approx(12**-0.5, abs=0.01)


def test_noise_has_the_standard_deviation_in_its_name(labels: Tensor) -> None:
    images = torch.full((12, 3, 32, 32), 0.5)
    noisy, same = batch.noise(images, labels, seeded(), 8)
    assert (noisy - images).std() * 255 == pytest.approx(8, rel=0.03) and same is labels


def test_randaugment_changes_pictures_within_their_range_and_repeats_by_seed(pixels: Tensor, labels: Tensor) -> None:
    images = pixels.float() / 255
    first, again, other = (batch.randaugment(images, labels, seeded(seed), 9)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1
    assert ((first - images).abs().mean(dim=(1, 2, 3)) > 0.005).sum() >= 8


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 900, 12))


@pytest.mark.parametrize("levels", [1, 8])
def test_adversarial_images_stay_within_the_bound_and_raise_the_loss(
    model: nn.Module, pixels: Tensor, levels: float
) -> None:
    images, truth = pixels.float() / 255, torch.arange(12)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    worse = steps.pgd(model.train(), images, truth, seeded(), levels)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (worse - images).abs().max() <= levels / 255 + 1e-6 and worse.min() >= 0 and worse.max() <= 1
    random = (images + levels / 255 * (2 * torch.rand(images.shape, generator=seeded()) - 1)).clamp(0, 1)
    with torch.no_grad():
        losses = [F.cross_entropy(model.eval()(shown), truth).item() for shown in (images, random, worse)]
    assert losses[2] > max(losses[:2]) + 0.01


def test_ueraser_shows_the_view_with_the_largest_loss(model: nn.Module, pixels: Tensor) -> None:
    images, truth = pixels.float() / 255, torch.arange(12)

    def losses(views: int) -> Tensor:
        shown = steps.ueraser(model, images, truth, seeded(), views)
        assert shown.min() >= 0 and shown.max() <= 1
        return F.cross_entropy(model.eval()(shown), truth, reduction="none")

    one, four = losses(1), losses(4)
    assert (four >= one - 1e-6).all() and four.mean() > one.mean()


@pytest.mark.parametrize("name", KNOWN)
def test_every_counter_measure_has_a_name_and_repeats_by_seed(name: str, pixels: Tensor, model: nn.Module) -> None:
    measure = find_counter_measure("averaging-3" if name == "averaging" else name)
    published = LabelledImages(pixels, torch.arange(12) % 4)
    originals = LabelledImages(pixels.flip(0), published.labels)
    if measure.files:
        picture = pixels[0].permute(1, 2, 0).numpy()
        changed = [measure.files[0](picture) for _ in range(2)]
        assert changed[0].shape == picture.shape and changed[0].dtype == np.uint8
        assert np.array_equal(changed[0], changed[1]) and not np.array_equal(changed[0], picture)
        return
    if measure.stored:
        cleaned = [measure.clean(published, originals) for _ in range(2)]
        assert cleaned[0].pixels.shape == pixels.shape and cleaned[0].pixels.dtype == torch.uint8
        assert torch.equal(cleaned[0].pixels, cleaned[1].pixels) and not torch.equal(cleaned[0].pixels, pixels)
        return
    if measure.rate:
        assert measure.rate[0](0.0, 0.9) < measure.rate[0](0.99, 0.9) == 1
        return
    images, weights = pixels.float() / 255, F.one_hot(published.labels, 12).float()
    if measure.step is not None:
        shown = [measure.step(model, images, weights, seeded()) for _ in range(2)]
    else:
        shown = [measure.batch[0](images, weights, seeded())[0] for _ in range(2)]
    assert torch.equal(shown[0], shown[1]) and not torch.equal(shown[0], images)


def test_staged_training_stops_one_part_of_the_network_after_another(
    pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "SLOWED", 0.0)
    target, seen = build_target("resnet-small", 4, 32, seed=0), []
    weights = list(target.parameters())
    target.register_forward_pre_hook(lambda *_: seen.append([w.detach().clone() for w in (weights[0], weights[-1])]))
    published, recipe = LabelledImages(pixels, torch.arange(12) % 4), Recipe(epochs=8, batch_size=12, image_size=32)
    train_target(target, published, {}, recipe, 0, "staged", find_counter_measure("staged-2"))
    first, last = ([not torch.equal(a, b) for a, b in itertools.pairwise(steps)] for steps in zip(*seen, strict=True))
    assert first == [True] * 4 + [False] * 3 and last == [True] * 7


def test_who_trains_in_gray_asks_in_gray_and_who_compresses_does_not_compress_what_he_asks(pixels: Tensor) -> None:
    test = LabelledImages(pixels, torch.arange(12) % 4)
    assert torch.equal(find_counter_measure("gray+mixup").as_shown(test).pixels, stored.gray(pixels))
    assert torch.equal(find_counter_measure("jpeg-75+grayworld").as_shown(test).pixels, stored.grayworld(pixels))
    for name in ("none", "jpeg-75", "mixup"):
        assert torch.equal(find_counter_measure(name).as_shown(test).pixels, pixels)


def test_names_put_together_act_in_their_order(pixels: Tensor) -> None:
    measure = find_counter_measure("jpeg-50+gray+mixup+pgd-2")
    published = LabelledImages(pixels, torch.zeros(12, dtype=torch.int64))
    assert torch.equal(measure.clean(published, published).pixels, stored.gray(stored.jpeg(pixels, 50)))
    assert len(measure.batch) == 1 and measure.step is not None and not measure.early_stopping
    assert find_counter_measure("mixup+early-stopping").early_stopping
    assert find_counter_measure("none").name is None


@pytest.mark.parametrize("earlier", ["gray", "bits-2", "gray+jpeg-75+gray"])
def test_a_leak_shows_nothing_of_a_set_without_noise_whatever_was_done_to_it_before(
    pixels: Tensor, earlier: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoration, "STEPS", 2)
    clean = LabelledImages(pixels, torch.arange(12) % 4)
    made = find_counter_measure(earlier).clean(clean, clean)
    assert torch.equal(find_counter_measure(f"{earlier}+leaked-3").clean(clean, clean).pixels, made.pixels)
    learnt_from_equal_pairs = restoration.restore(made, made, 12)
    assert torch.equal(
        find_counter_measure(f"{earlier}+restore-12").clean(clean, clean).pixels, learnt_from_equal_pairs
    )


@pytest.mark.parametrize(
    ("names", "saved", "found"),
    [
        (["jpeg", "jpeg-75", "jpeg-75.0", "jpeg-50"], [], ["jpeg", "jpeg-50"]),
        (["none", "gray+mixup", "none", "mixup+gray"], [], [None, "gray+mixup"]),
        (["jpeg+gray", "gray+jpeg"], [], ["jpeg+gray", "gray+jpeg"]),
        (["mixup+early-stopping", "mixup", "early-stopping+mixup"], [], ["mixup+early-stopping", "mixup"]),
        (["none", "bits-3"], ["bits", "no-longer-known", "none"], [None, "bits"]),
        (["jpeg-75"], ["jpeg", "jpeg-75"], ["jpeg-75"]),
    ],
)
def test_each_counter_measure_is_found_once_under_the_name_that_was_saved(
    names: list[str], saved: list[str], found: list[str | None]
) -> None:
    assert [measure.name for measure in find_each(names, saved)] == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jpg-75", r"'jpg-75' is not known. Write 'none' or one of: .*reencode, jpeg, gray"),
        ("jpeg-0", r"quality has to be a whole number from 1 to 100"),
        ("jpeg-7.5", r"quality has to be a whole number from 1 to 100"),
        ("median-4", r"side in pixels has to be a whole number from 3 to 15 in steps of 2"),
        ("cutout-2", r"share of the side has to be from 0.01 to 1"),
        ("gray-3", r"takes no number. Write 'gray'"),
        ("pgd-1+ueraser", r"changes the training step twice"),
        ("", r"is not known"),
    ],
)
def test_a_wrong_name_is_told_with_what_to_write(name: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        find_counter_measure(name)


def test_a_counter_measure_registered_from_outside_is_one_function(pixels: Tensor) -> None:
    @counter_measure("negative", "pixels", "strength in percent", 100, (1, 100))
    def negative(images: Tensor, percent: float) -> Tensor:
        return (images + (255 - 2 * images.float()) * percent / 100).byte()

    try:
        published = LabelledImages(pixels, torch.arange(12))
        assert torch.equal(find_counter_measure("negative").clean(published, published).pixels, 255 - pixels)
        with pytest.raises(SettingError, match="strength in percent has to be from 1 to 100"):
            find_counter_measure("negative-0")
    finally:
        del KNOWN["negative"]
