"""The Space: originals and their protected copies, compared in the browser."""

from pathlib import Path

import gradio as gr
from matplotlib.figure import Figure

from uc_hf.data.images import open_image
from uc_hf.errors import UCError
from uc_hf.reports import figures
from uc_hf.scoring.imperceptibility import compare


SHOWN = 4
CARD = Path(__file__).with_name("README.md").read_text(encoding="utf-8").split("---\n", 2)[2]


def measure(originals: list[str] | None, protected: list[str] | None) -> tuple[list[list[str]], Figure]:
    """The measures of uploaded files, paired by their names without suffix, and the pictures beside their noise."""
    before, after = ({Path(path).stem: Path(path) for path in paths or []} for paths in (originals, protected))
    names = sorted(before)
    if not names or names != sorted(after):
        raise gr.Error("Give each original and its protected copy the same name: cat.jpg and cat.png.")
    try:
        measured = compare((before[name], after[name]) for name in names)
        shown = names[:SHOWN]
        sheet = figures.contact_sheet(
            [open_image(before[name]) for name in shown], [open_image(after[name]) for name in shown]
        )
    except UCError as error:
        raise gr.Error(str(error)) from error
    rows = [
        ["pictures compared", str(measured.images)],
        ["PSNR, mean", f"{measured.psnr:.1f} dB"],
        ["PSNR, worst", f"{measured.worst_psnr:.1f} dB ({names[measured.worst_psnr_row]})"],
        ["SSIM, mean", f"{measured.ssim:.3f}"],
        ["SSIM, worst", f"{measured.worst_ssim:.3f} ({names[measured.worst_ssim_row]})"],
        ["FLIP, mean", f"{measured.flip:.3f}"],
        ["FLIP, worst", f"{measured.worst_flip:.3f} ({names[measured.worst_flip_row]})"],
        ["largest change of a pixel", f"{measured.max_difference}/255"],
        ["mean change of a pixel", f"{measured.mean_difference:.2f}/255"],
        ["files grown", f"{measured.size_ratio:.1f} times"],
    ]
    return rows, sheet


with gr.Blocks(title="Imperceptibility") as demo:
    gr.Markdown(
        "# Imperceptibility\n\nHow visible is the noise of protected images? Upload originals and their protected "
        "copies.\n\n**Not your private originals**: an original beside its protected copy reveals the noise. Compare "
        "those on your own machine, with `pip install git+https://github.com/uc-hf/uc_hf`."
    )
    with gr.Row():
        before_files = gr.File(label="Originals", file_count="multiple", file_types=["image"])
        after_files = gr.File(label="Protected copies, of the same names", file_count="multiple", file_types=["image"])
    button = gr.Button("Compare", variant="primary")
    table = gr.Dataframe(headers=["measure", "value"], interactive=False, label="Measures")
    pictures = gr.Plot(label="Clean, protected, and the noise eight times amplified", format="png")
    button.click(measure, [before_files, after_files], [table, pictures], api_name="measure")
    with gr.Accordion("About this measurement", open=False):
        gr.Markdown(CARD)


if __name__ == "__main__":
    demo.launch()
