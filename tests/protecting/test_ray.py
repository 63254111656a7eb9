"""Ray Data, the real one: its workers protect as `map` does, the rows stay in order, and the features stay."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from datasets import Dataset

from uc_hf import UCProtector


pytestmark = pytest.mark.slow  # starting a Ray takes half a minute


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray on this machine."""
    ray = pytest.importorskip("ray", reason="the test of Ray needs it: pip install 'ray[data]'")
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": environment})
    import ray.data

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    yield ray
    ray.shutdown()


def test_a_protector_is_a_function_of_batches_as_it_is(ray: Any, tiles: Dataset, surrogate_folder: str) -> None:
    clean = tiles.select(range(40)).flatten_indices()
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2).fit(clean)
    table = clean.data.table.combine_chunks()
    blocks = ray.data.from_arrow(table).repartition(4)
    rows = blocks.map_batches(protector, batch_format="pyarrow", batch_size=10).take_all()
    assert [row["label"] for row in rows] == clean["label"]
    expected = clean.map(protector, batched=True).with_format("arrow")[:]["image"].to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [value["bytes"] for value in expected]
    [made] = ray.data.from_arrow(table).map_batches(protector, batch_format="pyarrow").to_arrow_refs()
    assert ray.get(made).schema.metadata == table.schema.metadata
