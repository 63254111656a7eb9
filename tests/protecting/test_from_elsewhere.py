"""Protectors from elsewhere: whatever such a folder holds, it is taken as a whole or refused with the field's name."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from safetensors.numpy import load_file, save_file

from tests.stored import DAMAGE
from uc_hf import UCProtector, open_protector, protector_for
from uc_hf.errors import SettingError
from uc_hf.protecting.saved_config import digest_of


Config, Arrays = dict[str, Any], dict[str, np.ndarray]


@pytest.fixture(scope="module")
def saved(tiles: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A protector of each kind of record."""
    folder = tmp_path_factory.mktemp("saved")
    few = {"surrogate": "uc_hf/tiny", "n_clusters": 2, "batch_size": 8}
    made = {
        "uc": UCProtector(**few),
        "ops": protector_for("ops", **few, canvas_size=16),
        "clusters": protector_for("synper", **few, canvas_size=16, labels="clusters"),
    }
    for name, protector in made.items():
        protector.fit(tiles.select(range(16))).save_pretrained(folder / name)
    return {name: folder / name for name in made}


def changed(folder: Path, change: Callable[[Config, Arrays], object], copy: Path) -> Path:
    """A protector that somebody has changed, and put a digest to, as anybody can."""
    shutil.copytree(folder, copy)
    config, arrays = json.loads((copy / "config.json").read_text()), load_file(copy / "model.safetensors")
    result = change(config, arrays)
    if isinstance(config, dict) and result is None:
        try:
            config["digest"] = digest_of(config, arrays)
        except SettingError:
            pass
    (copy / "config.json").write_text(json.dumps(config if result is None else result))
    save_file(arrays, copy / "model.safetensors")
    return copy


def put(key: str, value: object) -> Callable[[Config, Arrays], None]:
    """Another value, at "settings.NAME", "fit.NAME" or "NAME"."""

    def change(config: Config, _: Arrays) -> None:
        *within, name = key.split(".")
        for part in within:
            config = config[part]
        config[name] = value

    return change


def drop(key: str) -> Callable[[Config, Arrays], None]:
    def change(config: Config, _: Arrays) -> None:
        *within, name = key.split(".")
        for part in within:
            config = config[part]
        del config[name]

    return change


def array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Config, Arrays], None]:
    def change_it(_: Config, arrays: Arrays) -> None:
        arrays[name] = np.ascontiguousarray(change(arrays[name]))

    return change_it


