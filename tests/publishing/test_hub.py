"""Protected datasets and protectors through a Hub, with the real clients over HTTP."""

import json
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict, Image, IterableDataset, load_dataset
from datasets.fingerprint import Hasher
from huggingface_hub import HfApi, ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from PIL import Image as PILImage
from transformers import ResNetModel

from tests.minihub import TOKEN, MiniHub
from uc_hf import UCProtector, open_protector, protector_for
from uc_hf.errors import NotFittedError, SettingError, SurrogateError
from uc_hf.fitting.noise import CanvasNoise
from uc_hf.surrogates.backbones import UNNAMED


EPSILON = 16
TINY = {
    "n_clusters": 4,
    "parametrisation": "direct",
    "steps": 5,
    "batch_size": 32,
    "max_fit_images": 48,
    "canvas_size": 32,
}


@pytest.fixture(scope="module")
def pictures(tiles: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """48 JPEG and PNG files with names of their own, a label and a text."""
    folder = tmp_path_factory.mktemp("pictures")
    rows = tiles.select(range(48))
    paths = [folder / f"holiday {index:02}.{'jpg' if index % 2 else 'png'}" for index in range(48)]
    for path, image in zip(paths, rows["image"], strict=True):
        image.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    columns = {"image": [str(path) for path in paths], "label": rows["label"], "note": rows["note"]}
    return Dataset.from_dict(columns, features=tiles.features)


@pytest.fixture(scope="module")
def protector(pictures: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, fit_to=pictures, **TINY)


@pytest.fixture(scope="module")
def protected(pictures: Dataset, protector: UCProtector) -> Dataset:
    return pictures.map(protector, batched=True)


@pytest.fixture(scope="module")
def published(hub: MiniHub, protector: UCProtector) -> str:
    """The protector's repository."""
    protector.push_to_hub("me/key")
    return "me/key"


def stored(dataset: Dataset | IterableDataset) -> list[dict]:
    """The images of a dataset as they are stored: {"bytes", "path"}."""
    undecoded = dataset.cast_column("image", Image(decode=False))
    return [row["image"] for row in undecoded]


def pixels(image: PILImage.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def push(repo: str, files: dict[str, str]) -> None:
    """Somebody else's model repository."""
    HfApi().create_repo(repo)
    for path, text in files.items():
        HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=repo)


def test_a_protected_dataset_comes_back_as_it_was_pushed(hub: MiniHub, pictures: Dataset, protected: Dataset):
    protected.push_to_hub("me/holiday")
    loaded = load_dataset("me/holiday", split="train")
    assert loaded.features == pictures.features
    assert loaded["note"] == pictures["note"] and loaded["label"] == pictures["label"]
    assert stored(loaded) == stored(protected)
    assert [image["path"] for image in stored(loaded)] == [f"holiday {index:02}.png" for index in range(48)]
    for before, after in zip(pictures["image"], loaded["image"], strict=True):
        assert after.size == before.size and 0 < np.abs(pixels(after) - pixels(before)).max() <= EPSILON


def test_the_splits_of_a_dataset_dict_come_back(hub: MiniHub, pictures: Dataset, protector: UCProtector):
    splits = DatasetDict(train=pictures.select(range(8)), test=pictures.select(range(8, 12)))
    protected = splits.map(protector, batched=True)
    protected.push_to_hub("me/holiday-splits", private=True)
    loaded = load_dataset("me/holiday-splits")
    assert hub.repos["datasets", "me/holiday-splits"].private
    assert list(loaded) == ["train", "test"]
    for name in splits:
        assert stored(loaded[name]) == stored(protected[name]) and loaded[name]["note"] == splits[name]["note"]


def test_a_protected_dataset_streams(hub: MiniHub, protected: Dataset):
    protected.push_to_hub("me/holiday-stream", max_shard_size="100KB")
    stream = load_dataset("me/holiday-stream", split="train", streaming=True)
    rows = list(stream)
    assert [row["note"] for row in rows] == protected["note"]
    assert all(np.array_equal(row["image"], image) for row, image in zip(rows, protected["image"], strict=True))


def test_a_clean_dataset_on_the_hub_is_protected_as_it_streams(
    hub: MiniHub, pictures: Dataset, protected: Dataset, protector: UCProtector
):
    pictures.push_to_hub("me/holiday-clean", private=True)
    stream = load_dataset("me/holiday-clean", split="train", streaming=True)
    # Undecoded: a stream would hand over decoded images, and their names would be gone.
    mapped = stream.decode(False).map(protector, batched=True, batch_size=7, features=stream.features)
    assert stored(mapped) == stored(protected)


def test_a_protector_is_private_unless_asked_otherwise(
    hub: MiniHub, protector: UCProtector, published: str, tmp_path: Path
):
    assert hub.repos["models", published].private
    with pytest.raises(RepositoryNotFoundError):
        UCProtector.from_pretrained(published, token=False, cache_dir=tmp_path)
    with pytest.warns(UserWarning, match=r"me/open-key will be public: .* anyone can subtract the noise"):
        protector.push_to_hub("me/open-key", private=False)
    assert not hub.repos["models", "me/open-key"].private
    assert UCProtector.from_pretrained("me/open-key", token=False, cache_dir=tmp_path).is_fitted


def test_a_protector_is_not_pushed_into_a_public_repository_by_default(hub: MiniHub, protector: UCProtector):
    HfApi().create_repo("me/already-public", private=False)
    with pytest.raises(SettingError, match="me/already-public is public already"):
        protector.push_to_hub("me/already-public")
    assert hub.files("models", "me/already-public") == {}


def test_an_unfitted_protector_leaves_no_repository_behind(hub: MiniHub):
    with pytest.raises(NotFittedError, match=r"protector\.fit\(ds\)"):
        UCProtector(surrogate="anything").push_to_hub("me/nothing")
    assert ("models", "me/nothing") not in hub.repos


def test_a_protector_from_the_hub_has_the_same_fingerprint_and_gives_the_same_bytes(
    pictures: Dataset, protected: Dataset, protector: UCProtector, published: str, surrogate_folder: str
):
    loaded = UCProtector.from_pretrained(published, surrogate=surrogate_folder)
    assert Hasher.hash(loaded) == Hasher.hash(protector)
    assert stored(pictures.map(loaded, batched=True, load_from_cache_file=False)) == stored(protected)


def test_a_surrogate_on_the_owners_disk_is_not_named_and_is_asked_for_when_it_is_needed(
    hub: MiniHub, pictures: Dataset, protector: UCProtector, surrogate_folder: str
):
    several = UCProtector((surrogate_folder, "uc_hf/tiny"), fit_to=pictures, **TINY)
    unasked = protector_for("grating", surrogate=surrogate_folder, labels="own", n_clusters=None).fit(pictures)
    for number, key in enumerate((protector, several, unasked)):
        repo = f"me/key-without-a-path-{number}"
        key.push_to_hub(repo)
        files = hub.files("models", repo)
        assert not any(surrogate_folder.encode() in data for data in files.values())
        settings = json.loads(files["config.json"])["settings"]
        assert settings["surrogate"] == [UNNAMED, [UNNAMED, "uc_hf/tiny"], UCProtector().settings.surrogate][number]
        assert open_protector(repo).fitted.surrogate_digest == key.fitted.surrogate_digest
    loaded = UCProtector.from_pretrained("me/key-without-a-path-0")
    assert pixels(loaded.remove(protector.transform(pictures[0]["image"]))).shape == pixels(pictures[0]["image"]).shape
    with pytest.raises(SurrogateError, match=r"lay on its owner's disk.*from_pretrained\(\.\.\., surrogate=FOLDER\)"):
        loaded.transform(pictures[0]["image"])
    assert str(protector.settings.surrogate) == surrogate_folder


def test_a_revision_gives_the_protector_of_that_commit(hub: MiniHub, protector: UCProtector, surrogate_folder: str):
    repo = "me/key-of-two-versions"
    protector.push_to_hub(repo)
    first = HfApi().model_info(repo).sha
    HfApi().create_branch(repo, branch="v1")
    HfApi().create_tag(repo, tag="first-release")
    second = protector.with_noise(-protector.canvases())
    second.push_to_hub(repo)

    def loaded(revision: str | None = None) -> str:
        return Hasher.hash(UCProtector.from_pretrained(repo, revision=revision, surrogate=surrogate_folder))

    assert loaded() == Hasher.hash(second)
    for revision in (first, "v1", "first-release"):
        assert loaded(revision) == Hasher.hash(protector)
    with pytest.raises(RevisionNotFoundError, match="v3"):
        UCProtector.from_pretrained(repo, revision="v3")


def test_what_is_pushed_says_what_it_is_and_holds_no_token(hub: MiniHub, protected: Dataset, published: str):
    protected.push_to_hub("me/holiday-with-key")
    card = ModelCard.load(published)
    assert "removal key" in card.text and "Keep this private" in card.text
    assert card.data.library_name == "uc_hf" and "unlearnable-clusters" in card.data.tags
    files = hub.files("models", published) | hub.files("datasets", "me/holiday-with-key")
    assert {"README.md", "config.json", "model.safetensors", "noise.png"} < set(files)
    assert not any(TOKEN.encode() in data for data in files.values())


def test_a_protectors_card_shows_what_it_has_learnt_and_a_picture_that_loading_does_not_fetch(
    hub: MiniHub, protector: UCProtector, published: str, tmp_path: Path
):
    text, learnt = ModelCard.load(published).text, protector.fitted
    for cluster, (size, goal) in enumerate(zip(learnt.sizes, learnt.goals, strict=True)):
        assert f"| {cluster} | {size} | {goal} |" in text
    for fact in (f"| fit | {learnt.summary()} |", "| n_clusters | 4 |", "uc_hf 0.", "torch 2."):
        assert fact in text
    assert "](noise.png)" in text
    with PILImage.open(BytesIO(hub.files("models", published)["noise.png"])) as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    before = len(hub.log)
    UCProtector.from_pretrained(published, cache_dir=tmp_path)
    fetched = {request.path.rsplit("/", 1)[-1] for request in hub.log[before:]}
    assert "model.safetensors" in fetched and "noise.png" not in fetched


def test_saving_another_protector_in_the_same_folder_renews_its_card(protector: UCProtector, tmp_path: Path):
    protector.save_pretrained(tmp_path)
    protector.with_epsilon(8 / 255).save_pretrained(tmp_path)
    assert "8/255" in (tmp_path / "README.md").read_text()


def test_a_protector_of_very_many_clusters_is_saved_with_a_picture_of_the_first(
    protector: UCProtector, tmp_path: Path
):
    noise = CanvasNoise(np.tile(protector.canvases(), (50, 1, 1, 1)))
    learnt = replace(protector.fitted, noise=noise, sizes=[1] * 200, goals=[*range(200)])
    many = protector.restored(protector.settings, learnt)
    many.save_pretrained(tmp_path)
    assert "The noise of the first 12 of 200 groups" in (tmp_path / "README.md").read_text()
    with PILImage.open(tmp_path / "noise.png") as picture:
        assert picture.height < 2000


def test_what_is_no_protector_is_refused_with_a_remedy(hub: MiniHub, published: str):
    push("me/somebodys-model", {"config.json": '{"model_type": "bert"}'})
    push("me/only-a-card", {"README.md": "Nothing here yet."})
    config = json.loads(hub.files("models", published)["config.json"]) | {"format": 99, "uc_hf_version": "9.0"}
    push("me/newer-key", {"config.json": json.dumps(config)})
    for repo in ("me/somebodys-model", "me/only-a-card"):
        with pytest.raises(SettingError, match=f"'{repo}' is not a saved UCProtector"):
            UCProtector.from_pretrained(repo)
    with pytest.raises(SettingError, match=r"format=99 is newer than this version's .*pip install -U uc_hf"):
        UCProtector.from_pretrained("me/newer-key")
    with pytest.raises(RepositoryNotFoundError, match="make sure you specified the correct `repo_id`"):
        UCProtector.from_pretrained("me/misspelt")
    with pytest.raises(SettingError, match="'epsilon' cannot be changed"):
        UCProtector.from_pretrained(published, epsilon=8 / 255)


def test_a_wrong_token_is_refused(hub: MiniHub, protector: UCProtector, published: str, tmp_path: Path):
    with pytest.raises(HfHubHTTPError, match="401"):
        UCProtector.from_pretrained(published, token="hf_wrong", cache_dir=tmp_path)
    with pytest.raises(HfHubHTTPError, match="401"):
        protector.push_to_hub("me/not-mine", token="hf_wrong")
    assert ("models", "me/not-mine") not in hub.repos


def test_a_surrogate_from_the_hub_is_pinned(hub: MiniHub, pictures: Dataset, surrogate_folder: str, tmp_path: Path):
    backbone, api = "me/backbone", HfApi()
    api.create_repo(backbone)
    api.upload_folder(repo_id=backbone, folder_path=surrogate_folder)
    commit = api.model_info(backbone).sha
    protector = UCProtector(surrogate=backbone, fit_to=pictures, **TINY)
    expected = stored(pictures.map(protector, batched=True))
    protector.push_to_hub("me/pinned-key")

    changed = ResNetModel.from_pretrained(surrogate_folder)
    with torch.no_grad():
        for weight in changed.parameters():
            weight.mul_(-0.5)
    changed.save_pretrained(tmp_path)
    api.upload_folder(repo_id=backbone, folder_path=tmp_path)
    shutil.rmtree(Path(constants.HF_HUB_CACHE) / "models--me--backbone")

    loaded = UCProtector.from_pretrained("me/pinned-key")
    assert loaded.fitted.surrogate_revision == commit != api.model_info(backbone).sha
    assert stored(pictures.map(loaded, batched=True, load_from_cache_file=False)) == expected
    assert UCProtector(surrogate=backbone, fit_to=pictures, **TINY).fitted.surrogate_digest != (
        loaded.fitted.surrogate_digest
    )
