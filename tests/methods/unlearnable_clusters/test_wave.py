"""The default family: coloured waves at each picture's own size, with a keyed phase for every picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from uc_hf import UCProtector
from uc_hf.data.images import Picture, decode
from uc_hf.errors import SettingError
from uc_hf.fitting.secrets import secret_of, secret_stream
from uc_hf.methods.unlearnable_clusters.families.wave import SMALL, TURN, WAVES, WaveNoise, draw_waves
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.protecting.noise import add


@pytest.fixture(scope="module")
def protector(tiles: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, n_clusters=4).fit(tiles)


def noise_of(look: str, p: int = 10, secret: bytes = bytes(32)) -> WaveNoise:
    angles, periods, axes = draw_waves(LOOKS[look], p, secret_stream(secret))
    shape = np.array(WAVES.index(LOOKS[look].wave))
    return WaveNoise(angles, periods, np.array(SMALL), 16 * axes, shape, np.frombuffer(secret, dtype=np.uint8))


def picture(height: int, width: int, seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(20, 230, (height, width, 3), dtype=np.uint8)
    return decode(pixels)


def dominant(channel: np.ndarray) -> tuple[float, float]:
    """The frequency of most power, in periods across the height and the width; its sign does not matter."""
    power = np.abs(np.fft.rfft2(channel - channel.mean()))
    down, across = np.unravel_index(power.argmax(), power.shape)
    return float(np.fft.fftfreq(len(channel), 1 / len(channel))[down]), float(across)


def test_secrets_of_256_bits_are_used_whole():
    first = bytes(range(32))
    same_low_bits = first[:8] + bytes(24)
    assert not np.array_equal(secret_stream(first).random(8), secret_stream(same_low_bits).random(8))
    assert not np.array_equal(
        noise_of("balanced", secret=first).angles, noise_of("balanced", secret=same_low_bits).angles
    )
    originals = np.arange(6.0)
    assert len(secret_of("waves", 0, originals)) == 32
    others = [
        secret_of("phases", 0, originals),
        secret_of("waves", 1, originals),
        secret_of("waves", 0, originals + 1),
    ]
    # Seeds that agree in their low 32 bits, which is all that torch's generator on the CPU looks at.
    others.append(secret_of("waves", 7 * 2**32, originals))
    assert secret_of("waves", 0, originals) not in others


def test_equal_settings_and_images_give_equal_bytes_and_another_seed_others(
    protector: UCProtector, tiles: Dataset, surrogate_folder: str
):
    images = [decode(value) for value in tiles["image"][:6]]
    again = UCProtector(surrogate=surrogate_folder, n_clusters=4).fit(tiles)
    other = UCProtector(surrogate=surrogate_folder, n_clusters=4, seed=1).fit(tiles)
    assert again.protect(images) == protector.protect(images) != other.protect(images)


def test_every_picture_has_a_phase_of_its_own_and_the_same_one_each_time():
    noise = noise_of("balanced")
    phases = {noise.phase(picture(40, 40, seed)) for seed in range(50)}
    assert len(phases) > 40 and all(0 <= phase < TURN for phase in phases)
    assert noise.phase(picture(40, 40)) == noise.phase(picture(40, 40))
    other_key = noise_of("balanced", secret=bytes(31) + b"\1")
    assert noise.phase(picture(40, 40)) != other_key.phase(picture(40, 40))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("size", [(32, 32), (64, 64), (300, 200), (31, 977)])
def test_noise_has_the_pictures_size_and_stays_within_epsilon(look: str, size: tuple[int, int]):
    noise = noise_of(look).for_picture(picture(*size), 3)
    assert noise.shape == (3, *size) and noise.dtype == np.int8 and np.abs(noise).max() == 16


def test_the_opposite_copy_is_the_noise_half_a_turn_further():
    noise, original = noise_of("balanced"), picture(64, 64)
    published, opposite = (make(original, 2).astype(int) for make in (noise.for_picture, noise.opposite))
    assert np.abs(published + opposite).max() <= 1  # in between, edges are rounded


def test_a_tint_is_one_colour_for_each_cluster_whatever_the_picture():
    noise = noise_of("tint")
    one, other = noise.for_picture(picture(64, 64), 2), noise.for_picture(picture(31, 50, seed=1), 2)
    assert one.reshape(3, -1).std(axis=1).tolist() == [0, 0, 0] and np.array_equal(one[:, 0, 0], other[:, 0, 0])
    tints = noise.canvases(8)[:, :, 0, 0]
    assert np.abs(tints).min() == 16 and len(np.unique(tints, axis=0)) == 6
    assert not any(np.array_equal(tint, tint[::-1]) and len(set(tint.tolist())) == 1 for tint in tints)  # none is gray


def test_tints_drawn_at_random_are_the_same_colours_in_another_order_with_the_same_quiet_cluster():
    noise = noise_of("tint").weakened(3, 4)
    control = noise.drawn_at_random(1)
    assert np.array_equal(np.abs(control.colours).max(axis=1), np.abs(noise.colours).max(axis=1))
    assert not np.array_equal(control.colours, noise.colours)
    pair = noise_of("tint", p=2)
    assert all(not np.array_equal(pair.drawn_at_random(seed).colours, pair.colours) for seed in range(10))
    assert noise_of("tint", p=1).drawn_at_random(0) is None


def test_a_tint_is_taken_off_again_and_is_brightness_in_a_picture_that_is_stored_in_gray():
    noise, original = noise_of("tint"), picture(40, 40)
    protected = add(original, noise.for_picture(original, 1), 16)
    assert np.array_equal(protected.pixels - noise.carried(protected, 1).transpose(1, 2, 0), original.pixels)
    grey = Picture(**(vars(original) | {"mode": "L"}))
    red, green, blue = noise.for_picture(grey, 1)
    assert np.array_equal(red, blue) and np.array_equal(green, blue) and np.abs(blue).max() == 16


def test_a_photograph_has_the_same_texture_at_any_size_once_it_is_shrunk():
    noise = noise_of("balanced")
    small, large = noise.at_phase((128, 128), 0, 0)[2], noise.at_phase((1024, 1024), 0, 0)[2]
    assert dominant(large) == dominant(small)
    wide = noise.at_phase((256, 512), 0, 0)[2]
    assert dominant(wide) == dominant(small)  # in periods across each side: as one square, they are one texture


def test_waves_that_were_saved_without_a_side_are_those_of_128_pixels():
    noise = noise_of("balanced")
    saved = noise.arrays()
    assert np.array_equal(WaveNoise.restore(saved).at_phase((256, 256), 0, 0), noise.at_phase((256, 256), 0, 0))
    saved.pop("wave.small")
    old = WaveNoise.restore(saved).at_phase((256, 256), 0, 0)
    assert np.array_equal(old, replace(noise, small=np.array(128)).at_phase((256, 256), 0, 0))
    assert dominant(old[2]) != dominant(noise.at_phase((256, 256), 0, 0)[2])


def test_the_looks_of_an_older_key_grow_with_pictures_as_its_own_waves_do(protector: UCProtector):
    noise = replace(protector.fitted.noise, small=np.array(128))
    older = protector.restored(protector.settings, replace(protector.fitted, noise=noise), None)
    large = picture(256, 256)
    own = older.with_look("balanced").fitted.noise.for_picture(large, 0)
    assert np.array_equal(own, noise.for_picture(large, 0))
    assert older.with_look("quiet").fitted.noise.small == 128


def test_waves_differ_even_where_pictures_are_flipped():
    for seed in range(20):
        noise = noise_of("balanced", secret=secret_of("test", seed, np.zeros(1)))
        folded = np.minimum(noise.angles, 1 - noise.angles)
        assert np.diff(np.sort(folded)).min() > 0.02


@pytest.mark.parametrize("look", ["quiet", "balanced"])
def test_quiet_and_balanced_waves_reach_epsilon_in_blue_and_keep_the_brightness(look: str):
    waves = noise_of(look).canvases(64).astype(float)
    assert np.abs(waves[:, 2]).max() == 16
    luminance = np.einsum("c,nchw->nhw", [0.2126, 0.7152, 0.0722], waves)
    assert np.abs(luminance).max() < 1.1  # of 16, after rounding to whole levels


def test_a_picture_that_is_stored_in_gray_gets_the_whole_wave_as_brightness():
    grey = Picture(**(vars(picture(40, 40)) | {"mode": "L"}))
    red, green, blue = noise_of("balanced").for_picture(grey, 1)
    assert np.array_equal(red, blue) and np.array_equal(green, blue) and np.abs(blue).max() == 16


@pytest.mark.parametrize(("epsilon", "quarter"), [(16 / 255, 4), (2 / 255, 1)])
def test_the_quiet_cluster_has_a_quarter_of_the_noise_and_never_none(
    tiles: Dataset, surrogate_folder: str, epsilon: float, quarter: int
):
    noise = UCProtector(surrogate=surrogate_folder, n_clusters=4, epsilon=epsilon).fit(tiles).canvases()
    strengths = sorted(int(np.abs(one).max()) for one in noise)
    assert strengths == [quarter, *[round(epsilon * 255)] * 3]


def test_the_control_of_the_family_has_the_same_colours_and_quiet_cluster(protector: UCProtector):
    learnt = protector.fitted.noise
    assert isinstance(learnt, WaveNoise)
    control = learnt.drawn_at_random(0)
    assert np.array_equal(control.colours, learnt.colours) and not np.array_equal(control.angles, learnt.angles)
    assert not np.array_equal(control.key, learnt.key)


def test_a_protector_is_a_small_table(protector: UCProtector, tiles: Dataset, tmp_path: Path):
    protector.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_size < 4000
    images = [decode(value) for value in tiles["image"][:4]]
    assert UCProtector.from_pretrained(tmp_path).protect(images) == protector.protect(images)


def test_settings_that_waves_have_not_are_refused():
    with pytest.raises(SettingError, match=r"look='loud' is not known\. Write 'tint' or 'quiet' or 'balanced' or"):
        UCProtector(look="loud")
    with pytest.raises(SettingError, match="'goal' is a setting of parametrisation='direct' and 'generator', not of"):
        UCProtector(goal="next")


def test_settings_of_learnt_noise_are_taken_with_a_warning(caplog: pytest.LogCaptureFixture):
    UCProtector(steps=10, canvas_size=64)
    assert "steps=10 changes nothing" in caplog.text and "canvas_size=64 changes nothing" in caplog.text
    with pytest.raises(SettingError, match="steps=0 is not a whole number"):
        UCProtector(steps=0)


def test_another_look_needs_no_new_fit_and_is_what_a_fit_would_give(
    protector: UCProtector, tiles: Dataset, surrogate_folder: str
):
    strong = protector.with_look("strong")
    fresh = UCProtector(surrogate=surrogate_folder, n_clusters=4, look="strong").fit(tiles)
    assert strong.settings == fresh.settings
    for name, array in fresh.fitted.arrays().items():
        np.testing.assert_array_equal(strong.fitted.arrays()[name], array)
    back = strong.with_look("balanced")
    np.testing.assert_array_equal(back.canvases(), protector.canvases())
    weaker = protector.with_epsilon(8 / 255).with_look("strong")
    np.testing.assert_array_equal(weaker.canvases(), strong.with_epsilon(8 / 255).canvases())


def test_noise_without_looks_says_so(tiles: Dataset, surrogate_folder: str):
    direct = UCProtector(surrogate=surrogate_folder, n_clusters=4, parametrisation="direct", steps=2).fit(tiles)
    with pytest.raises(SettingError, match="has no looks"):
        direct.with_look("quiet")
