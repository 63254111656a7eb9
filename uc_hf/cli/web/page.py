"""The page: what it shows, and what happens when a person does something on it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import PIL.Image

from uc_hf.cli.score import COLOURS
from uc_hf.cli.web.looks import describe, photos_said, progress_bar, said, verdict_box
from uc_hf.cli.web.session import Session
from uc_hf.cli.web.sessions import Sessions
from uc_hf.cli.web.work import Preview
from uc_hf.data import images
from uc_hf.errors import UCError
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.scoring.imperceptibility import in_words
from uc_hf.scoring.verdict import judge


SHOWN = 1600
"""Longest side in pixels of a picture on the page; the files are full-sized."""

DETAIL = 400
"""Side in pixels of the piece of a photograph that is shown one to one."""

TICK = 1.0
"""Seconds between two updates of a job's progress."""

DRAG = "Before on the left, after on the right: drag the line."
CLOSE = "Show a detail, pixel by pixel"

LOCAL = (
    "**This page runs on your own machine.** Your photos stay here: nothing is sent anywhere, unless you ask "
    "an endpoint about them in the last step."
)
KEY = (
    "### The key\nWith this file **anybody can remove the noise** from your protected photos. Keep it to yourself, "
    "offline if you can. You need it to protect tomorrow's photos in the same way, and to get your originals back."
)
ADVICE = (
    "Publish the protected photos, and take down the originals wherever they are public: while both can be had, the "
    "protection can be undone. It hinders the training of models on your photos; it hides nothing from people, and "
    "whoever tries hard can weaken it."
)


WITNESS = (
    "The noise is also a witness. Later, drop in the same originals and the key from that time, and name a model: it "
    "is shown each photo as you published it, and as you could have published it. Only a model that was trained on "
    "your photos can tell which is which. Some hundreds of photos are needed: a few dozen hardly ever show it, and a "
    "tint never does."
)
ANYWHERE = (
    "its name on the Hub, its folder on this machine, or an endpoint's address (your protected photos are sent there)"
)


def build(sessions: Sessions, *, local: bool, space: str | None, secret: str) -> gr.Blocks:
    """The page.

    Args:
        sessions: its users' sessions.
        local: whether it runs on the user's machine, where it may read folders.
        space: the name of the Space that it runs on; None elsewhere.
        secret: encrypts what the browser stores.
    """
    with gr.Blocks(title="uc_hf: protect your photos", analytics_enabled=False, delete_cache=(600, 3600)) as blocks:
        Page(blocks, sessions, local=local, space=space, secret=secret)
    return blocks


