"""What is found by name is a file of that name: known without an import, and found wherever it is registered."""

import subprocess
import sys
from pathlib import Path

import pytest

from uc_hf.errors import SettingError
from uc_hf.fitting.clusterings import CLUSTERINGS
from uc_hf.methods import METHODS
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.publishing.destinations import DESTINATIONS
from uc_hf.registry import Registry


@pytest.mark.parametrize(
    "registry", [METHODS, FAMILIES, CLUSTERINGS, DESTINATIONS], ids=lambda registry: registry.kind
)
def test_every_file_registers_its_own_name(registry: Registry[object]):
    assert len(registry)
    assert all(registry.find(name) is registry[name] for name in registry)


def test_names_are_listed_without_the_libraries_that_the_things_need():
    code = "import sys; from uc_hf.methods import METHODS; print(*METHODS); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and {"uc", "synper"} <= set(done.stdout.split())


def test_a_name_that_nobody_registered_is_answered_with_those_that_there_are():
    shapes = Registry[str]("shape")
    shapes["square"] = "four corners"
    with pytest.raises(SettingError, match=r"shape 'round' is not known\. Write one of 'square'\."):
        shapes.find("round")


@pytest.mark.parametrize("registry", [METHODS, FAMILIES], ids=lambda registry: registry.kind)
def test_the_pages_have_a_row_for_each(registry: Registry[object]):
    pages = "".join(page.read_text() for page in (Path(__file__).parents[1] / "docs").rglob("*.md"))
    assert [name for name in registry if f"| {name} |" not in pages and f"| `{name}` |" not in pages] in ([], ["uc"])
