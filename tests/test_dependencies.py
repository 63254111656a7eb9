"""What pyproject.toml allows is what was tested: `make lowest` installs its lower bounds."""

import re
import tomllib
from pathlib import Path


ROOT = Path(__file__).parents[1]


def test_the_lower_bounds_are_the_versions_that_make_lowest_installs():
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints-lowest.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(requirement.split(">=") for requirement in project["dependencies"])
    assert bounds.keys() == pinned.keys()
    assert {name for name in bounds if not f"{pinned[name]}.".startswith(f"{bounds[name]}.")} == set()
