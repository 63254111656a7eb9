"""Files that last: whole or not there, whatever ends the program, and known to be refused before they are needed."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stored import contents, files_limited_to
from uc_hf.errors import OutputError
from uc_hf.files import PARTIAL, check_writable, remove_partials, remove_partials_of, whole, write_whole


LONGEST = "\u957f" * 83 + ".html"  # 254 bytes: nothing can be appended to it


def kill_while_writing(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from uc_hf.files import whole\n"
        "with whole(Path(sys.argv[1])) as partial:\n"
        "    partial.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == -signal.SIGKILL


def test_a_file_of_the_longest_name_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / LONGEST
    for data in (b"first", b"second"):
        write_whole(path, data)
        assert contents(tmp_path / "new") == {LONGEST: data}
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"before")
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "file") as partial:
        partial.write_bytes(b"half")
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), whole(tmp_path / "folder") as partial:
        (partial / "within").mkdir(parents=True)
        _ = 1 / 0
    assert contents(tmp_path) == {"file": b"before"} and not (tmp_path / "folder").exists()


def test_a_killed_run_leaves_what_was_there_and_a_hidden_part_that_the_next_one_removes(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"before")
    write_whole(tmp_path / "mine.partial", b"a name of the user's own")
    for name in ("file", "file", "below/file"):
        kill_while_writing(tmp_path / name)
    parts = [path for path in tmp_path.rglob("*") if PARTIAL.fullmatch(path.name)]
    assert len(parts) == 3 and all(path.read_bytes() == b"half" for path in parts)
    remove_partials_of(tmp_path / "other")
    remove_partials_of(tmp_path / "file")
    assert [path.parent.name for path in tmp_path.rglob(".*")] == ["below"]
    remove_partials(tmp_path)
    assert contents(tmp_path) == {"file": b"before", "mine.partial": b"a name of the user's own"}


def test_a_full_disk_is_told_with_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    with files_limited_to(1000), pytest.raises(OutputError, match=r"a\.bin cannot be written: File too large\. Make"):
        write_whole(tmp_path / "a.bin", bytes(2000))
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_nothing_is_refused_at_once(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())
    write_whole(tmp_path / "file", b"")
    with pytest.raises(OutputError, match=r"file/out cannot be written: Not a directory\. Mend that, or choose"):
        check_writable(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        check_writable(tmp_path, longest_name="n" * 256)
    with files_limited_to(100_000), pytest.raises(OutputError, match=r"File too large\. Make room there") as caught:
        check_writable(tmp_path / "full")
    assert caught.value.errno == errno.EFBIG and not list((tmp_path / "full").iterdir())
