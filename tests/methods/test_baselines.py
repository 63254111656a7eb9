"""Baselines have the face of UCProtector: fit, map, save, open, resume; and each does what its paper says."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from PIL import Image as PILImage
from scipy.ndimage import correlate
from torch import Tensor
from torch.nn import functional as F

from tests.commands import invoke, succeed
from tests.workers import WORKERS
from uc_hf import UCProtector, open_protector, protector_for
from uc_hf.data.images import decode
from uc_hf.errors import DatasetError, SettingError, SurrogateError
from uc_hf.methods import METHODS, register, source_model
from uc_hf.methods.baselines import deepconfuse, pil
from uc_hf.methods.baselines.ar import draw_processes, run
from uc_hf.methods.baselines.cuda import filtered
from uc_hf.methods.baselines.ops import best_pixel
from uc_hf.methods.labelwise import Baseline, Lesson
from uc_hf.publishing.provenance import provenance
from uc_hf.scoring.controls import with_controls
from uc_hf.training.networks import build_target


QUICK = {"canvas_size": 16, "batch_size": 16, "seed": 0}
TRAINED = {"epochs": 2, "source_model": "resnet-small"}
SEARCHED = {"pgd_steps": 3} | TRAINED
OPTIONS = {
    "synper": {},
    "ar": {},
    "cuda": {},
    "ops": {},
    "grating": {},
    "emin": SEARCHED,
    "emaxn": SEARCHED,
    "advpoison": SEARCHED,
    "deepconfuse": {"trials": 1} | TRAINED,
    "pil": {"epochs": 2, "pgd_steps": 3},
}
UNBOUNDED = {"cuda", "ops"}


@pytest.fixture(scope="module")
def baselines(tiles: Dataset) -> dict[str, Baseline]:
    """Each method, fitted in a moment."""
    return {name: protector_for(name, **QUICK, **options).fit(tiles) for name, options in OPTIONS.items()}


def protected_by(protector: Baseline, dataset: Dataset, **options: object) -> Dataset:
    return dataset.map(protector, batched=True, batch_size=32, load_from_cache_file=False, **options)


def stored(dataset: Dataset) -> list[bytes]:
    return [value["bytes"] for value in dataset.data["image"].to_pylist()]


def changes(before: Dataset, after: Dataset) -> list[np.ndarray]:
    pairs = zip(stored(before), stored(after), strict=True)
    return [decode(b).pixels.astype(int) - decode(a).pixels.astype(int) for a, b in pairs]


def test_every_method_of_the_paper_four_later_ones_and_ours_are_known():
    assert set(OPTIONS) | {"uc"} <= set(METHODS) and isinstance(protector_for("uc"), UCProtector)
    with pytest.raises(SettingError, match=r"'emni' is not known. Write one of 'uc'"):
        protector_for("emni")
    with pytest.raises(SettingError, match="Did you mean 'pgd_steps'"):
        protector_for("emin", pdg_steps=3)


@pytest.mark.parametrize("method", OPTIONS)
def test_a_baseline_maps_like_any_protector(baselines: dict[str, Baseline], tiles: Dataset, method: str):
    protector = baselines[method]
    protected = protected_by(protector, tiles)
    assert protected.features == tiles.features and protected["label"] == tiles["label"]
    changed = changes(tiles, protected)
    largest = max(np.abs(change).max() for change in changed)
    assert all(change.any() for change in changed) and (largest <= 16 or method in UNBOUNDED)
    assert stored(protected_by(protector, tiles, num_proc=WORKERS)) == stored(protected)


@pytest.mark.parametrize("method", OPTIONS)
def test_a_saved_baseline_is_opened_by_its_name_and_gives_the_same_bytes(
    baselines: dict[str, Baseline], tiles: Dataset, method: str, tmp_path: Path
):
    baselines[method].save_pretrained(tmp_path)
    opened = open_protector(str(tmp_path))
    assert type(opened) is type(baselines[method])
    assert stored(protected_by(opened, tiles)) == stored(protected_by(baselines[method], tiles))
    assert opened.title in (tmp_path / "README.md").read_text()
    with pytest.raises(SettingError, match=f"made by the method '{method}', not 'uc': open_protector"):
        UCProtector.from_pretrained(tmp_path)


@pytest.mark.parametrize(("method", "options"), [(m, {}) for m in OPTIONS] + [("emin", {"kind": "class"})])
def test_equal_settings_give_equal_noise_and_another_seed_another(
    tiles: Dataset, method: str, options: dict[str, object]
):
    if method == "ops":
        pytest.skip("its pixel is found, not drawn")
    made = [
        protector_for(method, **(QUICK | OPTIONS[method] | options | {"seed": seed})).fit(tiles) for seed in (1, 1, 2)
    ]
    first, again, other = (protector.canvases() for protector in made)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_label_decides_and_images_that_were_not_fitted_on_are_protected(baselines: dict[str, Baseline]):
    image = np.random.default_rng(1).integers(0, 256, (50, 30, 3), dtype=np.uint8)
    batch = {"image": [image, image, image], "label": [0, 0, 1]}
    for method in ("synper", "emin", "advpoison"):
        first, same, other = (decode(value["bytes"]).pixels for value in baselines[method](dict(batch))["image"])
        assert first.shape == (50, 30, 3) and np.array_equal(first, same) and not np.array_equal(first, other)


class Stopped(Exception):
    pass


@pytest.mark.parametrize(
    ("method", "options", "module"),
    [
        ("emin", {}, source_model),
        ("emin", {"kind": "class"}, source_model),
        ("emaxn", {}, source_model),
        ("pil", {}, source_model),
        ("deepconfuse", {}, deepconfuse),
    ],
)
def test_an_interrupted_fit_resumes_to_the_same_noise(
    tiles: Dataset, method: str, options: dict, module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = QUICK | OPTIONS[method] | options | {"epochs": 4}
    whole = protector_for(method, **settings).fit(tiles)
    steps, entropy = [], F.cross_entropy

    def counted(limit: int) -> Callable[..., Tensor]:
        def see(*arguments: Tensor, **named: str) -> Tensor:
            if len(steps) == limit:
                raise Stopped
            steps.append(None)
            return entropy(*arguments, **named)

        return see

    monkeypatch.setattr(module.F, "cross_entropy", counted(15))
    with pytest.raises(Stopped):
        protector_for(method, **settings).fit(tiles, checkpoint_dir=tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    monkeypatch.setattr(module.F, "cross_entropy", counted(10**6))
    resumed = protector_for(method, **settings).fit(tiles, checkpoint_dir=tmp_path)
    assert np.array_equal(resumed.canvases(), whole.canvases()) and not list(tmp_path.iterdir())


def test_labels_that_cannot_be_had_are_named_before_anything_is_learnt(baselines: dict[str, Baseline], tiles: Dataset):
    with pytest.raises(DatasetError, match=r"no column of labels found.*labels='clusters'"):
        protector_for("emin", **QUICK).fit(tiles.remove_columns("label"))
    with pytest.raises(DatasetError, match=r"labels='own' takes a Dataset"):
        protector_for("emin", **QUICK).fit(tiles.to_iterable_dataset())
    unlabelled = tiles.cast_column("label", Value("string")).map(
        lambda row, index: {"label": None if index == 7 else row["label"]}, with_indices=True
    )
    with pytest.raises(DatasetError, match=r"row 7, column 'label', has no label. Leave such rows out"):
        protector_for("emin", **QUICK).fit(unlabelled)
    with pytest.raises(DatasetError, match=r"sample of 2 images has none with the label '.' of column 'label'"):
        protector_for("emin", **QUICK, max_fit_images=2).fit(tiles)
    with pytest.raises(DatasetError, match="only the label '0'"):
        protector_for("emin", **QUICK).fit(tiles.filter(lambda label: label == 0, input_columns="label"))
    with pytest.raises(DatasetError, match=r"label '9' was not among the 4 that were fitted on \(0, 1, 2, 3\)"):
        baselines["synper"]({"image": tiles[0]["image"], "label": 9})
    with pytest.raises(DatasetError, match="fitted for the labels in the column 'label', and there are none"):
        baselines["synper"].transform(tiles[0]["image"])
    with pytest.raises(SettingError, match=r"labels='mine' is not known. Write 'own' or 'predicted' or 'clusters'"):
        protector_for("emin", labels="mine")


def test_a_formatted_dataset_and_pictures_beside_tensors_give_the_same_bytes(tiles: Dataset):
    protector = protector_for("synper", **QUICK).fit(tiles.with_format("torch"))
    row = protector({"image": tiles[3]["image"], "label": torch.tensor(tiles[3]["label"])})
    assert (
        decode(row["image"]["bytes"]).pixels.tobytes()
        == decode(
            protector({"image": tiles[3]["image"], "label": tiles[3]["label"]})["image"]["bytes"]
        ).pixels.tobytes()
    )


def test_deepconfuse_protects_pictures_without_a_label(baselines: dict[str, Baseline], tiles: Dataset):
    protector = baselines["deepconfuse"]
    unlabelled = protected_by(protector, tiles.remove_columns("label"))
    assert stored(unlabelled) == stored(protected_by(protector, tiles))


def test_ar_noise_is_as_strong_everywhere_on_a_large_canvas(tiles: Dataset):
    protector = protector_for("ar", canvas_size=128, epsilon=16 / 255).fit(tiles.select(range(8)))
    quarters = [abs(protector.canvases()[:, :, y : y + 64, x : x + 64]).mean() for y in (0, 64) for x in (0, 64)]
    assert max(quarters) < 2 * min(quarters) and min(quarters) > 4


def test_labels_may_be_plain_text(tiles: Dataset):
    words = tiles.cast_column("label", Value("string"))
    protector = protector_for("synper", **QUICK).fit(words)
    assert protector.fitted.names == ["0", "1", "2", "3"] and stored(protected_by(protector, words))


def test_clusters_serve_as_labels_of_pictures_without_any(tiles: Dataset, surrogate_folder: str, tmp_path: Path):
    options = QUICK | {"labels": "clusters", "surrogate": surrogate_folder, "n_clusters": 3}
    unlabelled = tiles.remove_columns("label")
    protector = protector_for("synper", **options).fit(unlabelled)
    assert len(protector.fitted.sizes) == 3 and sum(protector.fitted.sizes) == len(tiles)
    protector.save_pretrained(tmp_path)
    again = protected_by(open_protector(str(tmp_path)), unlabelled)
    assert stored(again) == stored(protected_by(protector, unlabelled))


def test_a_classifiers_guesses_serve_as_labels(tiles: Dataset, tmp_path: Path, surrogate_folder: str):
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=7, out_features=None
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        classifier = ResNetForImageClassification(config).eval()
    classifier.classifier[1].weight.data *= 50  # a fresh head prefers one class for all
    classifier.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    protector = protector_for("synper", **QUICK, labels="predicted", surrogate=str(tmp_path)).fit(tiles)
    pictures = [decode(data) for data in stored(tiles)]
    pixels = torch.cat(list(protector.squares(pictures, protector.fitted.canvas_size))).float() / 255
    mean, std = 0.5, 0.5
    scores = classifier(F.interpolate((pixels - mean) / std, (32, 32), mode="bilinear")).logits
    guesses = scores.argmax(dim=1).tolist()
    assert protector.fitted.names == sorted({str(guess) for guess in guesses}) and len(set(guesses)) > 1
    assert [protector.fitted.names[group] for group in protector.assign(pictures)] == list(map(str, guesses))
    with pytest.raises(SurrogateError, match="has no weights for classifier"):
        protector_for("synper", **QUICK, labels="predicted", surrogate=surrogate_folder).fit(tiles)


def test_controls_of_a_baseline_have_its_labels_and_its_epsilon(baselines: dict[str, Baseline], tiles: Dataset):
    sets = with_controls(baselines["emin"], tiles)
    assert stored(sets["protected"]) == stored(protected_by(baselines["emin"], tiles))
    assert not any(change.any() for change in changes(tiles, sets["clean"]))
    assert max(np.abs(change).max() for change in changes(tiles, sets["control-random"])) == 16


@pytest.fixture(scope="module")
def searched(tiles: Dataset) -> dict[str, Baseline]:
    options = QUICK | {"epochs": 8, "pgd_steps": 10, "pgd_step": 0.2, "canvas_size": 32}
    return {name: protector_for(name, **options).fit(tiles) for name in ("emin", "emaxn", "advpoison")}


def losses(protector: Baseline, tiles: Dataset, shift: int = 0) -> tuple[float, float]:
    """The source model's loss on clean and on protected images, of their labels or of those `shift` further."""
    pictures = [decode(data) for data in stored(tiles)]
    pixels = torch.cat(list(protector.squares(pictures, protector.fitted.canvas_size)))
    labels = torch.tensor(tiles["label"])
    noise = protector.noise(pixels, labels)
    model = build_target("resnet-small", 4, 32, seed=0)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in protector.fitted.tensors.items()})
    with torch.no_grad():
        return tuple(
            float(F.cross_entropy(model.eval()((pixels + change).clamp(0, 255) / 255), (labels + shift) % 4))
            for change in (0, noise)
        )


