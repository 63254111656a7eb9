"""Surrogates: every family of backbones embeds, differentiably, exactly what its own processor would show it."""

import json
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers as hf
from huggingface_hub import HfApi
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor, nn

from tests.conftest import SHARED, shared_data
from tests.minihub import MiniHub
from uc_hf.errors import SurrogateError
from uc_hf.surrogates.surrogate import Surrogate, SurrogateEnsemble, load_surrogate


SIDE = 32
MOBILENET = SHARED / "models" / "mobilenet_v2_1.0_224-imagenet"
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 8,
}
TEXT = {**VIT, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
SQUARE = {"height": SIDE, "width": SIDE}
EDGE = {"shortest_edge": SIDE}


def efficientnet() -> nn.Module:
    config = hf.EfficientNetConfig(
        image_size=SIDE,
        width_coefficient=0.25,
        depth_coefficient=0.3,
        hidden_dim=320,
        in_channels=[32, 16],
        out_channels=[16, 24],
        kernel_sizes=[3, 3],
        depthwise_padding=[],
        strides=[1, 2],
        num_block_repeats=[1, 1],
        expand_ratios=[1, 4],
    )
    return hf.EfficientNetModel(config)


# family -> (model, image processor, width of the embedding)
FAMILIES: dict[str, tuple[Callable, Callable, int]] = {
    "resnet": (
        lambda: hf.ResNetModel(hf.ResNetConfig(**STAGES)),
        lambda: hf.ConvNextImageProcessorPil(size=EDGE, image_mean=[0.485, 0.456, 0.406], image_std=[0.2, 0.25, 0.3]),
        16,
    ),
    "mobilenet_v2": (
        lambda: hf.MobileNetV2Model(hf.MobileNetV2Config(depth_multiplier=0.25, image_size=SIDE)),
        lambda: hf.MobileNetV2ImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE),
        1280,
    ),
    "convnext": (
        lambda: hf.ConvNextModel(hf.ConvNextConfig(num_stages=2, hidden_sizes=[8, 16], depths=[1, 1])),
        lambda: hf.ConvNextImageProcessorPil(size=EDGE, crop_pct=0.875),
        16,
    ),
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(**VIT)), lambda: hf.ViTImageProcessorPil(size=SQUARE), 32),
    "dinov2": (
        lambda: hf.Dinov2Model(hf.Dinov2Config(**VIT)),
        lambda: hf.BitImageProcessorPil(size={"shortest_edge": 40}, crop_size=SQUARE),
        32,
    ),
    "clip_vision": (
        lambda: hf.CLIPVisionModelWithProjection(hf.CLIPVisionConfig(**VIT, projection_dim=24)),
        lambda: hf.CLIPImageProcessorPil(size=EDGE, crop_size=SQUARE),
        24,
    ),
    "clip_vision_unprojected": (
        lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VIT)),
        lambda: hf.CLIPImageProcessorPil(size=EDGE, crop_size=SQUARE),
        32,
    ),
    "siglip_vision": (
        lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**VIT)),
        lambda: hf.SiglipImageProcessorPil(size=SQUARE),
        32,
    ),
    "efficientnet": (efficientnet, lambda: hf.EfficientNetImageProcessorPil(size=SQUARE, rescale_offset=True), 320),
    "regnet": (
        lambda: hf.RegNetModel(hf.RegNetConfig(**STAGES, groups_width=8)),
        lambda: hf.ConvNextImageProcessorPil(size=EDGE),
        16,
    ),
}


def save(folder: Path, model: nn.Module, processor: object | None = None) -> Path:
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model folder per family, as save_pretrained writes it."""
    root = tmp_path_factory.mktemp("families")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: save(root / name, model(), processor()) for name, (model, processor, _) in FAMILIES.items()}


@pytest.fixture(scope="module")
def vit(folders: dict[str, Path]) -> Surrogate:
    return Surrogate.from_pretrained(folders["vit"])


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A real photograph at the models' size."""
    return Image.fromarray(data.astronaut()).resize((SIDE, SIDE))


