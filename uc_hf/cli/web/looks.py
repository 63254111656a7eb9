"""How the page looks: its theme, and the pieces of HTML that gradio has no component for; every value is escaped."""

from collections.abc import Mapping, Sequence
from html import escape

import gradio as gr

from uc_hf.cli.console import size
from uc_hf.scoring.imperceptibility import Difference, in_words


FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
"""Fonts of the user's machine: the page fetches nothing from elsewhere."""

THEME = gr.themes.Soft(
    primary_hue="teal", secondary_hue="teal", neutral_hue="stone", font=FONT, font_mono=["ui-monospace", "monospace"]
)

CSS = """
.gradio-container { width: 100% !important; max-width: 960px !important; margin: 0 auto !important; }
.gradio-container main { width: 100%; }
input[type=checkbox], input[type=radio] { border: 1.5px solid var(--neutral-500) !important; }
#files button, #old-key button { padding-top: 34px; }
.uc-two { flex-wrap: wrap !important; }
.uc-two > * { min-width: min(280px, 100%) !important; }
.uc-step h2 { margin: 0.6em 0 0.2em; }
.uc-bar { height: 14px; border-radius: 7px; background: var(--border-color-primary); overflow: hidden; }
.uc-bar > div { height: 100%; background: var(--primary-500); transition: width 0.6s; }
.uc-said { margin: 0.4em 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.uc-wrong { border-left: 4px solid #c0392b; padding-left: 0.8em; }
.uc-warn { border-left: 4px solid #d68910; padding-left: 0.8em; }
.uc-list { max-height: 14em; overflow-y: auto; }
.uc-list table, .uc-list tr, .uc-list td { border: none !important; }
.uc-list td { padding: 2px 14px 2px 0 !important; vertical-align: top; overflow-wrap: anywhere; }
.uc-list td:first-child { font-weight: 600; min-width: 6em; }
.uc-key { border: 2px solid #c0392b !important; border-radius: 10px; padding: 12px !important; }
#key { background: #c0392b !important; color: white !important; }
#gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(84px, 1fr)) !important; }
#gallery .grid-wrap, #levels .grid-wrap { min-height: 0 !important; }
#levels .grid-container { grid-template-columns: repeat(2, minmax(0, 1fr)) !important; }
.uc-verdict { font-size: 1.2em; font-weight: 600; }
#levels .caption-label { max-width: 94%; font-size: 12px; padding: 2px 6px; }
@media (min-width: 700px) {
  #gallery .grid-container { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)) !important; }
  #levels .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
}
"""


def describe(difference: Difference) -> str:
    """How visible a noise is, in words and figures."""
    return f"{in_words(difference.flip)} (FLIP {difference.flip:.2f}, PSNR {difference.psnr:.0f} dB)"


def progress_bar(fraction: float, told: str) -> str:
    """A job's progress bar, with its state in words."""
    percent = round(100 * fraction)
    return (
        f'<div class="uc-bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width:{percent}%"></div></div><p class="uc-said">{escape(told)}</p>'
    )


def said(text: str, kind: str = "") -> str:
    """A sentence on the page; `kind` is "wrong", "warn" or nothing."""
    return f'<p class="uc-said {f"uc-{kind}" if kind else ""}">{escape(text)}</p>' if text else ""


def photos_said(
    photos: Sequence[str], left_out: Sequence[Mapping[str, str]], n_bytes: int, warnings: Sequence[str]
) -> str:
    """The number of photographs, the files that were left out with the reason, and warnings."""
    if not photos and not left_out:
        return ""
    text = said(f"{len(photos):,} photo{'s' if len(photos) != 1 else ''}, {size(n_bytes)}.")
    if left_out:
        text += said(f"{len(left_out):,} file{'s were' if len(left_out) != 1 else ' was'} left out:", "warn")
        rows = (f"<tr><td>{escape(one['name'])}</td><td>{escape(one['reason'])}</td></tr>" for one in left_out)
        text += f'<div class="uc-list"><table>{"".join(rows)}</table></div>'
    return text + "".join(said(warning, "warn") for warning in warnings)


def verdict_box(word: str, why: str, colour: str | None) -> str:
    """The verdict of a test, in its colour."""
    return f'<p class="uc-verdict" style="color:{colour or "inherit"}">{escape(word)}</p>{said(why)}'