class Page:
    """The components, top to bottom, and what each does."""

    def __init__(self, blocks: gr.Blocks, sessions: Sessions, *, local: bool, space: str | None, secret: str) -> None:
        self.sessions, self.local = sessions, local
        self.token = gr.BrowserState("", storage_key="uc_hf", secret=secret)
        self.seen = gr.State(-1)
        self.timer = gr.Timer(TICK, active=False)
        gr.Markdown(f"# Protect your photos\n{LOCAL if local else _uploaded(space)}")
        # Hidden until the browser has sent its token: files that are dropped earlier would belong to no session.
        with gr.Column(visible=False) as self.everything:
            self._photos(local)
            self._strength()
            self.wrong = gr.HTML(padding=False, elem_id="wrong")
            self.job = gr.HTML(padding=False, elem_id="job")
            self.stop = gr.Button("Stop", visible=False, size="sm", elem_id="stop")
            self._results()
            self._test()
            self._trace(local)
            self.forget = gr.Button("Forget my photos and start over", size="sm", visible=False, elem_id="forget")
        self.shown = [value for value in vars(self).values() if isinstance(value, gr.blocks.Block)]
        self._wire(blocks)

    # --- what there is

    def _photos(self, local: bool) -> None:
        gr.Markdown("## 1. Your photos", elem_classes="uc-step")
        self.files = gr.File(
            label="Drop photos here, or a .zip of them", file_count="multiple", height=170, elem_id="files"
        )
        with gr.Row(elem_classes="uc-two"):
            with gr.Accordion("A folder on this machine", open=False, visible=local):
                self.path = gr.Textbox(
                    show_label=False, placeholder="/home/me/photos", elem_id="path", submit_btn="Read it"
                )
            with gr.Accordion("I have a key from last time", open=False):
                self.old_key = gr.File(label="Drop the .uckey file here", height=120, elem_id="old-key")
        self.photos_said = gr.HTML(padding=False, elem_id="photos")

    def _strength(self) -> None:
        with gr.Column(visible=False) as self.strength_part:
            gr.Markdown("## 2. Which look?", elem_classes="uc-step")
            label = "A colour cast, or stripes from soft to strong"
            self.strength = gr.Radio([], label=label, elem_id="strength")
            self.photo = gr.Dropdown([], label="On this photo", elem_id="photo")
            self.levels_said = gr.HTML(padding=False)
            self.levels = gr.Gallery(
                show_label=False,
                columns=4,
                height="auto",
                format="png",
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="levels",
            )
            self.preview_said = gr.HTML(padding=False, elem_id="preview-said")
            self.preview = gr.ImageSlider(show_label=False, format="png", interactive=False, elem_id="preview")
            self.close = gr.Checkbox(label=CLOSE, elem_id="close")
            self.protect = gr.Button("Protect", variant="primary", size="lg", elem_id="protect")

    def _results(self) -> None:
        with gr.Column(visible=False) as self.results:
            gr.Markdown("## 3. Look at them\nThe most visible noise comes first.", elem_classes="uc-step")
            self.gallery = gr.Gallery(
                show_label=False,
                columns=4,
                height="auto",
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="gallery",
            )
            self.pair_said = gr.HTML(padding=False, elem_id="pair-said")
            self.pair = gr.ImageSlider(show_label=False, format="png", interactive=False, elem_id="pair")
            gr.Markdown("## 4. Take them with you", elem_classes="uc-step")
            self.place = gr.HTML(padding=False, elem_id="place")
            self.package = gr.DownloadButton("Download the protected photos", variant="primary", elem_id="package")
            gr.Markdown(ADVICE)
            with gr.Column(elem_classes="uc-key"):
                gr.Markdown(KEY)
                self.understood = gr.Checkbox(label="I will keep it to myself", elem_id="understood")
                self.key = gr.DownloadButton("Download the key", variant="stop", visible=False, elem_id="key")

    def _test(self) -> None:
        with gr.Column(visible=False) as self.test_part:
            gr.Markdown(
                "## Does it work on these?\nYour photos lie in folders, so they have labels. Small networks, which "
                "read this noise best, are trained on the originals and on the protected copies, and tested on photos "
                "that they have not seen. This takes minutes, and goes on when you close the page.",
                elem_classes="uc-step",
            )
            self.test = gr.Button("Test it", elem_id="test")
            self.verdict = gr.HTML(padding=False, elem_id="verdict")

    def _trace(self, local: bool) -> None:
        with gr.Column(visible=False) as self.trace_part:
            gr.Markdown(f"## Was a model trained on them?\n{WITNESS}", elem_classes="uc-step")
            self.suspect = gr.Textbox(
                label=f"A model that sorts pictures into classes: {ANYWHERE if local else 'its name on the Hub'}",
                placeholder="them/classifier",
                elem_id="suspect",
                submit_btn="Ask it",
            )
            self.sentence = gr.HTML(padding=False, elem_id="sentence")
            self.curve = gr.Image(show_label=False, interactive=False, buttons=[], visible=False, elem_id="curve")

    # --- what it does

    def _wire(self, blocks: gr.Blocks) -> None:
        chosen = [self.token, self.photo, self.strength]
        hidden: Any = {"show_progress": "hidden"}

        def on(event: Callable[..., Any], do: Callable[..., None], *inputs: Any) -> Any:
            return event(self._then_show(do), [*chosen, *inputs], self.shown, **hidden)

        parts: Any = self
        blocks.load(self.enter, chosen, self.shown, **hidden)
        on(parts.files.upload, lambda session, files: session.add([Path(file) for file in files or []]), self.files)
        on(parts.path.submit, lambda session, path: session.use_folder(path, local=self.local), self.path)
        on(parts.old_key.upload, lambda session, file: session.use_key(Path(file)), self.old_key)
        on(parts.protect.click, lambda session, strength: session.protect(strength), self.strength)
        on(parts.test.click, lambda session: session.test())
        on(parts.suspect.submit, lambda session, model: session.trace(model, local=self.local), self.suspect)
        on(parts.stop.click, lambda session: session.job and session.job.stop())
        on(parts.forget.click, lambda session: session.clear())
        parts.timer.tick(self.tick, [*chosen, self.seen], self.shown, **hidden)
        asked = [*chosen, self.close]
        preview = [self.preview, self.preview_said]
        for event in (parts.seen.change, parts.photo.input):
            gr.on(event, self.show_levels, asked[:2], [self.levels, self.levels_said], **hidden)
        for event in (parts.seen.change, parts.photo.input, parts.strength.change, parts.close.input):
            gr.on(event, self.show_preview, asked, preview, **hidden)
        parts.levels.select(self.choose_level, self.token, self.strength, **hidden)
        parts.gallery.select(self.show_pair, [self.token, self.close], [self.pair, self.pair_said])
        parts.understood.input(self.show_key, [self.token, self.understood], self.key, **hidden)

    def _then_show(self, do: Callable[..., None]) -> Callable[..., dict[Any, Any]]:
        def handle(token: str, photo: str | None, strength: str | None, *values: Any) -> dict[Any, Any]:
            token, session = self.sessions.enter(token)
            wrong = ""
            try:
                do(session, *values)
            except UCError as error:
                wrong = said(str(error), "wrong")
            cleared = {self.files: None, self.old_key: None, self.understood: False}
            return self.view(token, session, photo, strength) | {self.wrong: _html(wrong)} | cleared

        return handle

    def enter(self, token: str, photo: str | None, strength: str | None) -> dict[Any, Any]:
        """The page was opened or reloaded: show the session as it is."""
        token, session = self.sessions.enter(token)
        return self.view(token, session, photo, strength)

    def tick(self, token: str, photo: str | None, strength: str | None, seen: int) -> dict[Any, Any]:
        """A second has passed: show the job's progress."""
        token, session = self.sessions.enter(token)
        if session.version != seen or not session.busy:
            return self.view(token, session, photo, strength)
        return {self.job: _html(_job(session))}

    def view(self, token: str, session: Session, photo: str | None, strength: str | None) -> dict[Any, Any]:
        """All components that depend on the session."""
        photos, busy, measured = session.photos, session.busy, session.measured
        ready = bool(photos) and session.has_key
        names, levels = list(photos), list(session.levels)
        labelled = bool(measured) and bool(session.classes)
        evidence = None if busy else session.evidence
        return {
            self.token: token,
            self.everything: gr.Column(visible=True),
            self.seen: session.version,
            self.timer: gr.Timer(active=busy),
            self.photos_said: _html(photos_said(names, session.left_out, session.n_bytes, session.facts.warnings)),
            self.strength_part: gr.Column(visible=ready),
            self.photo: gr.Dropdown(names, value=photo if photo in photos else next(iter(names), None)),
            self.strength: gr.Radio(_described(levels), value=strength if strength in levels else session.usual),
            self.protect: gr.Button(interactive=ready and not busy),
            self.job: _html(_job(session)),
            self.stop: gr.Button(visible=busy),
            self.results: gr.Column(visible=bool(measured)),
            self.gallery: session.thumbnails,
            self.pair: None,
            self.pair_said: said("Choose a photo to compare it with its original.") if measured else "",
            self.place: _html(said(_place(session))),
            self.package: gr.DownloadButton(
                visible=session.package is not None, value=session.package and str(session.package)
            ),
            self.key: gr.DownloadButton(visible=False, value=None),
            self.test_part: gr.Column(visible=labelled),
            self.test: gr.Button(interactive=not busy),
            self.verdict: _html(_verdict(session)),
            self.trace_part: gr.Column(visible=session.can_testify),
            self.sentence: _html("" if evidence is None else said(evidence[0])),
            self.curve: gr.Image(visible=evidence is not None, value=evidence and str(evidence[1])),
            self.forget: gr.Button(visible=bool(photos) or session.has_key),
        }

    def show_levels(self, token: str, photo: str | None) -> Any:
        """A detail of the chosen photo at each strength, and how visible it is there."""
        levels = self._levels(token, photo)
        if levels is None:
            return gr.skip(), gr.skip()
        details = [(_as_shown(level.before, level.after, close=True)[1], word) for word, level in levels.items()]
        seen = "; ".join(f"{word}: {in_words(level.difference.flip)}" for word, level in levels.items())
        return gr.Gallery(details), said(f"A detail of each look, pixel by pixel. {seen}.")

    def choose_level(self, token: str, event: gr.SelectData) -> str:
        """The strength whose detail was chosen."""
        _, session = self.sessions.enter(token)
        return list(session.levels)[int(event.index)]

    def show_preview(self, token: str, photo: str | None, strength: str | None, close: bool) -> Any:
        """The chosen photo at the chosen strength."""
        levels = self._levels(token, photo)
        if levels is None or strength not in levels:
            return gr.skip(), gr.skip()
        chosen = levels[strength]
        pictures = _as_shown(chosen.before, chosen.after, close)
        return pictures, said(f"{strength}: {describe(chosen.difference)}. {DRAG}")

    def _levels(self, token: str, photo: str | None) -> dict[str, Preview] | None:
        """A photo at each strength; None if there is nothing to show, for example while a job runs."""
        _, session = self.sessions.enter(token)
        if photo is None or photo not in session.photos or not session.has_key or session.busy:
            return None
        try:
            return {word: session.preview(photo, word) for word in session.levels}
        except UCError as error:
            raise gr.Error(str(error)) from error

    def show_pair(self, token: str, close: bool, event: gr.SelectData) -> tuple[Any, str]:
        """A photo of the gallery beside its original."""
        _, session = self.sessions.enter(token)
        measured = session.measured
        name = list(measured)[int(event.index)]
        before = images.in_colour(images.decode(session.original(name))).pixels
        after = images.open_image(session.copy(name))
        pictures = _as_shown(PIL.Image.fromarray(before), after, close)
        return pictures, said(f"{name}: {describe(measured[name])}. {DRAG}")

    def show_key(self, token: str, understood: bool) -> Any:
        """The key, once the user has promised to keep it private."""
        _, session = self.sessions.enter(token)
        if not understood or not session.measured:
            return gr.DownloadButton(visible=False, value=None)
        return gr.DownloadButton(visible=True, value=str(session.key_file()))


