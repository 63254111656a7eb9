"""The suspect's answers, line by line in a file: an interrupted trace asks no question twice."""

import json
from pathlib import Path
from typing import Any

from uc_hf.errors import SettingError
from uc_hf.files import write_whole


class Journal:
    """Answers by the question that they belong to.

    Args:
        path: a JSON Lines file, made if it does not exist; None keeps nothing.
        facts: suspect, key, set and plan; answers of a trace with others are not valid.

    Raises:
        SettingError: the file belongs to another trace.
    """

    def __init__(self, path: Path | None, facts: dict[str, Any]) -> None:
        self._path = path
        self._answers: dict[str, Any] = {}
        if path is None:
            return
        lines = _whole_lines(path)
        if lines and (known := _parsed(path, lines[0]).get("trace")) != facts:
            changed = [name for name in facts if not isinstance(known, dict) or known.get(name) != facts[name]]
            raise SettingError(
                f"{path} holds the answers to other questions: {', '.join(changed)} differ. Name another --out, or "
                "remove it."
            )
        for line in lines[1:]:
            self._answers |= _parsed(path, line)
        write_whole(path, "".join(f"{line}\n" for line in lines or [json.dumps({"trace": facts})]).encode())

    def get(self, question: str) -> Any:
        """The answer that is known already, or None."""
        return self._answers.get(question)

    def add(self, answers: dict[str, Any]) -> None:
        """Write answers down at once."""
        self._answers |= answers
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(answers) + "\n")


def _whole_lines(path: Path) -> list[str]:
    """Lines that were written to their end: the last may have been cut off."""
    if not path.is_file():
        return []
    *lines, _rest = path.read_text(encoding="utf-8").split("\n")
    return lines


def _parsed(path: Path, line: str) -> dict[str, Any]:
    try:
        parsed = json.loads(line)
    except ValueError as error:
        raise SettingError(f"{path} is damaged: {line[:60]!r}. Remove it, or name another --out.") from error
    if not isinstance(parsed, dict):
        raise SettingError(f"{path} is not the journal of a trace. Name another --out.")
    return parsed