def test_emin_lowers_the_loss_emaxn_raises_it_and_advpoison_lowers_that_of_the_next_label(
    searched: dict[str, Baseline], tiles: Dataset
):
    clean, protected = losses(searched["emin"], tiles)
    assert protected < 0.5 * clean
    clean, protected = losses(searched["emaxn"], tiles)
    assert protected > 20 * clean
    clean, protected = losses(searched["advpoison"], tiles, shift=1)
    assert protected < clean - 1


def test_pil_hides_the_label_from_a_linear_classifier_which_reads_it_in_the_noise(tiles: Dataset):
    protector = protector_for("pil", **QUICK | {"canvas_size": 32, "epochs": 20}).fit(tiles)
    pixels = torch.cat(list(protector.squares([decode(data) for data in stored(tiles)], 32)))
    labels = torch.tensor(tiles["label"])
    noise = protector.noise(pixels, labels)
    classifier = pil.Linear(4, 32)
    classifier.load_state_dict({name: torch.from_numpy(array) for name, array in protector.fitted.tensors.items()})
    with torch.no_grad():
        clean, published, subtracted = (classifier(x / 255).softmax(1) for x in (pixels, pixels + noise, -noise))
    at = torch.arange(len(labels)), labels
    assert (subtracted.argmax(dim=1) == labels).float().mean() > 0.95
    assert published[at].mean() < clean[at].mean()


