"""An HTTP endpoint as a suspect: pictures are posted one by one, and what it refuses for a while is asked again."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import httpx2
from PIL import Image

from uc_hf.errors import SuspectError, first_line
from uc_hf.scoring.trace.answers import Answer, read_answer


logger = logging.getLogger(__name__)

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that mean: ask again later."""

TRIES, LONGEST_WAIT, TIMEOUT = 8, 300.0, 60.0
"""For one question: number of tries, longest pause between two tries, longest wait for an answer, in seconds."""


class Endpoint:
    """An endpoint that answers as the Hub's inference API does: with a list of {"label", "score"}.

    A list of the best few, or a label without a score, will do.

    Args:
        url: where a picture's bytes are posted, as PNG.
        token: sent as `Authorization: Bearer TOKEN`; the Hub's own token is never sent to a stranger.
        wait: called with the seconds of a pause.
    """

    def __init__(self, url: str, token: str | None = None, wait: Callable[[float], None] = time.sleep) -> None:
        self.name, self.at_once = url.split("?")[0], 1  # the query may hold a secret, and reports show the name
        self.version = hashlib.sha256(url.encode()).hexdigest()
        self._url = url
        headers = {"Content-Type": "image/png", "Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        self._client, self._wait = httpx2.Client(headers=headers, timeout=TIMEOUT), wait

    def __call__(self, pictures: Sequence[Image.Image]) -> list[Answer]:
        """An answer for each picture."""
        return [self._ask(picture) for picture in pictures]

    def _ask(self, picture: Image.Image) -> Answer:
        body = BytesIO()
        picture.save(body, "PNG")
        trouble = ""
        for attempt in range(TRIES):
            try:
                response = self._client.post(self._url, content=body.getvalue())
            except httpx2.HTTPError as error:
                trouble, pause = first_line(error), _longer(attempt)
            else:
                if response.is_success:
                    return self._read(response)
                trouble = f"HTTP {response.status_code}: {response.text[:200]}"
                if response.status_code not in BUSY:
                    raise SuspectError(f"{self.name} refuses: {trouble}. Check the address and UC_HF_TRACE_TOKEN.")
                pause = _asked_for(response) or _longer(attempt)
            logger.info("%s: %s; again in %.0f s", self.name, trouble, pause)
            self._wait(min(pause, LONGEST_WAIT))
        raise SuspectError(
            f"{self.name} has not answered {TRIES} times: {trouble}. Its answers are kept if --out was given: "
            "the same command goes on."
        )

    def _read(self, response: httpx2.Response) -> Answer:
        try:
            answer: Any = response.json()
        except json.JSONDecodeError as error:
            raise SuspectError(f"{self.name} answers with what is not JSON: {response.text[:80]!r}.") from error
        if isinstance(answer, list) and len(answer) == 1 and isinstance(answer[0], list):
            answer = answer[0]  # a batch of one
        return read_answer(answer, ())


def _longer(attempt: int) -> float:
    """Seconds that double with each try: 1, 2, 4, ..."""
    return float(2**attempt)


def _asked_for(response: httpx2.Response) -> float | None:
    """The seconds of a Retry-After header; a date, which few send, counts as none."""
    asked = response.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else None
