"""Other labels, other mixtures, and a scraper without labels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Generator, Tensor
from torch.nn import functional as F

from tests.conftest import shared_data
from tests.surrogates.test_surrogate import TEXT, VIT
from uc_hf.errors import SettingError, SurrogateError
from uc_hf.scoring.class_names import embed_class_names
from uc_hf.scoring.controls import grating_noise
from uc_hf.scoring.reading import load_images
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.scenarios import mixed, relabelled, super_classes
from uc_hf.scoring.scorecard import score_images
from uc_hf.scoring.simclr import nt_xent, pretrain
from uc_hf.scoring.trainer import train_target
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target


RECIPE = Recipe(epochs=3, batch_size=16, image_size=32)
NINE = list("abcdefghi")


@pytest.fixture(scope="module")
def images(tiles: Dataset) -> LabelledImages:
    return load_images(tiles, "image", "label", list("abcd"), 32, "tiles")


@pytest.fixture(scope="module")
def shaded() -> LabelledImages:
    """Nine classes of flat pictures: three reds, three greens, three blues."""
    colours = 30 + 190 * torch.eye(3).repeat_interleave(3, dim=0) + 4 * (torch.arange(9) % 3)[:, None]
    labels = torch.arange(90) % 9
    noise = torch.randint(-2, 3, (90, 3, 32, 32), generator=Generator().manual_seed(0))
    return LabelledImages((colours[labels][:, :, None, None] + noise).byte(), labels)


def test_super_classes_gather_classes_that_look_alike_and_repeat(
    shaded: LabelledImages, surrogate_folder: str
) -> None:
    surrogate = Surrogate.from_pretrained(surrogate_folder)
    found = super_classes(shaded, NINE, 3, surrogate)
    assert torch.equal(found, super_classes(shaded, NINE, 3, surrogate))
    reds, greens, blues = (set(group.tolist()) for group in found.view(3, 3))
    assert len(reds) == len(greens) == len(blues) == 1 and len(reds | greens | blues) == 3
    assert torch.equal(relabelled(shaded, found).labels, found[shaded.labels])
    with pytest.raises(SettingError, match="a number from 2 to 9"):
        super_classes(shaded, NINE, 10, surrogate)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def two_towers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP or SigLIP of random weights, whole: image processor, tokenizer and both towers."""
    folder = tmp_path_factory.mktemp(request.param)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if request.param == "clip":
            model = hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=VIT, projection_dim=24))
        else:
            model = hf.SiglipModel(hf.SiglipConfig(text_config=TEXT, vision_config=VIT))
    model.save_pretrained(folder)
    hf.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    words = {word: index for index, word in enumerate("<s> </s> <pad> <unk> a photo of red car green frog".split())}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return folder


def test_super_classes_follow_the_names_where_the_surrogate_reads(shaded: LabelledImages, two_towers: Path) -> None:
    surrogate = Surrogate.from_pretrained(two_towers)
    names = ["red car", "green frog", "red_car", "green_frog"]
    unit = embed_class_names(surrogate, names)
    assert unit is not None and torch.allclose(unit.norm(dim=1), torch.ones(4))
    assert torch.equal(unit[:2], unit[2:]) and not torch.allclose(unit[0], unit[1])
    few = shaded.select(shaded.labels < 4)  # by their pictures, 0 to 2 are reds and 3 is green
    found = super_classes(few, names, 2, surrogate)
    assert found[0] == found[2] != found[1] == found[3]
    assert torch.equal(found, super_classes(few, names, 2, Surrogate.from_pretrained(two_towers)))


def test_a_text_tower_without_its_tokenizer_is_told(two_towers: Path, tmp_path: Path) -> None:
    for file in two_towers.iterdir():
        if "token" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(SurrogateError, match="tokenizer"):
        embed_class_names(Surrogate.from_pretrained(tmp_path), ["red car"])


def test_a_protector_that_reads_the_publishers_labels_is_found_out_by_relabelling(surrogate_folder: str) -> None:
    """Each picture is made to look like the next class, among the three that are alike."""
    hues = 30 + 190 * torch.eye(3).repeat_interleave(3, dim=0) + 12 * (torch.arange(9) % 3)[:, None]
    labels = torch.arange(180) % 9
    grain = torch.randint(-2, 3, (180, 3, 32, 32), generator=Generator().manual_seed(0))

    def painted(shown: Tensor) -> LabelledImages:
        return LabelledImages((hues[shown][:, :, None, None] + grain).byte(), labels)

    clean, leaking = painted(labels), painted(labels - labels % 3 + (labels + 1) % 3)
    recipe = Recipe(epochs=12, batch_size=16, augmentation="pad-crop")

    def last(relabel: Callable[[LabelledImages], LabelledImages], n_classes: int) -> list[float]:
        sets = {"clean": relabel(clean), "protected": relabel(leaking)}
        chosen = {"targets": ["resnet-small"], "protocols": ["from-scratch"], "counter_measures": ["none"]}
        card = score_images(sets, relabel(clean), n_classes, seeds=[0], recipe=recipe, **chosen)
        return [row.last for row in card.rows]

    clean_last, protected_last = last(lambda images: images, 9)
    assert clean_last > 0.9 and protected_last < 0.1
    found = super_classes(clean, NINE, 3, Surrogate.from_pretrained(surrogate_folder))
    clean_last, protected_last = last(lambda images: relabelled(images, found), 3)
    assert clean_last > 0.9 and protected_last > 0.9