def spoilt(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values.reshape(-1)[-1] = value
        return values

    return change


WRONG: list[tuple[str, Callable[[Config, Arrays], object], str]] = [
    *[("uc", put("settings." + name, value), name) for name, value in (
        ("epsilon", "much"), ("epsilon", float("nan")), ("epsilon", float("inf")), ("epsilon", 16), ("epsilon", None),
        ("epsilon", [0.1]), ("epsilon", -0.1), ("n_clusters", "2"), ("n_clusters", 3), ("n_clusters", 2.0),
        ("n_clusters", True), ("n_clusters", 0), ("seed", -1), ("seed", "x"), ("seed", [1]), ("container", 5),
        ("container", "exe"), ("container", "jpeg:1000"), ("keep_exif", "yes"), ("keep_exif", 1), ("surrogate", 5),
        ("surrogate", []), ("surrogate", {}), ("surrogate", [1]), ("surrogate_size", 10**9), ("surrogate_size", "big"),
        ("surrogate_size", []), ("surrogate_size", [[]]), ("canvas_size", 10**9), ("canvas_size", 1),
        ("normalise", "no"), ("batch_size", 0), ("batch_size", 1.5), ("max_fit_images", "all"), ("image_column", 7),
        ("surrogate_revision", 7), ("parametrisation", "spell"), ("parametrisation", []), ("goal", 1),
        ("eot_scale", [1]), ("eot_scale", "x"), ("eot_scale", [0, float("nan")]), ("quiet_cluster", "maybe"),
        ("steps", "many"), ("fit_to", 1), ("unheard_of", 1),
    )],
    *[("uc", put("fit." + name, value), name) for name, value in (
        ("sizes", "8 8"), ("sizes", [8]), ("sizes", [8, -8]), ("sizes", [8.5, 7.5]), ("sizes", [8, 8, 8]),
        ("sizes", [8, None]), ("sizes", []), ("column", ""), ("column", 3), ("column", None), ("goals", [0, 2]),
        ("goals", [0]), ("goals", ["0", "1"]), ("goals", [-1, 0]), ("moved", 2), ("moved", "half"),
        ("moved", float("nan")), ("looked_at", 0), ("looked_at", 10**9), ("looked_at", -32), ("looked_at", "48"),
        ("coloured", "yes"), ("surrogate_digest", 5), ("surrogate_revision", 5), ("unheard_of", 1), ("noise", 1),
    )],
    *[("uc", drop("fit." + name), name) for name in ("sizes", "column", "goals")],
    *[("uc", put(name, value), name) for name, value in (
        ("format", 2), ("format", "1"), ("format", None), ("format", 1.5), ("algorithm", 10**6), ("algorithm", "x"),
        ("method", "spell"), ("method", 5), ("method", []), ("settings", []), ("settings", None),
        ("fit", []), ("fit", None), ("uc_hf_version", 5),
    )],
    ("uc", put("method", "synper"), "'clustering' is not a setting"),
    ("uc", put("settings.n_clusters", 10**30), "clusters"),
    ("clusters", array("noise", lambda noise: noise[:1]), "sizes has 2 items, not 1"),
    ("uc", lambda config, arrays: [1, 2], "config.json"),
    ("uc", lambda config, arrays: "text", "config.json"),
    ("uc", lambda config, arrays: {}, "config.json"),
    ("uc", lambda config, arrays: arrays.clear(), "angles"),
    ("uc", lambda config, arrays: arrays.update(more=np.zeros(3)), "'more'"),
    ("uc", array("centroids", lambda centroids: centroids[:1]), "centroids"),
    ("uc", array("centroids", lambda centroids: centroids[0]), "centroids"),
    ("uc", array("centroids", lambda centroids: centroids.astype(np.float64)), "centroids"),
    ("uc", array("centroids", lambda centroids: centroids[:, :0]), "centroids"),
    ("uc", array("centroids", spoilt(np.nan)), "centroids"),
    ("uc", array("centroids", spoilt(np.inf)), "centroids"),
    ("uc", lambda config, arrays: arrays.pop("centroids") is None or None, "centroids"),
    *[("uc", array(f"wave.{name}", change), name) for name, change in (
        ("angles", spoilt(np.nan)), ("angles", lambda angles: angles[:, None]), ("periods", spoilt(0)),
        ("periods", spoilt(-3)), ("periods", spoilt(np.inf)), ("periods", lambda periods: periods.astype(np.float32)),
        ("colours", spoilt(1e9)), ("colours", lambda colours: colours * 0),
        ("colours", lambda colours: colours[:, :1]), ("periods", lambda periods: periods[:1]),
        ("wave", lambda wave: wave + 7), ("wave", lambda wave: wave - 1), ("wave", lambda wave: wave[None]),
        ("small", lambda small: small - 64), ("small", lambda small: small[None]),
        ("key", lambda key: key[:4]), ("key", lambda key: key[:0]), ("key", lambda key: key.astype(np.float64)),
    )],
    *[("clusters", array("noise", change), "noise") for change in (
        lambda noise: noise[:, :1], lambda noise: noise[..., :8], lambda noise: noise[0], lambda noise: noise[:0],
        lambda noise: noise.astype(np.float32), lambda noise: noise.astype(np.uint8),
    )],
    ("clusters", array("key", lambda key: key[:1]), "key"),
    ("clusters", array("key", lambda key: key.astype(np.int64)), "key"),
    ("clusters", array("key", spoilt(np.nan)), "key"),
    ("clusters", array("learnt.corners", lambda corners: corners[:1]), "corners"),
    ("clusters", array("learnt.corners", lambda corners: corners[..., :2]), "corners"),
    ("clusters", array("learnt.corners", spoilt(np.inf)), "corners"),
    ("clusters", lambda config, arrays: arrays.update({"learnt.more": np.zeros(3)}), "'more'"),
    ("clusters", put("fit.names", ["0"]), "names"),
    ("clusters", put("fit.names", [0, 1]), "names"),
    ("clusters", put("fit.label_column", 5), "label_column"),
    ("clusters", put("settings.labels", "guessed"), "labels"),
    ("clusters", put("settings.labels", "own"), "key"),
    ("ops", array("learnt.pixels", lambda pixels: pixels + 1000), "pixels"),
    ("ops", array("learnt.pixels", lambda pixels: -pixels - 1), "pixels"),
    ("ops", array("learnt.pixels", lambda pixels: pixels.astype(np.float32)), "pixels"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "field"), WRONG, ids=[f"{n}-{row[2]}" for n, row in enumerate(WRONG)])
def test_what_no_fit_can_have_saved_is_refused_with_the_name_of_the_field(
    saved: dict[str, Path], tmp_path: Path, kind: str, change: Callable, field: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(field)):
        open_protector(str(changed(saved[kind], change, tmp_path / "key")))


def test_what_was_not_changed_is_taken(saved: dict[str, Path], tmp_path: Path) -> None:
    for kind, folder in saved.items():
        copy = changed(folder, lambda config, arrays: None, tmp_path / kind)
        assert open_protector(str(copy)).fitted.summary() == open_protector(str(folder)).fitted.summary()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file_is_named(saved: dict[str, Path], tmp_path: Path, name: str, damage: str) -> None:
    shutil.copytree(saved["uc"], tmp_path / "key")
    DAMAGE[damage](tmp_path / "key" / name)
    with pytest.raises(SettingError, match=r"key.*(damaged|no config\.json|Copy it again)"):
        open_protector(str(tmp_path / "key"))


def test_every_lost_bit_of_the_noise_is_noticed(saved: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(saved["uc"], tmp_path / "key")
    path = tmp_path / "key" / "model.safetensors"
    whole = path.read_bytes()
    for place in (-1, -20, len(whole) // 2):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(SettingError, match="damaged"):
            UCProtector.from_pretrained(tmp_path / "key")


def test_what_is_no_protectors_folder_is_told_from_a_damaged_one(saved: dict[str, Path], tmp_path: Path) -> None:
    UCProtector.from_pretrained(saved["uc"]).save_key(tmp_path / "one.uckey")
    for place, reason in {
        tmp_path
        / "missing": "there is no folder .*missing', and that is no name on the Hub, which is written USER/NAME",
        "./missing.protector": r"there is no folder '\./missing\.protector'",
        tmp_path / "one.uckey": r"one\.uckey' is a file, not a protector's folder\. A key opens with open_protector",
        changed(saved["uc"], lambda *_: [], tmp_path / "list"): r"its config\.json is damaged .*Copy it again",
        changed(saved["uc"], lambda *_: "text", tmp_path / "text"): r"its config\.json is damaged .*Copy it again",
    }.items():
        with pytest.raises(SettingError, match=reason):
            UCProtector.from_pretrained(place)
