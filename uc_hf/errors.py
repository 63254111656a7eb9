"""Every error that a user can mend: the message says what is wrong, where, and what to write instead."""

import errno


NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the OSErrors that mean: no room left to write."""


class UCError(Exception):
    """Base of the errors raised on purpose by uc_hf; the CLI prints them without a traceback."""


class SettingError(UCError, ValueError):
    """A setting is outside its allowed range."""


class EpsilonError(SettingError):
    """Epsilon is not a bound on pixels in [0, 1]."""


class DatasetError(UCError, ValueError):
    """A dataset, split, column or folder is not what the job needs."""


class ImageError(UCError, ValueError):
    """An image cannot be read or protected; callers prefix the message with the row or the file."""


class SurrogateError(UCError, ValueError):
    """A surrogate cannot be found, is not a vision model, or is not the one that was fitted with."""


class ClusterError(UCError, ValueError):
    """The embeddings cannot be split into the clusters that were asked for."""


class NotFittedError(UCError, RuntimeError):
    """A protector is used before `fit`."""


class BoundError(UCError, AssertionError):
    """A saved image differs from its original by more than epsilon: a defect of uc_hf, never of the data."""


class OutputError(UCError, OSError):
    """The output cannot be written: it is not empty, or there is no space left."""


def first_line(error: BaseException) -> str:
    """The first line of another library's error, to be given as a reason; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def shown(text: object) -> str:
    """A name or a text from data as a terminal may show it: control characters and line ends as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