def test_deepconfuse_takes_the_step_of_plain_sgd_and_the_gradient_through_it():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).double()
    pixels, labels = torch.rand(5, 3, 2, 2, dtype=torch.double), torch.tensor([0, 1, 2, 0, 1])
    shift = torch.full((3, 2, 2), 0.05, dtype=torch.double, requires_grad=True)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def after(value: Tensor) -> Tensor:
        for name, weight in model.named_parameters():
            weight.data.copy_(before[name])
        return deepconfuse.confuse(model, lambda x: value.expand_as(x), 0.2 + 0.5 * pixels, labels)

    assert torch.autograd.gradcheck(after, (shift,), atol=1e-6)
    after(shift)
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).double()
    plain[1].load_state_dict({name.removeprefix("1."): weight for name, weight in before.items()})
    optimizer = torch.optim.SGD(plain.parameters(), lr=deepconfuse.CLASSIFIER_RATE)
    F.cross_entropy(plain(0.2 + 0.5 * pixels + shift.detach()), labels).backward()
    optimizer.step()
    for stepped, expected in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(stepped, expected)


def test_synper_can_be_separated_by_a_linear_model_and_differs_from_image_to_image(
    baselines: dict[str, Baseline], tiles: Dataset
):
    protector = baselines["synper"]
    pixels = torch.cat(list(protector.squares([decode(data) for data in stored(tiles)], protector.fitted.canvas_size)))
    noise = protector.noise(pixels, torch.tensor(tiles["label"])).flatten(1)
    corners = torch.from_numpy(protector.fitted.tensors["corners"])
    weights = F.interpolate(corners, (16, 16), mode="nearest").flatten(1)
    assert ((noise @ weights.T).argmax(dim=1) == torch.tensor(tiles["label"])).all()
    assert len({tuple(row.tolist()) for row in noise}) == len(tiles)
    assert noise.view(-1, 3, 4, 4, 4, 4).std(dim=(3, 5)).max() < 1e-4  # blocks of 4 x 4 on 16 pixels


