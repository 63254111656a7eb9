"""Progress and warnings of a job as data: for a web page, a service, or a notebook."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import tqdm.auto


@dataclass(frozen=True)
class Progress:
    """Progress of one phase of a job.

    Attributes:
        phase: the text of its progress bar: "checking images", "embedding", "protecting", ...
        done: finished units.
        total: units of the whole phase; None if it is unknown, as for a stream.
    """

    phase: str
    done: int
    total: int | None


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


class Bar(tqdm.auto.tqdm):
    """A progress bar that also reports to a listener (see `listening`)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._report()

    def __iter__(self) -> Iterator[Any]:
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def update(self, n: float | None = 1) -> bool | None:
        """Count finished units and report them."""
        shown = super().update(n)
        self._report()
        return shown

    def _report(self) -> None:
        listener = _listener.get()
        if listener is not None and not self.disable:
            listener(Progress(str(self.desc).removesuffix(": "), int(self.n), self.total))


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within this context every phase reports its progress: checks, a fit, protecting, trainings.

    Examples:
        >>> from uc_hf import UCProtector
        >>> from uc_hf.data.generated import generated_dataset
        >>> heard = []
        >>> with listening(heard.append):
        ...     ds = generated_dataset(n_train=20, n_test=2)["train"]
        ...     _ = UCProtector(surrogate="uc_hf/tiny", n_clusters=2).fit(ds)
        >>> sorted({report.phase for report in heard})
        ['checking images', 'embedding']

    Args:
        listener: called in the working thread at every step, so it should be quick. An exception that it raises ends
            the job, which is a way to stop it.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


@contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """The warnings that uc_hf logs in this thread, as a list that grows while the job runs.

    Examples:
        >>> with warnings_heard() as heard:
        ...     logging.getLogger("uc_hf.data").warning("%d images are stored in gray", 3)
        >>> heard
        ['3 images are stored in gray']
    """
    heard: list[str] = []
    handler, logger = _Collector(heard), logging.getLogger("uc_hf")
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)


class _Collector(logging.Handler):
    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard, self._thread = heard, threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning of this thread, once."""
        text = record.getMessage()
        if record.thread == self._thread and text not in self._heard:
            self._heard.append(text)
