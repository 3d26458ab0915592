"""Features that do not fit in memory give the same heads, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch")
import challenge
from planted import write_features

from hsemotion_cli.errors import InputError
from hsemotion_cli.evaluation.ground_truth import read_mtl
from hsemotion_cli.runtime.row_file import RowFile
from hsemotion_cli.training import features, sequences
from hsemotion_cli.training.head_trainer import HEAD_CONFIGS, train
from hsemotion_cli.training.temporal_trainer import SequenceExamples, method, moments, temporal_config


def test_rows_are_those_of_the_array() -> None:
    random = np.random.default_rng(0)
    whole = random.normal(size=(10_000, 7)).astype(np.float16)
    rows = RowFile(7, np.dtype(np.float16))
    for part in np.split(whole, [3, 3, 5000]):
        rows.append(part)
    assert rows.shape == whole.shape and rows.dtype == whole.dtype and rows.size == whole.size and len(rows) == 10_000
    for chosen in (np.array([9999, 0, 0, 17]), random.permutation(10_000), np.empty(0, np.int64)):
        np.testing.assert_array_equal(rows[chosen], whole[chosen])
    np.testing.assert_array_equal(np.concatenate(list(rows.blocks())), whole)


@pytest.fixture
def made(tmp_path: Path) -> tuple[dict[str, Path], dict]:
    found = challenge.make_mtl(tmp_path, videos=3, frames=60, validation=2, paint=None)
    for k, (name, labels) in enumerate(found.beneath.items()):
        write_features(tmp_path / "features" / f"{name}.features.parquet", labels, "mbf_va_mtl", 1.0, k)
    lists = {"train": "training_set_annotations.txt", "validation": "validation_set_annotations.txt"}
    truths = {part: read_mtl(tmp_path / name) for part, name in lists.items()}
    return features.find_files([tmp_path / "features"]), truths


@pytest.mark.parametrize("in_memory", [0, 4000])
def test_heads_are_the_same_from_memory_and_from_a_file(made: tuple[dict[str, Path], dict], in_memory: int) -> None:
    files, truths = made
    results = []
    for limit in (features.IN_MEMORY, in_memory):
        base, rows = features.gather(files, truths, in_memory=limit)
        assert all(isinstance(part.embeddings, RowFile) == (limit == in_memory) for part in rows.values())
        results.append(train("mtl", base, rows, HEAD_CONFIGS["mtl"], 0, lambda *_: None))
    (parts, facts), (others, other_facts) = results
    assert facts == other_facts, "also the digest of the data"
    for task, part in parts.items():
        for layer, other in zip(part.layers, others[task].layers, strict=True):
            np.testing.assert_array_equal(layer[0], other[0])
            np.testing.assert_array_equal(layer[1], other[1])


def test_half_and_single_precision_are_not_mixed(made: tuple[dict[str, Path], dict]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files, truths = made
    last = files[max(name for name in files if name in truths["train"])]
    table = pq.read_table(last)
    values = table.column("embedding").combine_chunks()
    single = pa.FixedSizeListArray.from_arrays(values.flatten().cast(pa.float32()), values.type.list_size)
    changed = table.set_column(table.column_names.index("embedding"), "embedding", single)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), last)
    with pytest.raises(InputError, match="the same --dtype"):
        features.gather(files, truths, in_memory=0)


def test_neighbours_are_read_at_once_and_windows_keep_their_shape() -> None:
    whole = np.arange(300, dtype=np.float32).reshape(100, 3)
    rows = RowFile(3, np.dtype(np.float32))
    rows.append(whole)
    windows = np.array([[5, 6, 7, 0], [0, 0, 98, 99]])
    found = rows[windows]
    np.testing.assert_array_equal(found, whole[windows])
    assert found.flags.writeable, "torch warns of arrays that are not"


@pytest.mark.parametrize("mode", ["causal", "centred"])
def test_heads_over_time_are_the_same_from_memory_and_from_a_file(
    made: tuple[dict[str, Path], dict], mode: str
) -> None:
    files, truths = made
    plans = {task: replace(temporal_config(HEAD_CONFIGS["mtl"][task]), epochs=2) for task in HEAD_CONFIGS["mtl"]}
    results = []
    for limit in (features.IN_MEMORY, 4000):
        base, data = sequences.gather(files, truths, in_memory=limit)
        assert all(isinstance(part.rows.embeddings, RowFile) == (limit == 4000) for part in data.values())
        results.append(train("mtl", base, data, plans, 0, lambda *_: None, method(mode)))
    (parts, facts), (others, other_facts) = results
    assert facts == other_facts, "also the digest of the data"
    for task, part in parts.items():
        for layer, other in zip(part.layers, others[task].layers, strict=True):
            np.testing.assert_array_equal(layer[0], other[0])
            np.testing.assert_array_equal(layer[1], other[1])


def test_moments_of_blocks_are_those_of_numpy() -> None:
    """Also where the mean is far larger than the spread, over several blocks."""
    random = np.random.default_rng(0)
    values = (random.normal(0, 1, (9001, 5)) * [1, 2, 0, 0.01, 3] + [0, 1e4, 7, 100, -5]).astype(np.float32)
    rows = RowFile(5, np.dtype(np.float32))
    rows.append(values)
    for part in (values, rows):
        data = SequenceExamples((part,), (np.arange(9001),), np.ones(9001, bool), np.zeros(9001, np.int64), 1)
        mean, spread = (found.numpy() for found in moments(data))
        np.testing.assert_array_equal(mean, values.mean(axis=0, dtype=np.float64).astype(np.float32))
        expected = values.std(axis=0, dtype=np.float64)
        np.testing.assert_allclose(spread, np.where(expected < 1e-6, 1, expected), rtol=1e-6)
