"""The house: which room may import from which, that nothing goes round, and that it stays small."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import uc_hf


HOUSE = Path(uc_hf.__file__).parent
LEVELS = (
    {"errors"},
    {"files", "registry"},
    {"data", "surrogates"},
    {"training", "reports"},
    {"fitting"},
    {"protecting"},
    {"methods"},
    {"scoring"},
    {"publishing"},
    {"cli"},
)
"""A room imports from the levels before its own alone: so data flows down."""

FILES = [path for path in HOUSE.rglob("*.py") if path != HOUSE / "__init__.py"]
MODULES = {
    ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES
}


def imports(path: Path) -> set[str]:
    """The modules of uc_hf that a file imports, at its top or in a function; not for type checkers alone."""
    tree, names = ast.parse(path.read_text()), set()
    tree.body = [node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{name.name}" for name in node.names)}
    return names & MODULES.keys()


def room(module: str) -> str:
    return module.split(".")[1]


def test_a_room_imports_only_from_those_before_it() -> None:
    level = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
    assert {room(module) for module in MODULES} == set(level)
    steps = {(room(one), room(other)) for one, path in MODULES.items() for other in imports(path)}
    assert {(own, other) for own, other in steps if own != other and level[own] <= level[other]} == set()


def test_no_import_goes_round() -> None:
    TopologicalSorter({module: imports(path) for module, path in MODULES.items()}).prepare()


def test_the_house_is_small() -> None:
    assert len(LEVELS) <= 10
    assert len(list(HOUSE.glob("*.py"))) <= 4
    assert len({room(module) for module in MODULES if module.count(".") > 1}) <= 10
    assert {path.name: length for path in FILES if (length := path.read_text().count("\n")) >= 400} == {}
