"""The users of the page, each with a folder that no other user can open."""

import hashlib
import re
import secrets
import shutil
import time
from pathlib import Path

from uc_hf.cli.web.session import Session
from uc_hf.cli.web.uploads import Limits


TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
"""32 random bytes in the browser's storage; whoever has them can open the photographs."""


class Sessions:
    """The sessions of one page.

    Args:
        root: holds a folder for each session, named by the digest of its token: listing `root` opens no session.
        surrogate: for fitting new keys.
        limits: for each session.
        keep: seconds after which an unused session is removed; None to keep it.
    """

    def __init__(self, root: Path, surrogate: str, limits: Limits, keep: float | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._root, self._surrogate, self._limits, self._keep = root, surrogate, limits, keep
        self._open: dict[str, Session] = {}
        self._used: dict[str, float] = {}

    def enter(self, token: object) -> tuple[str, Session]:
        """The session of a token, and the token; a new session if the token is missing or not ours."""
        self.expire()
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            token = secrets.token_urlsafe(32)
        name = hashlib.sha256(token.encode()).hexdigest()
        self._used[name] = time.time()
        if name not in self._open:
            self._open[name] = Session(self._root / name, self._surrogate, self._limits)
        return token, self._open[name]

    def expire(self) -> None:
        """Remove sessions that were not used for long, including those of an earlier run of the program."""
        if self._keep is None:
            return
        oldest = time.time() - self._keep
        for folder in self._root.iterdir():
            session = self._open.get(folder.name)
            if session is not None and session.busy:
                continue
            if self._used.get(folder.name, folder.stat().st_mtime) < oldest:
                shutil.rmtree(folder, ignore_errors=True)
                self._open.pop(folder.name, None)
                self._used.pop(folder.name, None)