def _as_shown(before: PIL.Image.Image, after: PIL.Image.Image, close: bool) -> tuple[PIL.Image.Image, ...]:
    """Two pictures, made small enough for a page; or their middles, one to one."""
    pictures = []
    for picture in (before.convert("RGB"), after.convert("RGB")):
        if close:
            left, top = max(picture.width - DETAIL, 0) // 2, max(picture.height - DETAIL, 0) // 2
            picture = picture.crop((left, top, min(left + DETAIL, picture.width), min(top + DETAIL, picture.height)))
        picture.thumbnail((SHOWN, SHOWN), PIL.Image.Resampling.LANCZOS)
        pictures.append(picture)
    return tuple(pictures)


def _described(levels: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{name}: {LOOKS[name].summary}" if name in LOOKS else name, name) for name in levels]


def _html(text: str) -> gr.HTML:
    """A piece of the page that takes no room while it is empty."""
    return gr.HTML(text, visible=bool(text))


def _job(session: Session) -> str:
    job = session.job
    if job is None:
        return ""
    text = progress_bar(job.fraction, job.told) if job.busy else ""
    return text + said(job.error or "", "wrong")


def _place(session: Session) -> str:
    if session.facts.folder is None or not session.measured:
        return ""
    return f"The protected photos lie in {session.out}, and the key in {session.key}."


def _verdict(session: Session) -> str:
    card = session.scorecard
    verdict = None if card is None or session.busy else judge(card)
    if card is None or verdict is None:
        return ""
    return verdict_box(verdict.word, f"{verdict.why}\n{card.headline()}", COLOURS.get(verdict.word))


def _uploaded(space: str | None) -> str:
    copy = (
        f" [Duplicate it](https://huggingface.co/spaces/{space}?duplicate=true) as a private Space," if space else ""
    )
    return (
        f"**Your originals are uploaded to this server.** Whoever runs it could read them.{copy or ' Better'} or run "
        "the page on your own machine: `pip install 'uc_hf[app] @ git+https://github.com/uc-hf/uc_hf'`, then `uc-hf "
        "app`. Photos, copies and keys are deleted here an hour after you last used the page, or at once by the last "
        "button on it."
    )