def test_gratings_are_at_epsilon_everywhere_and_are_not_known_from_the_seed_alone(
    baselines: dict[str, Baseline], tiles: Dataset
):
    noise = baselines["grating"].canvases()
    assert set(np.unique(noise)) == {-16, 16} and len(np.unique(noise, axis=0)) == 4
    others = protector_for("grating", **QUICK).fit(tiles.select(range(1, len(tiles))))
    assert not np.array_equal(others.canvases(), noise)


def test_ar_noise_is_predicted_exactly_from_its_neighbours():
    weights = draw_processes(3, torch.Generator().manual_seed(0))[None]
    assert torch.allclose(weights.sum(dim=2), torch.ones(1, 3))
    field = run(torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(9)), weights)
    kernels = torch.cat([weights[0], -torch.ones(3, 1)], dim=1).view(3, 1, 3, 3)
    assert F.conv2d(field, kernels, groups=3).abs().max() < 1e-4 < field.std()


def test_cuda_filters_as_scipy_does_and_scales_to_white():
    generator = torch.Generator().manual_seed(0)
    pixels, kernel = 200 * torch.rand(3, 11, 7, generator=generator), torch.rand(3, 3, generator=generator)
    expected = np.stack([correlate(channel, kernel.numpy(), mode="nearest") for channel in pixels.numpy()])
    assert np.allclose(filtered(pixels, kernel), 255 * expected / expected.max(), atol=1e-3)