def test_a_mixture_holds_its_share_of_protected_rows_and_its_clean_part_the_rest(images: LabelledImages) -> None:
    protected = LabelledImages(255 - images.pixels, images.labels)
    whole, left = mixed(images, protected, 0.25, seed=0)
    inverted = (whole.pixels == protected.pixels).flatten(1).all(dim=1)
    assert int(inverted.sum()) == 24 and torch.equal(whole.pixels[~inverted], images.pixels[~inverted])
    assert torch.equal(left.pixels, images.pixels[~inverted]) and torch.equal(left.labels, images.labels[~inverted])
    assert torch.equal(whole.pixels, mixed(images, protected, 0.25, seed=0)[0].pixels)
    with pytest.raises(SettingError, match="a share above 0 and below 1"):
        mixed(images, protected, 1.5, seed=0)


def test_sets_made_in_memory_are_scored_and_watched_over_the_epochs(images: LabelledImages) -> None:
    whole, left = mixed(images, LabelledImages(255 - images.pixels, images.labels), 0.5, seed=0)
    card = score_images(
        {"clean": images, "mixed": whole, "its clean part": left},
        images,
        4,
        targets=["resnet-small"],
        protocols=["from-scratch"],
        counter_measures=["none"],
        seeds=[0],
        recipe=RECIPE,
    )
    assert [row.train_set for row in card.rows] == ["clean", "mixed", "its clean part"]
    curves = train_target(
        build_target("resnet-small", 4, 32, 0), whole, {"test": images, "clean": left}, RECIPE, 0, "mixture"
    )
    assert curves["test"] == card.rows[1].curve and len(curves["clean"]) == RECIPE.epochs


def test_sets_made_in_memory_have_no_files_to_store_anew(images: LabelledImages) -> None:
    cells = {"targets": ["resnet-small"], "protocols": ["from-scratch"], "counter_measures": ["reencode-75"]}
    with pytest.raises(SettingError, match=r"'reencode-75' acts on files.*Write 'jpeg'"):
        score_images({"clean": images}, images, 4, seeds=[0], recipe=RECIPE, **cells)


def test_nt_xent_is_its_formula() -> None:
    views = torch.randn(6, 5, generator=Generator().manual_seed(0))
    unit = F.normalize(views, dim=1).double().numpy()
    losses = []
    for i in range(6):
        likeness = np.exp(unit @ unit[i] / 0.5)
        losses.append(-np.log(likeness[(i + 3) % 6] / (likeness.sum() - likeness[i])))
    assert nt_xent(views, 0.5).item() == pytest.approx(float(np.mean(losses)), rel=1e-5)


def test_simclr_learns_features_without_labels_that_a_probe_can_read(images: LabelledImages) -> None:
    def features() -> tuple[Tensor, list[float]]:
        target = pretrain(images.pixels, "resnet-small", 4, RECIPE, seed=0)
        assert target.frozen and not any(p.requires_grad for p in target.backbone.parameters())
        curves = train_target(target, images, {"test": images}, RECIPE, 0, "probe")
        return target.backbone.cpu().eval()(images.pixels[:4].float() / 255), curves["test"]

    (first, curve), (again, same) = features(), features()
    assert torch.equal(first, again) and curve == same
    assert first.shape == (4, 128) and curve[-1] > 0.3


@pytest.mark.slow
def test_a_protector_that_reads_the_publishers_labels_is_found_out_by_simclr() -> None:
    """A grating for each class: who trains with the labels learns the gratings alone, who trains without does not."""
    names = shared_data("cifar10").features["label"].names
    clean, test = (
        load_images(
            shared_data("cifar10", split).shuffle(seed=0).select(range(1000)), "image", "label", names, 32, split
        )
        for split in ("train", "test")
    )
    noise = torch.from_numpy(grating_noise((10, 3, 32, 32), levels=16, seed=0)).float()
    leaking = LabelledImages((clean.pixels + noise[clean.labels]).clamp(0, 255).byte(), clean.labels)
    labelled = Recipe(epochs=10, batch_size=64, augmentation="pad-crop")
    unlabelled = Recipe(epochs=8, batch_size=64)

    def drop(learn: Callable[[LabelledImages], list[float]]) -> float:
        return learn(clean)[-1] - learn(leaking)[-1]

    def supervised(images: LabelledImages) -> list[float]:
        return train_target(build_target("resnet-small", 10, 32, 0), images, {"test": test}, labelled, 0, "x")["test"]

    def contrastive(images: LabelledImages) -> list[float]:
        target = pretrain(images.pixels, "resnet-small", 10, unlabelled, seed=0)
        return train_target(target, images, {"test": test}, unlabelled, 0, "x")["test"]

    assert drop(supervised) > 0.15  # seen: 0.225
    assert abs(drop(contrastive)) < 0.07  # seen: 0.027
