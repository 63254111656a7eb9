"""A handful of photographs: the number of clusters follows from how many there are, and it is said what that means."""

import numpy as np
import pytest
from datasets import Dataset

from uc_hf import UCProtector
from uc_hf.data.progress import warnings_heard
from uc_hf.errors import counted
from uc_hf.methods.unlearnable_clusters import fit as cluster_fit


@pytest.mark.parametrize(("n_images", "n_clusters"), [(1, 1), (5, 1), (29, 2), (96, 9)])
def test_small_sets_get_as_many_clusters_as_they_fill(
    tiles: Dataset, surrogate_folder: str, n_images: int, n_clusters: int
) -> None:
    few = tiles.select(range(n_images))
    with warnings_heard() as heard:
        protector = UCProtector(surrogate=surrogate_folder, batch_size=16).fit(few)
    assert len(protector.fitted.sizes) == n_clusters and sum(protector.fitted.sizes) == n_images
    assert any(f"{counted(n_images, 'image')} " in text and "was not measured" in text for text in heard)
    protected = protector.transform([row["image"] for row in few.select(range(1))])
    difference = np.array(protected[0]).astype(int) - np.array(few[0]["image"])
    assert 0 < np.abs(difference).max() <= 16


def test_a_single_cluster_is_not_the_quiet_one(tiles: Dataset, surrogate_folder: str) -> None:
    protector = UCProtector(surrogate=surrogate_folder, batch_size=16).fit(tiles.select(range(5)))
    assert np.abs(protector.canvases()).max() == 16
    assert protector.fitted.moved is None and protector.fitted.goals == []


def test_photos_that_are_large_make_one_cluster_too(photos: Dataset) -> None:
    protector = UCProtector(surrogate="uc_hf/tiny").fit(photos.select(range(3)))
    assert protector.fitted.sizes == [3]


def test_a_number_that_is_written_is_kept(tiles: Dataset, surrogate_folder: str) -> None:
    with warnings_heard() as heard:
        protector = UCProtector(surrogate=surrogate_folder, n_clusters=4, batch_size=16).fit(tiles.select(range(12)))
    assert len(protector.fitted.sizes) == 4 and not any("are few" in text for text in heard)


def test_fit_takes_a_folder_or_pictures_and_transform_a_list(tiles: Dataset, surrogate_folder: str, tmp_path) -> None:
    pictures = [tiles[row]["image"] for row in range(12)]
    for row, picture in enumerate(pictures):
        picture.save(tmp_path / f"{row:02}.png")
    by_folder = UCProtector(surrogate=surrogate_folder, batch_size=16).fit(tmp_path)
    by_list = UCProtector(surrogate=surrogate_folder, batch_size=16).fit(pictures)
    first, second = by_folder.transform(pictures[:2])
    np.testing.assert_array_equal(np.array(first), np.array(by_list.transform(pictures[0])))
    np.testing.assert_array_equal(np.array(second), np.array(by_list.transform(pictures[1])))


@pytest.mark.parametrize(("side", "n_images", "warned"), [(160, 24, True), (64, 24, False), (160, 12, False)])
def test_a_surrogate_for_small_images_is_warned_of_before_it_embeds_photographs(
    tiles: Dataset, surrogate_folder: str, monkeypatch: pytest.MonkeyPatch, side: int, n_images: int, warned: bool
) -> None:
    photos = [tiles[row]["image"].resize((side, side)) for row in range(n_images)]
    monkeypatch.setattr(cluster_fit, "embed", None)
    with warnings_heard() as heard, pytest.raises(TypeError):
        UCProtector(surrogate=surrogate_folder).fit(photos)
    assert any("the surrogate looks at squares of 32 pixels" in text for text in heard) == warned
