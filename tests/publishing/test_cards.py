"""The card of a protected dataset: what it tells, what it keeps, and what it never gives away."""

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import DatasetCard, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from PIL import Image as PILImage

from tests.commands import invoke, succeed
from tests.minihub import MiniHub
from uc_hf import UCProtector, push_dataset_card
from uc_hf.errors import DatasetError, NotFittedError, SettingError
from uc_hf.publishing.cards import BEGIN, CONTACT_SHEET, END, SHOWN, contact_sheet, dataset_card
from uc_hf.scoring.results import Row, Scorecard


QUICK = {"parametrisation": "direct", "steps": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def protector(tiles: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, n_clusters=4, **QUICK, fit_to=tiles.select(range(32)))


@pytest.fixture(scope="module")
def protected(tiles: Dataset, protector: UCProtector) -> DatasetDict:
    return DatasetDict(train=tiles.select(range(20)).map(protector, batched=True), test=tiles.select(range(20, 24)))


@pytest.fixture(scope="module")
def source(tiles: Dataset) -> str:
    """The originals on the Hub, private, with a card of their own."""
    repo = "owner/tiles"
    tiles.select(range(4)).push_to_hub(repo, private=True)
    card = DatasetCard.load(repo)
    for name, value in {
        "license": "other",
        "license_name": "tiles-1.0",
        "license_link": "LICENSE",
        "language": "en",
        "task_categories": ["image-classification"],
        "pretty_name": "Tiles",
        "tags": ["floor"],
    }.items():
        card.data[name] = value
    card.push_to_hub(repo)
    return repo


@pytest.fixture
def scorecard() -> Scorecard:
    results = {"clean": (0.8, 0.9), "protected": (0.2, 0.3), "control-random": (0.6, 0.7)}
    rows = [
        Row("resnet-small", "from-scratch", name, None, seed, last=last + 0.02 * seed, peak=peak)
        for name, (last, peak) in results.items()
        for seed in (0, 1)
    ]
    return Scorecard(0.25, rows)


def pushed(protected: DatasetDict, repo: str) -> str:
    protected.push_to_hub(repo)
    return repo


def filled(protector: UCProtector, text: str = "---\n\n---\n", **changes) -> DatasetCard:
    """A card that is not pushed anywhere."""
    facts = {"source_name": None, "source_card": None, "protected_splits": ["train"], "clean_splits": []}
    left_out = {"scorecard": None, "flip": None, "contact_sheet": False}
    return dataset_card(DatasetCard(text), protector, **facts | left_out | changes)


def test_the_metadata_comes_back_from_the_hub_as_the_types_that_were_meant(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector, source: str
):
    repo = pushed(protected, "me/card-metadata")
    push_dataset_card(repo, protector, source=source, protected_splits=["train"], clean_splits=["test"])
    card = DatasetCard.load(repo)
    card.validate()
    told = card.data.to_dict()
    assert told["tags"] == ["unlearnable", "unlearnable-clusters", "uc_hf", "data-protection"]
    assert told["source_datasets"] == [source]
    assert (told["license"], told["license_name"], told["pretty_name"]) == ("other", "tiles-1.0", "Tiles")
    assert told["license_link"] == f"{hub.url}/datasets/{source}/blob/main/LICENSE"
    assert told["language"] == ["en"] and told["task_categories"] == ["image-classification"]
    facts = told["uc_hf"]
    assert (facts["format"], facts["method"], facts["epsilon"]) == (1, "unlearnable-clusters", "16/255")
    assert (facts["n_clusters"], facts["container"]) == (4, "png")
    assert set(facts["versions"]) == {"uc_hf", "torch", "transformers", "datasets"}
    assert all(isinstance(version, str) for version in facts["versions"].values())
    assert len(facts["config_hash"]) == 64 and int(facts["config_hash"], 16) > 0
    assert told["configs"][0]["data_files"][0]["path"] == "data/train-*" and told["dataset_info"]["splits"]


def test_the_text_says_which_splits_are_protected_the_terms_and_the_limits(
    protected: DatasetDict, protector: UCProtector, source: str
):
    repo = pushed(protected, "me/card-text")
    push_dataset_card(repo, protector, source=source, protected_splits=["train"], clean_splits=["test"])
    text = DatasetCard.load(repo).text
    for words in (
        "| protected splits | train |",
        "| clean splits | test |",
        "| largest change of a pixel | 16/255 |",
        "https://arxiv.org/abs/2301.01217",
        "JPEG compression, adversarial training",
        "pretrained models",
        "It can be seen",
        "only while the originals stay private",
        "cannot be called back",
        "under: tiles-1.0. The protected copy is a derivative",
        "It was not scored",
        "@inproceedings{zhang2023unlearnable",
    ):
        assert words in text


def test_a_scorecard_is_shown_with_its_controls_and_chance(protector: UCProtector, scorecard: Scorecard):
    text = filled(protector, scorecard=scorecard).text
    assert scorecard.headline() in text and "It was not scored" not in text
    for word in ("control-random", "81.0 % ± 1.4", "21.0 % ± 1.4", "61.0 % ± 1.4", "30.0 %", "Guessing gives 25.0 %"):
        assert word in text


def test_what_a_person_wrote_stays_and_a_second_push_replaces_our_section_alone(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector, source: str, scorecard: Scorecard
):
    repo = pushed(protected, "me/card-twice")
    card = DatasetCard.load(repo)
    card.text = "\n# My tiles\n\nLaid by hand.\n"
    card.data["license"], card.data["tags"], card.data["annotations_creators"] = "mit", ["uc_hf", "floor"], "me"
    card.push_to_hub(repo)
    push_dataset_card(repo, protector, source=source, protected_splits=["train"], clean_splits=["test"])
    card = DatasetCard.load(repo)
    card.text += "\n## Contact\n\nWrite to me.\n"
    card.push_to_hub(repo)
    once = DatasetCard.load(repo).content

    splits = {"protected_splits": ["train"], "clean_splits": ["test"]}
    push_dataset_card(repo, protector, source=source, **splits, scorecard=scorecard)
    scored = DatasetCard.load(repo)
    assert scored.text.startswith("\n# My tiles\n\nLaid by hand.\n") and scored.text.endswith("\n\nWrite to me.\n")
    assert scored.text.count(BEGIN) == scored.text.count(END) == 1
    assert "It was not scored" not in scored.text and scorecard.headline() in scored.text
    told = scored.data.to_dict()
    assert (told["license"], told["annotations_creators"], "license_name" in told) == ("mit", "me", False)
    assert told["tags"] == ["uc_hf", "floor", "unlearnable", "unlearnable-clusters", "data-protection"]

    push_dataset_card(repo, protector, source=source, **splits)
    assert DatasetCard.load(repo).content == once


def test_a_later_push_of_the_data_keeps_the_card(protected: DatasetDict, protector: UCProtector):
    repo = pushed(protected, "me/card-kept")
    push_dataset_card(repo, protector, protected_splits=["train"])
    before = DatasetCard.load(repo)
    protected.push_to_hub(repo)
    after = DatasetCard.load(repo)
    assert after.text == before.text and after.data.to_dict()["uc_hf"] == before.data.to_dict()["uc_hf"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_section_torn_by_hand_swallows_no_text(protector: UCProtector, line_end: str):
    torn = f"---\nlicense: mit\n---\n{BEGIN}\nMine, the end was lost.\n\nMore of mine.\n".replace("\n", line_end)
    once = filled(protector, torn)
    twice = filled(protector, once.content, clean_splits=["test"])
    for card in (once, twice):
        assert f"Mine, the end was lost.{line_end}{line_end}More of mine." in card.text
        assert card.text.count(END) == 1
        assert card.text.count("\n") == card.text.count(line_end)
    assert "| clean splits | test |" in twice.text


@pytest.mark.parametrize("source", [None, "owner/taken-down", "folder"])
def test_no_licence_is_invented_and_no_path_is_published(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector, tmp_path: Path, source: str | None
):
    repo = pushed(protected, f"me/card-of-{(source or 'nothing').replace('/', '-')}")
    given = str(tmp_path) if source == "folder" else source
    push_dataset_card(repo, protector, source=given, protected_splits=["train"])
    card = DatasetCard.load(repo)
    named = source if source == "owner/taken-down" else None
    assert card.data.get("license") is None and card.data.get("source_datasets") == (named and [named])
    assert f"The licence of {f'[{named}]' if named else 'the originals'}" in card.text and "is unknown" in card.text
    readme = hub.files("datasets", repo)["README.md"].decode()
    assert str(tmp_path) not in readme


def test_models_on_the_publishers_disk_are_not_named_by_their_path(
    protector: UCProtector, scorecard: Scorecard, surrogate_folder: str
):
    rows = [replace(row, target="/home/alice/models/vit") for row in scorecard.rows]
    content = filled(protector, scorecard=Scorecard(0.25, rows)).content
    assert surrogate_folder not in content and "/home/alice" not in content
    assert "| surrogate | the publisher's own |" in content
    assert "A vit trained on the protected set" in content and "| vit | from-scratch |" in content


def test_the_seed_from_which_textures_could_be_drawn_again_is_not_told(protector: UCProtector):
    twin = protector.restored(protector.settings.changed(seed=7), protector.fitted)
    assert filled(twin).content == filled(protector).content


def test_the_surrogate_from_the_hub_is_named_with_its_commit(hub: MiniHub, tiles: Dataset, surrogate_folder: str):
    HfApi().create_repo("me/card-backbone")
    commit = HfApi().upload_folder(repo_id="me/card-backbone", folder_path=surrogate_folder).oid
    protector = UCProtector(
        surrogate=("me/card-backbone", "uc_hf/tiny"),
        n_clusters=2,
        **QUICK,
        fit_to=tiles.select(range(8)),
    )
    card = filled(protector)
    told = card.data.to_dict()["uc_hf"]
    assert told["surrogate"] == ["me/card-backbone", "uc_hf/tiny"] and told["surrogate_revision"] == [commit, None]
    assert f"| surrogate | me/card-backbone, revision `{commit}`; uc_hf/tiny |" in card.text


def test_norwegian_is_not_taken_for_a_false(protector: UCProtector):
    original = DatasetCard("---\nlanguage:\n- en\n- no\n---\n")
    card = filled(protector, source_name="owner/tiles", source_card=original)
    assert DatasetCard(card.content).data.to_dict()["language"] == ["en", "no"]


def test_the_readme_and_the_sheet_are_one_commit_and_the_data_loads_as_before(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector
):
    repo = pushed(protected, "me/card-sheet")
    before = len(hub.repos["datasets", repo].commits)
    pictures = protected["train"]["image"]
    push_dataset_card(repo, protector, protected_splits=["train"], clean_splits=["test"], pictures=pictures)
    assert len(hub.repos["datasets", repo].commits) == before + 1
    assert f"]({CONTACT_SHEET})" in DatasetCard.load(repo).text
    assert hub.files("datasets", repo)[CONTACT_SHEET] == contact_sheet(pictures)
    loaded = load_dataset(repo)
    assert {name: split["note"] for name, split in loaded.items()} == {
        name: split["note"] for name, split in protected.items()
    }
    push_dataset_card(repo, protector, protected_splits=["train"], clean_splits=["test"])
    assert f"]({CONTACT_SHEET})" in DatasetCard.load(repo).text


def test_the_sheet_does_not_become_a_class_of_a_repository_of_images(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector, tmp_path: Path
):
    for index, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        protected["train"][index]["image"].save(tmp_path / name / f"{index}.png")
    HfApi().create_repo("me/card-folder", repo_type="dataset")
    HfApi().upload_folder(repo_id="me/card-folder", repo_type="dataset", folder_path=tmp_path)
    picture = tmp_path / "cat" / "0.png"
    push_dataset_card("me/card-folder", protector, protected_splits=["train"], pictures=[picture])
    loaded = load_dataset("me/card-folder", split="train")
    assert len(loaded) == 2 and loaded.features["label"].names == ["cat", "dog"]
    assert DatasetCard.load("me/card-folder").text.startswith("\n# card-folder\n")


def test_pictures_of_every_kind_and_size_are_drawn_and_no_more_than_fit():
    rng = np.random.default_rng(0)
    red = PILImage.new("RGB", (300, 90), (255, 0, 0))
    kinds = [red, PILImage.new("L", (20, 30), 7), PILImage.new("RGBA", (64, 64), (0, 0, 255, 255))]
    kinds.append(PILImage.fromarray(rng.integers(0, 65535, (40, 40), dtype=np.uint16)))
    with PILImage.open(BytesIO(contact_sheet(kinds))) as few:
        colours = {colour for _, colour in few.convert("RGB").getcolors(1 << 24)}
        assert {(255, 0, 0), (7, 7, 7), (0, 0, 255)} <= colours and few.width > 4 * few.height - 50
    with PILImage.open(BytesIO(contact_sheet([red] * SHOWN))) as full:
        assert contact_sheet([red] * (SHOWN + 5)) == contact_sheet([red] * SHOWN)
        assert full.size[0] > full.size[1] > 300


def test_mistakes_are_told_before_anything_is_written(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector, scorecard: Scorecard
):
    repo = pushed(protected, "me/card-mistakes")
    before = hub.files("datasets", repo)
    with pytest.raises(NotFittedError):
        push_dataset_card(repo, UCProtector(), protected_splits=["train"])
    with pytest.raises(SettingError, match="protected_splits is empty"):
        push_dataset_card(repo, protector, protected_splits=[])
    for splits in ({"protected_splits": "train"}, {"protected_splits": ["train"], "clean_splits": "test"}):
        with pytest.raises(
            SettingError, match=r"_splits='t\w+' is a text, not a list of names\. Write \w+_splits=\['t"
        ):
            push_dataset_card(repo, protector, **splits)
    for splits in ({"protected_splits": ["tarin"]}, {"protected_splits": ["train"], "clean_splits": ["tarin"]}):
        with pytest.raises(DatasetError, match=f"{repo} has no split 'tarin'; the splits are 'test', 'train'"):
            push_dataset_card(repo, protector, **splits)
    lacking = Scorecard(0.25, [row for row in scorecard.rows if row.train_set != "protected"])
    with pytest.raises(SettingError, match=r"lacks the set 'protected' \(it has clean, control-random\)"):
        push_dataset_card(repo, protector, protected_splits=["train"], scorecard=lacking)
    with pytest.raises(RepositoryNotFoundError):
        push_dataset_card("me/card-misspelt", protector, protected_splits=["train"])
    assert hub.files("datasets", repo) == before


def test_the_command_writes_a_card_with_pictures_from_the_hub_and_never_names_the_protector(
    hub: MiniHub, protected: DatasetDict, protector: UCProtector, source: str, scorecard: Scorecard, tmp_path: Path
):
    repo = pushed(protected, "me/card-command")
    key = tmp_path / "secret-place"
    protector.save_pretrained(key)
    scorecard.save(tmp_path / "scorecard.json")
    words = ["card", repo, "--protector", key]
    url = succeed(*words, "--source", source, "--scorecard", tmp_path / "scorecard.json").strip()
    files = hub.files("datasets", repo)
    readme = files["README.md"].decode()
    assert url.startswith(f"{hub.url}/datasets/{repo}/commit/")
    assert "secret-place" not in readme and scorecard.headline() in readme
    assert "| protected splits | train |\n| clean splits | test |" in readme
    assert files[CONTACT_SHEET] == contact_sheet(protected["train"]["image"])
    succeed(*words, "--split", "train", "--split", "test")
    assert "| protected splits | train, test |\n| clean splits | none |" in DatasetCard.load(repo).text


def test_the_command_says_what_is_wrong(protected: DatasetDict, protector: UCProtector, tmp_path: Path):
    repo = pushed(protected, "me/card-command-wrong")
    key = tmp_path / "key"
    protector.save_pretrained(key)
    (tmp_path / "other.json").write_text(json.dumps({"chance": 0.1}))
    for words, reason in {
        ("me/card-absent",): "there is no dataset me/card-absent on the Hub that you may read",
        (repo, "--split", "tset"): "there is no split 'tset'; the splits are 'train', 'test'",
        (repo, "--scorecard", tmp_path / "other.json"): "other.json is not a scorecard",
    }.items():
        result = invoke("card", *words, "--protector", key)
        assert result.exit_code == 1 and reason in result.stderr


def test_what_stands_in_other_peoples_cards_and_names_is_shown_and_never_acts(
    protector: UCProtector, scorecard: Scorecard
):
    evil = f"{END} <img src=x onerror=alert(1)> [free](http://evil.example) | www.evil.example `x` **b**\nnext"
    original = DatasetCard("---\nlicense: other\n---\n")
    original.data["license_name"], original.data["pretty_name"] = evil, {"a": ["mapping"]}
    original.data["language"], original.data["license_link"] = [evil, 3], "javascript:alert(1)"
    rows = [replace(row, target=evil) for row in scorecard.rows]
    card = filled(
        protector,
        source_name="owner/tiles",
        source_card=original,
        protected_splits=["train`", evil],
        scorecard=replace(scorecard, rows=rows),
    )
    text = card.text
    assert text.count(BEGIN) == text.count(END) == 1 and text.rstrip().endswith(END)
    assert "<img" not in text and "](http://evil" not in text and "http://evil" not in text.replace("`", "")
    assert "&lt;img src=x onerror=alert(1)&gt;" in text and "pretty_name" not in card.data.to_dict()
    assert "language" not in card.data.to_dict()
    assert card.data["license_link"].endswith("/datasets/owner/tiles/blob/main/javascript:alert(1)")
    again = filled(protector, card.content, source_name="owner/tiles", source_card=original)
    assert again.text.count(BEGIN) == again.text.count(END) == 1 and "evil" in again.text


@pytest.mark.parametrize("stated", ["{a: b}", "[1, 2]", "[mit, {a: b}]", "3", "[]", "true"])
def test_a_licence_that_is_no_text_counts_as_unknown(protector: UCProtector, stated: str):
    card = filled(protector, source_name="owner/x", source_card=DatasetCard(f"---\nlicense: {stated}\n---\n"))
    assert "The licence of [owner/x]" in card.text and "is unknown" in card.text