def pixels(*pictures: Image.Image) -> Tensor:
    return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255 for picture in pictures])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_embeds_its_own_view_with_a_gradient_everywhere(
    family: str, folders: dict[str, Path], photo: Image.Image
):
    surrogate = Surrogate.from_pretrained(folders[family])
    width = FAMILIES[family][2]
    assert (surrogate.size, surrogate.dim, surrogate.revision) == (SIDE, width, None)
    assert surrogate.name == str(folders[family])

    processor = hf.AutoImageProcessor.from_pretrained(folders[family], backend="pil")
    expected = processor(photo, do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(surrogate.preprocess(pixels(photo)), expected, rtol=0, atol=0.01 / 255)

    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 40, 56, generator=generator).requires_grad_()
    embeddings = surrogate(images)
    assert embeddings.shape == (3, width) and embeddings.dtype == torch.float32
    directions = torch.randn(embeddings.shape, generator=generator)
    (embeddings * directions).sum().backward()
    gradient = images.grad.abs().sum(dim=(0, 1))
    assert images.grad.isfinite().all() and (gradient > 0).all()


@pytest.mark.parametrize("family", ["resnet", "mobilenet_v2", "efficientnet", "vit"])
def test_a_surrogate_stays_frozen_whatever_is_done_with_it(family: str, folders: dict[str, Path]):
    surrogate = Surrogate.from_pretrained(folders[family])
    images = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    before, digest = surrogate(images), surrogate.digest
    surrogate.train()
    surrogate(images * 0.1 + 0.9)  # brighter: statistics would move
    assert surrogate.digest == digest
    assert torch.equal(surrogate(images), before) and not before.requires_grad
    assert not any(parameter.requires_grad for parameter in surrogate.parameters())
    assert not any(module.training for module in surrogate.modules())


