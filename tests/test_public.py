"""What a newcomer writes: names from the top, settings that an editor shows, the surrogate first, a device."""

from dataclasses import fields
from typing import get_type_hints

import pytest
import torch
from datasets import Dataset

import uc_hf
from tests.stored import stored
from uc_hf import UCProtector, protector_for
from uc_hf.errors import SettingError
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.keywords import Keywords


def test_every_public_name_is_there_and_they_are_few():
    assert all(getattr(uc_hf, name) is not None for name in uc_hf.__all__) and len(uc_hf.__all__) < 15
    assert {"UCProtector", "generated_dataset", "with_controls", "score", "Recipe", "compare"} <= set(uc_hf.__all__)


def test_the_signature_shows_the_settings_of_every_family_with_their_types():
    families = [family.settings_type for family in FAMILIES.values()]
    settings = {field.name for settings_type in families for field in fields(settings_type)}
    shown = get_type_hints(Keywords)
    assert set(shown) == settings - {"surrogate"}
    meant = {name: hint for settings_type in families for name, hint in get_type_hints(settings_type).items()}
    assert {name for name in shown if shown[name] != meant[name]} == set()


def test_the_surrogate_may_come_first():
    assert UCProtector("uc_hf/tiny").settings == UCProtector(surrogate="uc_hf/tiny").settings
    assert protector_for("synper", surrogate="uc_hf/tiny").settings.surrogate == "uc_hf/tiny"
    assert UCProtector.paper("uc_hf/tiny").settings.surrogate == "uc_hf/tiny"
    assert UCProtector().settings.surrogate == "openai/clip-vit-base-patch32"


@pytest.mark.parametrize(("written", "meant"), [("eps", "epsilon"), ("model", "surrogate"), ("epsilom", "epsilon")])
def test_a_setting_by_another_name_is_answered_with_its_own(written: str, meant: str):
    with pytest.raises(SettingError, match=f"'{written}' is not a setting. Did you mean '{meant}'"):
        UCProtector(**{written: 8 / 255})


def test_it_works_on_the_device_that_is_named(tiles: Dataset):
    protector = UCProtector("uc_hf/tiny", n_clusters=2, device="cpu").fit(tiles)
    assert protector.to("cpu") is protector
    assert next(protector._ready_surrogate().parameters()).device == torch.device("cpu")
    anywhere = UCProtector("uc_hf/tiny", n_clusters=2).fit(tiles)
    made = [tiles.map(one, batched=True, num_proc=2) for one in (protector, anywhere)]
    assert stored(made[0]) == stored(made[1])


@pytest.mark.parametrize("device", ["gpu", *([] if torch.cuda.is_available() else ["cuda:7"])])
def test_a_device_that_is_not_there_is_refused(device: str):
    with pytest.raises(SettingError, match=f"device='{device}': .* Write 'cpu', or leave it out"):
        UCProtector("uc_hf/tiny", device=device)
    with pytest.raises(SettingError, match=f"device='{device}'"):
        UCProtector("uc_hf/tiny").to(device)
