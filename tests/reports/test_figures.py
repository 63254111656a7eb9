import base64
import gc
import io
import re
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from uc_hf.errors import EpsilonError, ImageError, SettingError
from uc_hf.reports import figures, page
from uc_hf.reports.html import Section, write_report


KODAK = Path(__file__).resolve().parents[3] / "shared" / "data" / "kodak"
DASH = "\N{EN DASH}"


def picture(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(60, 196, (height, width, 3), dtype=np.uint8))


def shifted(image: Image.Image, levels: int) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(int) + levels).astype(np.uint8))


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts] + [t.get_text() for axes in figure.axes for t in axes.texts]


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def noise(clusters: int = 3, side: int = 16, bound: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(-bound, bound + 1, (clusters, 3, side, side)).astype(np.int8)


def embeddings(n: int = 60, d: int = 8) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    centroids = 4 * rng.normal(size=(3, d))
    clusters = rng.integers(0, 3, n)
    before = centroids[clusters] + rng.normal(size=(n, d))
    after = centroids[(clusters + 1) % 3] + rng.normal(size=(n, d))
    return before, after, clusters, centroids


class TestContactSheet:
    def test_rows_are_clean_protected_and_noise_eight_times_around_mid_grey(self) -> None:
        before = [picture(0), picture(1)]
        after = [shifted(before[0], 5), shifted(before[1], -3)]
        clean, clean2, protected, protected2, amplified, amplified2 = drawn(figures.contact_sheet(before, after))
        assert (clean == np.asarray(before[0])).all() and (clean2 == np.asarray(before[1])).all()
        assert (protected == np.asarray(after[0])).all() and (protected2 == np.asarray(after[1])).all()
        assert (amplified == 128 + 8 * 5).all() and (amplified2 == 128 - 8 * 3).all()

    def test_noise_beyond_the_range_saturates_instead_of_wrapping(self) -> None:
        base = picture(0)
        sheet = figures.contact_sheet([base, base], [shifted(base, 40), shifted(base, -40)])
        assert (drawn(sheet)[-2] == 255).all() and (drawn(sheet)[-1] == 0).all()

    def test_the_largest_change_is_written_beside_the_noise(self) -> None:
        assert "at most ±12/255" in words(figures.contact_sheet([picture(0)], [shifted(picture(0), -12)]))

    def test_small_pictures_keep_hard_edges(self) -> None:
        sheet = figures.contact_sheet([picture(0)], [picture(0)])
        assert {axes.images[0].get_interpolation() for axes in sheet.axes} == {"nearest"}

    def test_pictures_keep_their_aspect_and_stay_on_the_page(self) -> None:
        before = [picture(i, *size) for i, size in enumerate([(96, 32), (32, 96), (64, 64)] * 4)]
        sheet = figures.contact_sheet(before, before)
        page = np.array(sheet.get_size_inches())
        assert len(sheet.axes) == 3 * len(before)
        for axes in sheet.axes:
            width, height = axes.get_position().size * page
            rows, columns = np.asarray(axes.images[0].get_array()).shape[:2]
            assert width / height == pytest.approx(columns / rows)
            assert axes.get_position().x1 <= 1 and axes.get_position().y0 >= 0

    def test_gray_and_transparent_pictures_are_drawn(self) -> None:
        before = [picture(0).convert("L"), picture(1).convert("RGBA")]
        assert all(pixels.shape == (32, 32, 3) for pixels in drawn(figures.contact_sheet(before, before)))

    def test_a_photograph_is_drawn(self) -> None:
        if not KODAK.exists():
            pytest.skip(f"{KODAK} is absent")
        with Image.open(KODAK / "kodim03.png") as photograph:
            sheet = figures.contact_sheet([photograph], [photograph])
        assert drawn(sheet)[0].shape == (512, 768, 3)
        assert (drawn(sheet)[2] == 128).all()

    def test_lists_of_different_length_are_refused(self) -> None:
        with pytest.raises(SettingError, match="2 pictures before and 1 after"):
            figures.contact_sheet([picture(0), picture(1)], [picture(0)])

    def test_no_picture_is_refused(self) -> None:
        with pytest.raises(SettingError, match="at least one"):
            figures.contact_sheet([], [])

    def test_a_picture_that_changed_size_is_named(self) -> None:
        with pytest.raises(ImageError, match="picture 1 is 32 x 32 pixels before and 40 x 24 after"):
            figures.contact_sheet([picture(0), picture(1)], [picture(0), picture(1, 40, 24)])


class TestClusterSheet:
    def test_each_row_says_its_size_and_share(self) -> None:
        sheet = figures.cluster_sheet([[picture(0), picture(1)], [picture(2)], []], [1500, 500, 0])
        assert {"Cluster 0", "1,500 images · 75.0\xa0%", "500 images · 25.0\xa0%", "0 images · 0.0\xa0%"} <= set(
            words(sheet)
        )
        assert len(drawn(sheet)) == 3

    def test_the_central_square_is_shown(self) -> None:
        wide = picture(0, 48, 32)
        assert (drawn(figures.cluster_sheet([[wide]], [1]))[0] == np.asarray(wide)[:, 8:40]).all()

    def test_sizes_of_other_length_are_refused(self) -> None:
        with pytest.raises(SettingError, match="2 rows and 1 sizes"):
            figures.cluster_sheet([[picture(0)], [picture(1)]], [3])


class TestNoiseGallery:
    def test_epsilon_fills_the_range(self) -> None:
        levels = np.zeros((1, 3, 8, 8), np.int8)
        levels[0, 0], levels[0, 1] = 16, -16
        shown = drawn(figures.noise_gallery(levels, 16 / 255))[0]
        assert shown[..., 0] == pytest.approx(1) and shown[..., 1] == pytest.approx(0)
        assert shown[..., 2] == pytest.approx(0.5)

    def test_the_centre_of_the_spectrum_is_the_lowest_frequency(self) -> None:
        column = np.round(10 * np.cos(2 * np.pi * 4 * np.arange(32) / 32))
        levels = np.broadcast_to(column, (1, 3, 32, 32)).astype(np.int8)
        spectrum = drawn(figures.noise_gallery(levels, 16 / 255))[1]
        peaks = np.argwhere(spectrum > -0.01)
        assert peaks.tolist() == [[16, 12], [16, 20]]

    def test_constant_zero_noise_is_drawn(self) -> None:
        assert png(figures.noise_gallery(np.zeros((2, 3, 8, 8), np.int8), 8 / 255))

    def test_noise_beyond_epsilon_is_refused(self) -> None:
        with pytest.raises(EpsilonError, match="±16/255 and epsilon is 8/255"):
            figures.noise_gallery(np.full((1, 3, 8, 8), -16, np.int8), 8 / 255)

    def test_epsilon_in_levels_is_refused(self) -> None:
        with pytest.raises(EpsilonError, match="write epsilon=16/255"):
            figures.noise_gallery(noise(), 16)

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(SettingError, match=r"\[3, 16, 16\]"):
            figures.noise_gallery(noise()[0], 16 / 255)


class TestEmbeddingMap:
    def test_both_panels_share_axes_and_colours(self) -> None:
        clean, protected = [axes for axes in figures.embedding_map(*embeddings()).axes if axes.collections]
        assert clean.get_xlim() == protected.get_xlim() and clean.get_ylim() == protected.get_ylim()
        assert (clean.collections[0].get_facecolor() == protected.collections[0].get_facecolor()).all()
        assert (clean.collections[-1].get_offsets() == protected.collections[-1].get_offsets()).all()

    def test_the_plane_is_the_one_of_most_variance_of_the_clean_points(self) -> None:
        before, after, clusters, centroids = embeddings()
        panel = figures.embedding_map(before, after, clusters, centroids).axes[0]
        points = np.asarray(panel.collections[0].get_offsets())
        singular = np.linalg.svd(before - before.mean(axis=0), compute_uv=False)
        assert points.std(axis=0) * np.sqrt(len(before)) == pytest.approx(singular[:2])

    def test_every_cluster_of_many_has_its_own_colour(self) -> None:
        assert len(set(figures.cluster_colours(40))) == 40

    def test_shapes_that_do_not_fit_are_refused(self) -> None:
        before, after, clusters, centroids = embeddings()
        with pytest.raises(SettingError, match=r"after \[59, 8\]"):
            figures.embedding_map(before, after[1:], clusters, centroids)
        with pytest.raises(SettingError, match="2 centroids given"):
            figures.embedding_map(before, after, clusters, centroids[:2])


class TestAccuracyCurves:
    def test_the_line_is_the_mean_and_the_band_the_range_of_the_seeds(self) -> None:
        seeds = np.array([[0.2, 0.4], [0.4, 0.8]])
        axes = figures.accuracy_curves({"clean": seeds}, 0.1, "t").axes[0]
        assert any(np.allclose(line.get_ydata(), [0.3, 0.6]) for line in axes.lines)
        heights = axes.collections[0].get_paths()[0].vertices[:, 1]
        assert heights.min() == 0.2 and heights.max() == 0.8

    def test_one_seed_has_a_line_and_no_band(self) -> None:
        figure = figures.accuracy_curves({"clean": np.array([[0.2, 0.5, 0.6]])}, 0.1, "t")
        assert not figure.axes[0].collections
        assert "one seed" in words(figure)
        assert png(figure)

    def test_one_epoch_is_a_visible_point(self) -> None:
        axes = figures.accuracy_curves({"clean": np.array([[0.5]])}, 0.1, "t").axes[0]
        assert next(line.get_marker() for line in axes.lines if np.allclose(line.get_ydata(), 0.5)) == "o"

    def test_last_accuracies_and_chance_are_named_in_percent_without_touching(self) -> None:
        curves = {name: np.full((2, 3), 0.2 + 0.001 * i) for i, name in enumerate(["clean", "protected", "a", "b"])}
        figure = figures.accuracy_curves(curves, 0.2, "t")
        assert {"20.1\xa0%", "protected", "chance"} <= set(words(figure))
        png(figure)
        boxes = sorted((t.get_window_extent() for t in figure.axes[0].texts), key=lambda box: (box.x0, box.y0))
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
        assert all(box.x1 <= figure.bbox.x1 for box in boxes)

    def test_protected_is_strong_clean_is_dark_and_controls_are_muted(self) -> None:
        assert figures.curve_colours(["random", "Clean", "protected (UC)", "SynPer"]) == [
            *(page.CONTROLS[0], page.INK, page.PROTECTED, page.CONTROLS[1])
        ]

    @pytest.mark.parametrize(
        ("curve", "message"),
        [
            (np.array([0.1, 0.2]), r"'clean' has shape \[2\]"),
            (np.array([[10.0, 64.0]]), "accuracies are fractions"),
            (np.array([[0.1, np.nan]]), "accuracies are fractions"),
        ],
    )
    def test_what_is_not_seeds_by_epochs_of_fractions_is_refused(self, curve: np.ndarray, message: str) -> None:
        with pytest.raises(SettingError, match=message):
            figures.accuracy_curves({"clean": curve}, 0.1, "t")


class TestReport:
    def page(self, path: Path, *sections: Section, headline: str = "It works.") -> str:
        write_report(path, title="A <report>", headline=headline, sections=sections)
        return path.read_text(encoding="utf-8")

    def test_the_page_is_one_file_that_loads_nothing(self, tmp_path: Path) -> None:
        figure = figures.noise_gallery(noise(), 16 / 255)
        html = self.page(tmp_path / "new" / "report.html", Section("Noise", "One.", figure, [{"a": 1}]))
        references = re.findall(r"""(?:src|href|url|action)\s*[=(]\s*["']?([^"')\s>]+)""", html)
        assert references and all(reference.startswith("data:image/png;base64,") for reference in references)
        assert "<script" not in html and "http://" not in html and "https://" not in html and "@import" not in html
        assert [file.name for file in (tmp_path / "new").iterdir()] == ["report.html"]

    def test_the_embedded_figure_is_the_figure(self, tmp_path: Path) -> None:
        figure = figures.noise_gallery(noise(), 16 / 255)
        html = self.page(tmp_path / "r.html", Section("Noise", "", figure))
        data = re.search(r"base64,([^\"]+)", html)
        assert data is not None
        with Image.open(io.BytesIO(base64.b64decode(data[1]))) as image:
            size = figure.get_size_inches() * page.DPI
            assert image.size == pytest.approx(tuple(size), abs=1)
            assert to_hex(np.array(image.convert("RGB").getpixel((0, 0))) / 255) == page.PAPER

    def test_text_is_escaped_everywhere(self, tmp_path: Path) -> None:
        evil = "<img src=\"x\" onerror='y'> & $body"
        figure = figures.noise_gallery(noise(1), 16 / 255)
        html = self.page(tmp_path / "r.html", Section(evil, evil, figure, [{evil: evil}]), headline=evil)
        assert "<img src=" not in html and "<report>" not in html
        assert html.count("&lt;img src=&#34;x&#34; onerror=&#39;y&#39;&gt; &amp; $body") == 6

    def test_the_same_input_gives_the_same_bytes(self, tmp_path: Path) -> None:
        def write(name: str) -> bytes:
            curves = {"clean": np.array([[0.1, 0.6], [0.2, 0.5]]), "protected": np.array([[0.1, 0.2]])}
            made = [figures.accuracy_curves(curves, 0.1, "t"), figures.embedding_map(*embeddings())]
            made.append(figures.contact_sheet([picture(0)], [shifted(picture(0), 4)]))
            self.page(tmp_path / name, *(Section("s", "text", figure) for figure in made))
            return (tmp_path / name).read_bytes()

        assert write("a.html") == write("b.html")

    def test_columns_of_numbers_and_percentages_are_aligned_right(self, tmp_path: Path) -> None:
        rows = [
            {"data": "clean", "accuracy": figures.percent(0.8213), "images": 15000, "PSNR": None},
            {"data": "protected", "accuracy": "19.8 % ± 0.4", "images": 15000, "PSNR": 29.84},
            {"data": "random", "accuracy": None, "images": 900, "PSNR": 30.1},
        ]
        html = self.page(tmp_path / "r.html", Section("Scores", "", None, rows))
        assert '<th scope="col">data</th><th scope="col" class="number">accuracy</th>' in html
        assert '<td>clean</td><td class="number">82.1\xa0%</td><td class="number">15,000</td>' in html
        assert f'<td class="number">{DASH}</td></tr>' in html
        assert '<td class="number">29.84</td>' in html and '<td class="number">30.10</td>' in html

    def test_rows_may_lack_columns(self, tmp_path: Path) -> None:
        html = self.page(tmp_path / "r.html", Section("s", "", None, [{"a": 1}, {"b": True, "a": float("nan")}]))
        assert f'<td class="number">1</td><td>{DASH}</td>' in html
        assert f'<td class="number">{DASH}</td><td>yes</td>' in html

    def test_blank_lines_separate_paragraphs(self, tmp_path: Path) -> None:
        html = self.page(tmp_path / "r.html", Section("s", "One\nline.\n\nTwo."))
        assert "<p>One\nline.</p>\n<p>Two.</p>" in html

    def test_light_and_dark_are_both_styled(self, tmp_path: Path) -> None:
        html = self.page(tmp_path / "r.html")
        assert "color-scheme: light dark" in html and "prefers-color-scheme: dark" in html


def test_figures_are_freed_and_pyplot_is_left_alone(tmp_path: Path) -> None:
    figure = figures.noise_gallery(noise(), 16 / 255)
    write_report(tmp_path / "r.html", title="t", headline="h", sections=[Section("s", "", figure)])
    gone = weakref.ref(figure)
    del figure
    gc.collect()
    assert gone() is None
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