@pytest.mark.parametrize("method", sorted(UNBOUNDED))
def test_a_method_without_a_bound_says_so_wherever_the_bound_stands(
    baselines: dict[str, Baseline], method: str, tmp_path: Path
):
    baselines[method].save_pretrained(tmp_path)
    assert "| bound on the noise | unbounded |" in (tmp_path / "README.md").read_text()
    assert "unbounded" in succeed("inspect", tmp_path)
    assert provenance(baselines[method])["epsilon"] == "unbounded"


def test_ops_finds_the_pixel_that_is_far_from_a_colour_in_all_images_and_paints_it_at_any_size(
    baselines: dict[str, Baseline],
):
    images = torch.randint(60, 200, (20, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    images[:, :, 2, 5] = 250
    assert best_pixel(images).tolist() == [2, 5, 0, 0, 0]
    protector = baselines["ops"]
    row, column, *colour = protector.fitted.tensors["pixels"][0].tolist()
    picture = np.full((48, 32, 3), 128, dtype=np.uint8)
    painted = decode(protector({"image": picture, "label": 0})["image"]["bytes"]).pixels
    assert (painted[3 * row : 3 * row + 3, 2 * column : 2 * column + 2] == colour).all()
    assert (painted != 128).any(axis=2).sum() == 3 * 2


@pytest.mark.parametrize("method", ["synper", *sorted(UNBOUNDED)])
def test_a_gray_picture_of_a_coloured_set_is_stored_in_colour(baselines: dict[str, Baseline], method: str):
    gray = PILImage.fromarray(np.random.default_rng(0).integers(20, 230, (48, 32), dtype=np.uint8))
    assert decode(baselines[method]({"image": gray, "label": 0})["image"]["bytes"]).mode == "RGB"


def test_the_command_protects_by_a_baseline_and_refuses_another_method_afterwards(tiles: Dataset, tmp_path: Path):
    tiles.save_to_disk(tmp_path / "in")
    words = ["protect", tmp_path / "in", "--out", tmp_path / "out", "--canvas-size", 16]
    told = json.loads(succeed(*words, "--method", "synper", "--json"))
    assert told["images"] == len(tiles) and told["imperceptibility"]["max_difference"] == 16
    assert json.loads(succeed(*words, "--json"))["already_done"] == len(tiles)
    shown = succeed("inspect", tmp_path / "out.protector")
    assert "by the method 'synper'" in shown and "fitted on 96 images of 4 labels" in shown
    other = invoke(*words[:-2], "--method", "uc", "--n-clusters", 3)
    assert other.exit_code == 1 and "method 'uc' (saved: 'synper')" in other.stderr


def test_a_folder_of_photos_has_no_labels_of_its_own(tiles: Dataset, tmp_path: Path, surrogate_folder: str):
    (tmp_path / "in").mkdir()
    for index, data in enumerate(stored(tiles)[:12]):
        (tmp_path / "in" / f"{index}.png").write_bytes(data)
    words = ["protect", tmp_path / "in", "--out", tmp_path / "out", "--method", "synper"]
    refused = invoke(*words)
    assert refused.exit_code == 1 and "labels='clusters'" in refused.stderr
    clusters = ["--labels", "clusters", "--surrogate", surrogate_folder, "--n-clusters", 3]
    assert json.loads(succeed(*words, *clusters, "--json"))["images"] == 12


def test_another_method_takes_one_class(tiles: Dataset, tmp_path: Path):
    @register
    class Toy(Baseline):
        """Darkens even labels and lightens odd ones."""

        method, title, reference = "toy", "Toy", "nobody, nowhere"

        def learn(self, lesson: Lesson) -> dict[str, Tensor]:
            return {"signs": torch.tensor([1.0 if label % 2 else -1.0 for label in range(lesson.n_classes)])}

        def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
            signs = torch.from_numpy(self.fitted.tensors["signs"])[labels]
            return self.settings.levels * signs[:, None, None, None] * torch.ones(canvases.shape)

    try:
        protector = protector_for("toy", epsilon=4 / 255).fit(tiles)
        protector.save_pretrained(tmp_path)
        protected = protected_by(open_protector(str(tmp_path)), tiles)
        signs = [np.sign(change).mean() for change in changes(tiles, protected)]
        assert all((sign > 0) == (label % 2 == 1) for sign, label in zip(signs, tiles["label"], strict=True))
    finally:
        del METHODS["toy"]
