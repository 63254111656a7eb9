"""Ray Data, the real one: its workers protect as `map` does, the rows stay in order, and the features stay."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, load_dataset

from tests.stored import stored
from uc_hf import UCProtector, open_protector


pytestmark = pytest.mark.slow  # starting a Ray takes half a minute


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray on this machine."""
    ray = pytest.importorskip("ray", reason="the test of Ray needs it: pip install 'ray[data]'")
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=3, include_dashboard=False, runtime_env={"env_vars": environment})
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.use_datasource_v2 = False
    yield ray
    ray.shutdown()


class Protect:
    """The actor of docs/how-to/scale.md."""

    def __init__(self, key: str) -> None:
        self.protector = open_protector(key).loaded()

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self.protector(batch)


@pytest.fixture(scope="module")
def protector(tiles: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, n_clusters=2).fit(tiles)


def test_a_protector_is_a_function_of_batches_as_it_is(ray: Any, tiles: Dataset, protector: UCProtector) -> None:
    clean = tiles.select(range(40)).flatten_indices()
    table = clean.data.table.combine_chunks()
    blocks = ray.data.from_arrow(table).repartition(4)
    rows = blocks.map_batches(protector, batch_format="pyarrow", batch_size=None).take_all()
    assert [row["label"] for row in rows] == clean["label"]
    expected = clean.map(protector, batched=True).with_format("arrow")[:]["image"].to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [value["bytes"] for value in expected]
    [made] = ray.data.from_arrow(table).map_batches(protector, batch_format="pyarrow").to_arrow_refs()
    assert ray.get(made).schema.metadata == table.schema.metadata


def test_actors_write_parquet_that_loads_with_its_features(
    ray: Any, tiles: Dataset, protector: UCProtector, tmp_path: Path
) -> None:
    for number in range(24):
        tiles.select(range(4 * number, 4 * number + 4)).to_parquet(tmp_path / "clean" / f"{number:02}.parquet")
    protector.save_pretrained(tmp_path / "key")
    ray.data.read_parquet(str(tmp_path / "clean")).map_batches(
        Protect,
        fn_constructor_args=[str(tmp_path / "key")],
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=2),
    ).write_parquet(str(tmp_path / "protected"), schema=tiles.features.arrow_schema, mode="overwrite")
    protected = load_dataset(str(tmp_path / "protected"), split="train")
    expected = tiles.map(protector, batched=True)
    assert protected.features == expected.features
    assert stored(protected) == stored(expected)
    assert (protected["label"], protected["note"]) == (tiles["label"], tiles["note"])
