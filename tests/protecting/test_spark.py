"""Spark, the real one: `mapInArrow` protects as `map` does, and the rows stay in order."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, load_dataset

from tests.stored import stored
from uc_hf import UCProtector


pytestmark = pytest.mark.slow  # starting a Spark takes half a minute


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A Spark on this machine."""
    sql = pytest.importorskip("pyspark.sql", reason="the test of Spark needs it: pip install pyspark")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("the test of Spark needs Java: install a JDK, 17 or later")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "localhost",
        "spark.sql.adaptive.enabled": "false",  # it would put so few rows into one partition
        "spark.sql.shuffle.partitions": "4",
    }
    spark = sql.SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    yield spark
    spark.stop()


def test_spark_protects_as_map_does(spark: Any, tiles: Dataset, surrogate_folder: str, tmp_path: Path) -> None:
    for number in range(4):
        tiles.select(range(10 * number, 10 * number + 10)).to_parquet(tmp_path / "clean" / f"{number}.parquet")
    clean = tiles.select(range(40))
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2).fit(clean)

    def protect(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return map(protector, batches)

    rows = spark.read.parquet(str(tmp_path / "clean")).orderBy("_metadata.file_path", "_metadata.row_index")
    rows.mapInArrow(protect, rows.schema).write.parquet(str(tmp_path / "protected"))
    assert len(list((tmp_path / "protected").glob("*.parquet"))) > 1
    protected = load_dataset(str(tmp_path / "protected"), split="train", features=clean.features)
    expected = clean.map(protector, batched=True)
    assert protected.features == expected.features
    assert stored(protected) == stored(expected)
    assert (protected["label"], protected["note"]) == (clean["label"], clean["note"])
