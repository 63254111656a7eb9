import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil, pipeline

from uc_hf.errors import SuspectError
from uc_hf.scoring.trace.endpoint import TRIES, Endpoint
from uc_hf.scoring.trace.suspects import open_suspect


CLASSES = ["cat", "dog", "bird"]
PICTURES = [Image.fromarray(np.full((24, 20, 3), level, np.uint8)) for level in (0, 90, 255)]


class Server(ThreadingHTTPServer):
    """An inference endpoint: `replies` are given one after the other, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[tuple[int, dict[str, str], object]] = []
        self.pictures: list[Image.Image] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/classify"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.pictures.append(Image.open(BytesIO(body)).convert("RGB"))
        self.server.headers.append(dict(self.headers))
        status, headers, answer = self.server.replies.pop(0) if self.server.replies[1:] else self.server.replies[0]
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ok(answer: object) -> tuple[int, dict[str, str], object]:
    return 200, {}, answer


TOP = [{"label": "cat", "score": 0.7}, {"label": "dog", "score": 0.2}]


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (TOP, {"cat": 0.7, "dog": 0.2}),
        ([TOP], {"cat": 0.7, "dog": 0.2}),
        ([{"label": "dog"}], {"dog": 1.0}),
        ({"label": "dog"}, {"dog": 1.0}),
        ({"cat": 0.9, "dog": 0.1}, {"cat": 0.9, "dog": 0.1}),
        ("dog", {"dog": 1.0}),
    ],
)
def test_an_endpoint_may_tell_all_the_best_five_or_a_label(server: Server, answer: object, read: dict[str, float]):
    server.replies = [ok(answer)]
    assert Endpoint(server.url)(PICTURES[:1]) == [read]


def test_an_endpoint_gets_the_pictures_bit_by_bit(server: Server):
    server.replies = [ok(TOP)]
    Endpoint(server.url)(PICTURES)
    assert [picture.tobytes() for picture in server.pictures] == [picture.tobytes() for picture in PICTURES]


def test_the_hubs_token_is_not_sent_to_a_stranger(server: Server):
    server.replies = [ok(TOP)]
    Endpoint(server.url)(PICTURES[:1])
    Endpoint(server.url, "secret")(PICTURES[:1])
    assert [headers.get("Authorization") for headers in server.headers] == [None, "Bearer secret"]


def test_what_is_busy_is_asked_again_when_it_says(server: Server):
    waits: list[float] = []
    server.replies = [(429, {"Retry-After": "7"}, "slow down"), (503, {}, "loading"), ok(TOP)]
    assert Endpoint(server.url, wait=waits.append)(PICTURES[:1])[0]["cat"] == 0.7
    assert waits == [7.0, 2.0]


def test_who_never_answers_is_given_up(server: Server):
    waits: list[float] = []
    server.replies = [(500, {}, "broken")]
    with pytest.raises(SuspectError, match=r"has not answered 8 times: HTTP 500.*goes on"):
        Endpoint(server.url, wait=waits.append)(PICTURES[:1])
    assert len(waits) == TRIES


def test_nobody_there_is_an_error_with_a_remedy():
    with pytest.raises(SuspectError, match="has not answered"):
        Endpoint("http://127.0.0.1:9/classify", wait=lambda seconds: None)(PICTURES[:1])


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((403, {}, "no"), "refuses: HTTP 403.*UC_HF_TRACE_TOKEN"),
        (ok(b"<html>"), "not JSON"),
        (ok([{"label": "cat", "score": 12}]), "not a probability"),
        (ok({"error": "no model"}), "not a probability"),
    ],
)
def test_answers_that_are_none_are_said_to_be_none(server: Server, reply: tuple, message: str):
    server.replies = [reply]
    with pytest.raises(SuspectError, match=message):
        Endpoint(server.url)(PICTURES[:1])


def test_what_stands_behind_a_question_mark_is_not_told(server: Server):
    assert "secret" not in Endpoint(f"{server.url}?key=secret").name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    def save(**config: object) -> Path:
        path = tmp_path_factory.mktemp("suspect")
        with torch.random.fork_rng():
            torch.manual_seed(0)
            sizes = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}
            ResNetForImageClassification(ResNetConfig(**sizes, num_labels=3, **config)).save_pretrained(path)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(path)
        return path

    return save


def test_a_folder_answers_with_all_its_labels(folder: Callable[..., Path]):
    path = folder(id2label=dict(enumerate(CLASSES)))
    answers = open_suspect(str(path), [])(PICTURES)
    assert [set(answer) for answer in answers] == [set(CLASSES)] * 3
    assert all(sum(answer.values()) == pytest.approx(1) for answer in answers)
    by_pipeline = open_suspect(pipeline("image-classification", model=str(path)), [])(PICTURES)
    assert by_pipeline == answers


def test_labels_that_are_numbers_are_the_owners_in_their_order(folder: Callable[..., Path]):
    assert set(open_suspect(str(folder()), CLASSES)(PICTURES[:1])[0]) == set(CLASSES)
    assert set(open_suspect(str(folder()), [*CLASSES, "fish"])(PICTURES[:1])[0]) == {"LABEL_0", "LABEL_1", "LABEL_2"}


def test_a_model_is_another_when_its_weights_or_its_address_are(folder: Callable[..., Path]):
    first = open_suspect(str(folder()), CLASSES)
    again, path = open_suspect(str(folder()), CLASSES), folder()
    weights = load_file(path / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, path / "model.safetensors", {"format": "pt"})
    assert first.version == again.version != open_suspect(str(path), CLASSES).version
    one, other = (Endpoint(f"http://localhost/classify?model={name}") for name in "ab")
    assert one.name == other.name and one.version != other.version


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(SuspectError, match=r"cannot be loaded as an image classifier.*model\.safetensors"):
        open_suspect(str(tmp_path), [])


@pytest.mark.parametrize(
    "answers",
    [
        np.eye(3),
        torch.eye(3),
        np.eye(3).tolist(),
        [0, 1, 2],
        np.arange(3),
        CLASSES,
        [{"cat": 1.0}, {"dog": 1.0}, {"bird": 1.0}],
        [[{"label": name, "score": 1.0}] for name in CLASSES],
    ],
)
def test_a_function_may_answer_in_any_usual_form(answers: object):
    told = open_suspect(lambda pictures: answers, CLASSES)(PICTURES)
    assert [max(answer, key=answer.__getitem__) for answer in told] == CLASSES