NORMALISED = {"resnet", "mobilenet_v2", "efficientnet", "regnet"}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_named_surrogate_is_folded_and_embeds_as_before_under_the_same_digest(family: str, folders: dict[str, Path]):
    whole, folded = Surrogate.from_pretrained(folders[family]), load_surrogate(folders[family])
    norms = [sum(type(part) is nn.BatchNorm2d for part in surrogate.modules()) for surrogate in (whole, folded)]
    assert norms[1] == 0 and (norms[0] > 0) == (family in NORMALISED)
    assert folded.digest == whole.digest
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    images = torch.rand(4, 3, 40, 24, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(folded(images), whole(images), rtol=1e-3, atol=1e-4)


class Forked(nn.Module):
    """A convolution whose output is read before its normalisation, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm.running_mean.fill_(0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv(pixels)
        return torch.cat([x, self.norm(x)], dim=1).mean(dim=(2, 3))


def test_a_convolution_that_is_read_elsewhere_too_is_not_folded():
    surrogate = Surrogate(Forked(), size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = surrogate(images)
    assert torch.equal(surrogate.fold()(images), before)
    assert type(surrogate.encoder.norm) is nn.BatchNorm2d


def test_digest_identifies_the_weights_and_the_input(folders: dict[str, Path], tmp_path: Path):
    first = Surrogate.from_pretrained(folders["resnet"])
    assert first.digest == Surrogate.from_pretrained(folders["resnet"]).digest
    assert first.digest != Surrogate.from_pretrained(folders["resnet"], size=64).digest
    model = hf.ResNetModel.from_pretrained(folders["resnet"])
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    processor = hf.AutoImageProcessor.from_pretrained(folders["resnet"], backend="pil")
    assert Surrogate.from_pretrained(save(tmp_path, model, processor)).digest != first.digest


def test_a_half_precision_checkpoint_is_embedded_in_float32(folders: dict[str, Path], tmp_path: Path):
    model = hf.ResNetModel.from_pretrained(folders["resnet"]).to(torch.bfloat16)
    processor = hf.AutoImageProcessor.from_pretrained(folders["resnet"], backend="pil")
    surrogate = Surrogate.from_pretrained(save(tmp_path, model, processor))
    assert {parameter.dtype for parameter in surrogate.parameters()} == {torch.float32}


def test_a_full_clip_checkpoint_gives_the_projected_image_embedding(tmp_path: Path, photo: Image.Image):
    # The vision part of such a config still says 512: the true width of the projection stands in the outer config.
    clip = hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=VIT, projection_dim=24)).eval()
    save(tmp_path, clip, hf.CLIPImageProcessorPil(size=EDGE, crop_size=SQUARE))
    surrogate = Surrogate.from_pretrained(tmp_path)
    inputs = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(photo, return_tensors="pt")
    expected = clip.get_image_features(**inputs).pooler_output
    torch.testing.assert_close(surrogate(pixels(photo)), expected, rtol=1e-4, atol=1e-5)
    assert surrogate.dim == 24


def test_a_full_siglip_checkpoint_gives_its_image_embedding(tmp_path: Path, photo: Image.Image):
    siglip = hf.SiglipModel(hf.SiglipConfig(text_config=TEXT, vision_config=VIT)).eval()
    save(tmp_path, siglip, hf.SiglipImageProcessorPil(size=SQUARE))
    inputs = hf.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(photo, return_tensors="pt")
    expected = siglip.get_image_features(**inputs).pooler_output
    torch.testing.assert_close(Surrogate.from_pretrained(tmp_path)(pixels(photo)), expected, rtol=1e-4, atol=1e-5)


def test_a_vit_saved_without_its_pooler_gives_its_class_token(tmp_path: Path, photo: Image.Image):
    classifier = hf.ViTForImageClassification(hf.ViTConfig(**VIT)).eval()
    save(tmp_path, classifier, hf.ViTImageProcessorPil(size=SQUARE))
    surrogate = Surrogate.from_pretrained(tmp_path)
    tokens = classifier.vit(surrogate.preprocess(pixels(photo))).last_hidden_state
    torch.testing.assert_close(surrogate(pixels(photo)), tokens[:, 0])
    assert surrogate.digest == Surrogate.from_pretrained(tmp_path).digest


def test_size_overrides_the_processors_and_must_be_whole_patches(folders: dict[str, Path], vit: Surrogate):
    larger = Surrogate.from_pretrained(folders["vit"], size=48)
    assert larger.size == 48 and larger.preprocess(torch.zeros(1, 3, 20, 30)).shape == (1, 3, 48, 48)
    with pytest.raises(SurrogateError, match=r"size=50 .* patch of 8 px: write size=48"):
        Surrogate.from_pretrained(folders["vit"], size=50)
    with pytest.raises(SurrogateError, match="size=48 was asked for, but the surrogate given has 32"):
        load_surrogate(vit, size=48)


def test_one_surrogate_looks_at_several_sizes_as_an_ensemble_of_them_would(folders: dict[str, Path], vit: Surrogate):
    small = Surrogate.from_pretrained(folders["vit"], size=16)
    both = load_surrogate(str(folders["vit"]), size=(16, 32))
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert both.size == 32 and both.dim == small.dim + vit.dim
    torch.testing.assert_close(both(images), SurrogateEnsemble([small, vit])(images))
    assert len({both.digest, vit.digest, small.digest, load_surrogate(str(folders["vit"]), size=(32, 16)).digest}) == 4
    assert load_surrogate(str(folders["vit"]), size=(32,)).digest == load_surrogate(str(folders["vit"])).digest
    with pytest.raises(SurrogateError, match=r"size=50 .* patch of 8 px: write size=48"):
        Surrogate.from_pretrained(folders["vit"], size=(32, 50))
    with pytest.raises(SurrogateError, match="size=32 was asked for, but the surrogate given has 16, 32"):
        load_surrogate(both, size=32)


def test_a_network_that_looks_twice_adds_four_sevenths_of_its_size_in_whole_patches(folders: dict[str, Path]):
    large = Surrogate.from_pretrained(folders["vit"], size=224)
    twice = large.at_two_sizes()
    named = load_surrogate(str(folders["vit"]), size=(128, 224))
    assert twice.sizes == (128, 224) and twice.digest == named.digest
    assert twice.at_two_sizes() is twice
    small = Surrogate.from_pretrained(folders["vit"])
    assert small.at_two_sizes() is small


def test_a_native_size_of_odd_patches_leaves_no_blind_border(tmp_path: Path):
    """SigLIP's largest checkpoint: 384 px in patches of 14."""
    config = hf.SiglipVisionConfig(**{**VIT, "image_size": 36})
    save(tmp_path, hf.SiglipVisionModel(config), hf.SiglipImageProcessorPil(size={"height": 36, "width": 36}))
    surrogate = Surrogate.from_pretrained(tmp_path)
    images = torch.rand(1, 3, 36, 36, generator=torch.Generator().manual_seed(0)).requires_grad_()
    surrogate(images)[0, 0].backward()
    assert surrogate.size == 32 and (images.grad.abs().sum(dim=(0, 1)) > 0).all()


def test_your_own_encoder():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    surrogate = Surrogate(encoder, size=16, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    images = torch.rand(2, 3, 16, 16)
    normalised = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    torch.testing.assert_close(surrogate(images), encoder(normalised).flatten(1))
    assert surrogate(torch.rand(1, 3, 50, 20)).shape == (1, 8) and surrogate.dim == 8 and surrogate.name is None
    assert load_surrogate(surrogate) is surrogate


def test_an_ensemble_averages_the_cosines_of_its_members(folders: dict[str, Path], vit: Surrogate):
    ensemble = load_surrogate([vit, str(folders["resnet"])])
    assert isinstance(ensemble, SurrogateEnsemble)
    resnet = ensemble.members[1]
    assert (ensemble.size, ensemble.dim) == (SIDE, 48)
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    embeddings = ensemble(images)
    one, two = (torch.cosine_similarity(*member(images)[:, None], dim=1) for member in (vit, resnet))
    torch.testing.assert_close(embeddings[0] @ embeddings[1], ((one + two) / 2)[0])
    embeddings[:, 0].sum().backward()
    assert images.grad.abs().sum() > 0
    assert ensemble.digest == load_surrogate([vit, str(folders["resnet"])]).digest
    assert ensemble.digest != SurrogateEnsemble([resnet, vit]).digest
    with pytest.raises(SurrogateError, match="at least one"):
        load_surrogate([])
    with pytest.raises(SurrogateError, match="one revision"):
        load_surrogate([vit], revision="main")


def test_real_features_tell_flowers_apart():
    if not MOBILENET.is_dir():
        pytest.skip("needs the weights mobilenet_v2_1.0_224-imagenet in ../shared/models")
    flowers = shared_data("flowers17").shuffle(seed=0).select(range(300))
    surrogate = Surrogate.from_pretrained(MOBILENET, size=96)
    pictures = [image.convert("RGB").resize((96, 96)) for image in flowers["image"]]
    with torch.no_grad():
        embeddings = torch.cat([surrogate(pixels(*pictures[i : i + 50])) for i in range(0, 300, 50)])
    embeddings = nn.functional.normalize(embeddings)
    labels = torch.tensor(flowers["label"])
    means = torch.stack([embeddings[:200][labels[:200] == label].mean(dim=0) for label in range(17)])
    right = torch.cdist(embeddings[200:], means).argmin(dim=1) == labels[200:]
    assert right.float().mean() > 0.6  # chance is 0.06


def test_a_name_on_the_hub_is_pinned_to_its_commit(
    hub: MiniHub, folders: dict[str, Path], vit: Surrogate, monkeypatch: pytest.MonkeyPatch
):
    api = HfApi()
    api.create_repo("me/surrogate-vit")
    api.upload_folder(repo_id="me/surrogate-vit", folder_path=folders["vit"])
    commit = api.model_info("me/surrogate-vit").sha
    loaded = load_surrogate("me/surrogate-vit")
    assert (loaded.name, loaded.revision, loaded.digest) == ("me/surrogate-vit", commit, vit.digest)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load_surrogate("me/surrogate-vit").revision == commit
    assert load_surrogate("me/surrogate-vit", revision=commit).digest == vit.digest


def test_unknown_names_say_what_was_looked_for(hub: MiniHub, tmp_path: Path):
    with pytest.raises(SurrogateError, match=r"no folder me/no-such-model, and no model of that name on the Hub"):
        load_surrogate("me/no-such-model")
    with pytest.raises(SurrogateError, match=r"no folder \./weights/vit, and it is no name on the Hub"):
        load_surrogate("./weights/vit")
    with pytest.raises(SurrogateError, match=r"has no config\.json"):
        load_surrogate(tmp_path)


@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_without_a_hub_an_unknown_name_fails_at_once(revision: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(SurrogateError, match=r"no folder me/vit, .*no Hub is in reach .*refused"):
        load_surrogate("me/vit", revision=revision)


def test_models_that_are_not_image_encoders_are_refused(folders: dict[str, Path], tmp_path: Path):
    bert = hf.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    with pytest.raises(SurrogateError, match=r'is a "bert", not a vision model'):
        load_surrogate(save(tmp_path / "bert", hf.BertModel(bert)))

    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    with pytest.raises(SurrogateError, match="no-such-type"):
        load_surrogate(tmp_path / "odd")

    with pytest.raises(SurrogateError, match=r"gives \[1, 8, 16, 16\], not one vector per image"):
        Surrogate(nn.Conv2d(3, 8, 3, padding=1), size=16, mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(SurrogateError, match=r"does not take images of 2 x 2 px"):
        Surrogate(nn.Conv2d(3, 8, 3), size=2, mean=[0.5] * 3, std=[0.5] * 3)


def test_a_checkpoint_that_lacks_weights_is_refused(folders: dict[str, Path], tmp_path: Path):
    processor = hf.AutoImageProcessor.from_pretrained(folders["resnet"], backend="pil")
    save(tmp_path, hf.ResNetModel(hf.ResNetConfig(**STAGES)), processor)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(key for key in weights if key.endswith("convolution.weight"))
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SurrogateError, match=f"has no weights for {lost}"):
        load_surrogate(tmp_path)


def test_a_pickled_checkpoint_is_not_read(folders: dict[str, Path], tmp_path: Path):
    model = hf.ResNetModel(hf.ResNetConfig(**STAGES))
    model.config.save_pretrained(tmp_path)
    hf.AutoImageProcessor.from_pretrained(folders["resnet"], backend="pil").save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(SurrogateError, match=r"weights cannot be loaded .*model\.safetensors"):
        load_surrogate(tmp_path)


def test_processors_that_cannot_be_mirrored_are_refused(tmp_path: Path):
    model = hf.ResNetModel(hf.ResNetConfig(**STAGES))
    with pytest.raises(SurrogateError, match=r"no usable image processor: save one next to the model"):
        load_surrogate(save(tmp_path / "none", model))
    swaps_red_and_blue = hf.MobileViTImageProcessorPil(size=EDGE, crop_size=SQUARE)
    with pytest.raises(SurrogateError, match="does more than shift and scale each channel"):
        load_surrogate(save(tmp_path / "bgr", model, swaps_red_and_blue))
    oblong = hf.ViTImageProcessorPil(size={"height": 32, "width": 64})
    with pytest.raises(SurrogateError, match="no square input"):
        load_surrogate(save(tmp_path / "oblong", model, oblong))


@pytest.mark.skipif(hf.utils.is_timm_available(), reason="timm is installed")
def test_a_timm_model_without_timm_names_the_extra(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {}}))
    for name in ("timm/resnet18.a1_in1k", tmp_path):
        with pytest.raises(SurrogateError, match=r'pip install "uc_hf\[timm\] @ git'):
            load_surrogate(name)


def test_images_of_the_wrong_kind_are_refused(vit: Surrogate):
    with pytest.raises(SurrogateError, match=r"torch\.uint8 \[1, 3, 8, 8\]"):
        vit(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
