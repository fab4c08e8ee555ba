"""Mining that is interrupted, damaged or given what it cannot use: the same bytes in the end, or one clear line."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embedkit.core.dataset import Dataset, read_dataset, write_dataset
from embedkit.core.errors import ArtifactError, DataError, EmbedkitError, ModelError
from embedkit.core.pairs import read_pairs
from embedkit.core.records import Corpus, Queries, write_corpus, write_qrels, write_queries
from embedkit.core.stage import Artifact
from embedkit.core.store import digests
from embedkit.mining import parts
from embedkit.mining.fates import CANDIDATES
from embedkit.mining.filters import MarginToPositive, PercentOfPositive
from embedkit.mining.hybrid import BM25Search, EncoderSearch
from embedkit.mining.sampling import Random
from embedkit.mining.stage import Mine
from embedkit.mining.teacher import CrossEncoder, Folder
from embedkit.retrieval.index import Exact
from tests.faults.mining import at, fill_disk, run, watched
from tests.mining.test_cross_encoder import build as build_cross_encoder
from tests.slow import mostly

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def inputs(tiny_dataset, tiny_model, other_tiny_model) -> dict[str, Artifact]:
    models = {"model": Artifact("a" * 64, tiny_model), "other": Artifact("b" * 64, other_tiny_model)}
    return {"data": tiny_dataset, **models}


def mine(**fields) -> Mine:
    """72 queries: two blocks in little memory, one in much."""
    names = {"data": "data", "model": "model", "negatives": 3, "top_k": 10, "memory": 1}
    return Mine(**{**names, "sampling": Random(seed=3), "filters": (PercentOfPositive(ratio=0.999),), **fields})


HYBRID = mine(hybrid=(BM25Search(),), filters=(PercentOfPositive(ratio=0.999), MarginToPositive(signal="bm25")))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_durable_steps(every, inputs, tmp_path):
    told = {name: (artifact.key, str(artifact.path)) for name, artifact in inputs.items()}
    command = [sys.executable, "-m", "tests.faults.mining", HYBRID.model_dump_json(), json.dumps(told), str(tmp_path)]
    command.append(str(every))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.splitlines()[-1]) > 20


def events_of(stage, inputs, folder) -> list[str]:
    events: list[str] = []
    run(stage, inputs, folder, lambda event, facts: events.append(event))
    return events


def damage_file(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif how == "altered":
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
    else:
        path.unlink()


@pytest.mark.parametrize("name", ["pairs-*.parquet", "candidates-*.parquet", "part-*.json"])
@pytest.mark.parametrize("damage", mostly(["cut", "altered", "gone", "of another block"], slow={"cut", "gone"}))
def test_a_damaged_part_is_made_anew(name, damage, inputs, tmp_path):
    expected = digests(run(mine(), inputs, tmp_path))
    assert events_of(mine(), inputs, tmp_path).count("block_mined") == 0
    first, second = sorted((tmp_path / "work").glob(name))
    if damage == "of another block":
        first.write_bytes(second.read_bytes())
    else:
        damage_file(first, damage)
    assert events_of(mine(), inputs, tmp_path).count("block_mined") == 1
    assert digests(tmp_path / "out") == expected


@pytest.mark.parametrize("damage", mostly(["cut", "altered", "gone"], slow={"cut", "gone"}))
def test_a_damaged_copy_of_the_texts_is_made_anew(damage, inputs, tmp_path):
    expected = digests(run(mine(), inputs, tmp_path))
    for copy in (tmp_path / "work").glob("*.arrow"):
        damage_file(copy, damage)
    for part in (tmp_path / "work").glob("part-*"):
        part.unlink()
    assert digests(run(mine(), inputs, tmp_path)) == expected


@pytest.mark.parametrize("damage", mostly(["cut", "altered", "gone"], slow={"cut", "gone"}))
def test_a_damaged_shard_is_made_anew(damage, inputs, tmp_path):
    expected = digests(run(mine(), inputs, tmp_path))
    for shard in sorted((tmp_path / "embeddings").rglob("*.npy")):
        damage_file(shard, damage)
    for part in (tmp_path / "work").glob("part-*"):
        part.unlink()
    assert "shard_written" in events_of(mine(), inputs, tmp_path)
    assert digests(tmp_path / "out") == expected


def full_at(number: int, inputs, folder: Path) -> bool:
    """Run with a disk that is full at that step; whether the run came so far."""
    step = at(number, fill_disk)
    try:
        with watched(step):
            run(HYBRID, inputs, folder, lambda event, facts: step())
    except (OSError, EmbedkitError) as error:
        return os.strerror(errno.ENOSPC) in str(error)
    return False


def test_a_full_disk_at_any_step_loses_nothing(inputs, tmp_path):
    """Every fifth step in turn."""
    expected, number = digests(run(HYBRID, inputs, tmp_path / "undisturbed")), 1
    while full_at(number, inputs, here := tmp_path / str(number)):
        assert digests(run(HYBRID, inputs, here)) == expected
        number += 5
    assert number > 20


@pytest.mark.parametrize("place", ["work", "embeddings", "out"])
def test_a_folder_that_cannot_be_written_is_one_line(place, inputs, tmp_path):
    """What the command tells in one line; permissions do not stop an administrator, a file in the way does."""
    (tmp_path / place).write_text("a file")
    with pytest.raises((NotADirectoryError, FileExistsError, ArtifactError)) as error:
        run(mine(), inputs, tmp_path)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_of_the_command(tiny_model, tiny_beir, tmp_path):
    from tests.pipeline.tiny_recipe import write_tiny_recipe

    recipe = write_tiny_recipe(tmp_path / "tiny.yaml", model=tiny_model, data=tiny_beir)
    code = f"""
import os, sys
from tests.faults.mining import at, fill_disk, watched
from embedkit.mining import parts
publish = parts.Sealed.publish
def full(self, *tables):
    with watched(at(1, fill_disk)):
        publish(self, *tables)
parts.Sealed.publish = full
sys.argv = ["embedkit", "run", {str(recipe)!r}, "--store", {str(tmp_path / "store")!r}, "--until", "mined"]
from embedkit.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == "error: writing: No space left on device"
    assert "Traceback" not in done.stderr


def test_a_model_that_outputs_nan_is_one_line(tiny_model, inputs, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    model = shutil.copytree(tiny_model, tmp_path / "model")
    path = next(model.rglob("model.safetensors"))
    weights = load_file(path)
    next(tensor for name, tensor in weights.items() if name.endswith("LayerNorm.weight"))[:] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    damaged = {**inputs, "model": Artifact("c" * 64, model)}
    with pytest.raises(ModelError, match="gives vectors that are not finite") as error:
        run(mine(), damaged, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "run" / "embeddings").rglob("*.npy"))


def test_a_cross_encoder_that_outputs_nan_is_one_line(inputs, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(build_cross_encoder(tmp_path / "judge") / "model.safetensors")
    weights["classifier.bias"][:] = float("nan")
    save_file(weights, tmp_path / "judge" / "model.safetensors", metadata={"format": "pt"})
    judge = CrossEncoder(source=Folder(path=tmp_path / "judge"))
    stage = mine(signals={"judge": judge}, filters=(MarginToPositive(signal="judge"),))
    with pytest.raises(ModelError, match="gives scores that are not finite") as error:
        run(stage, inputs, tmp_path / "run")
    assert "\n" not in str(error.value)


def dataset(folder: Path, dataset: Dataset) -> Artifact:
    folder.mkdir(parents=True)
    write_dataset(folder, dataset)
    return Artifact("e" * 64, folder)


def test_a_query_without_positives_is_left_out(inputs, tmp_path):
    data = read_dataset(inputs["data"].path)
    train = dict(data.qrels["train"])
    first, second, *rest = train
    judged = {first: dict.fromkeys(train[first], 0), second: {}, **{query: train[query] for query in rest}}
    changed = dataset(tmp_path / "data", replace(data, qrels={"train": judged}))
    out = run(mine(), {**inputs, "data": changed}, tmp_path / "run")
    assert [row.query_id for row in read_pairs(out).rows] == rest


def test_more_candidates_than_documents_are_all_documents(inputs, tmp_path):
    out = run(mine(top_k=1000, negatives=1000, filters=()), inputs, tmp_path)
    data = read_dataset(inputs["data"].path)
    for row in read_pairs(out).rows:
        assert {*row.negatives, *row.known} == set(data.corpus.ids)


def test_an_empty_corpus_and_no_queries_are_one_line(inputs, tmp_path):
    empty = dataset(tmp_path / "empty", Dataset(Corpus([], [], []), Queries([], []), {"train": {}}))
    with pytest.raises(DataError, match="no query of this split has a relevant document") as error:
        run(mine(), {**inputs, "data": empty}, tmp_path / "one")
    assert "\n" not in str(error.value)


def test_judged_documents_that_are_not_there_are_one_line(inputs, tmp_path):
    """As of a corpus that was cut, or that is empty."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_corpus(folder, Corpus([], [], []))
    write_queries(folder, Queries(["q"], ["list file"]))
    write_qrels(folder, "train", {"q": {"d0": 1}})
    with pytest.raises(DataError, match="'d0'") as error:
        run(mine(), {**inputs, "data": Artifact("e" * 64, folder)}, tmp_path / "run")
    assert "\n" not in str(error.value)


def everything(folder: Path) -> Mine:
    judge = CrossEncoder(source=Folder(path=folder), batch_size=8)
    rules = (PercentOfPositive(ratio=0.999), MarginToPositive(signal="judge", margin=0.0))
    return mine(hybrid=(BM25Search(), EncoderSearch(model="other")), signals={"judge": judge}, filters=rules)


@pytest.fixture(scope="module")
def reference(inputs, tmp_path_factory) -> tuple[Mine, dict[str, str]]:
    stage = everything(build_cross_encoder(tmp_path_factory.mktemp("judge")))
    return stage, digests(run(stage, inputs, tmp_path_factory.mktemp("reference")))


@pytest.mark.parametrize(
    "change",
    [
        {"memory": 10**10},
        {"index": Exact(query_tile=5, document_tile=7)},
        {"memory": 10**10, "index": Exact(query_tile=3, document_tile=100)},
    ],
    ids=str,
)
def test_memory_and_tiles_change_no_byte(change, reference, inputs, tmp_path):
    stage, expected = reference
    assert digests(run(stage.model_copy(update=change), inputs, tmp_path)) == expected


@pytest.mark.parametrize("smallest", mostly([1, 5, 24], slow={1, 24}))
def test_no_block_size_changes_a_byte(smallest, reference, inputs, tmp_path, monkeypatch):
    """Without the cross-encoder, whose batches are of 64 queries."""
    stage = reference[0].model_copy(update={"signals": {}, "filters": (PercentOfPositive(ratio=0.999),)})
    expected = digests(run(stage, inputs, tmp_path / "64"))
    monkeypatch.setattr(parts, "_SMALLEST", smallest)
    events = events_of(stage, inputs, tmp_path / "small")
    assert events.count("block_mined") == -(-72 // smallest)
    assert digests(tmp_path / "small" / "out") == expected


def test_another_batch_size_changes_no_negative(reference, inputs, tmp_path):
    """Vectors of other batches differ in their last digits, and nothing that depends on them does by more."""
    stage, _ = reference
    out = run(stage, inputs, tmp_path / "one")
    small = run(stage.model_copy(update={"batch_tokens": 64}), inputs, tmp_path / "two")
    one, two = (pq.read_table(folder / CANDIDATES) for folder in (out, small))
    assert one.drop(["score", "judge"]).equals(two.drop(["score", "judge"]))
    np.testing.assert_allclose(one["score"].to_numpy(), two["score"].to_numpy(), atol=1e-5)


def test_two_models_in_one_store_keep_to_themselves(inputs, tmp_path):
    """In turn, twice, their vectors side by side: each mines what it mines alone."""
    swapped = {**inputs, "model": inputs["other"]}
    alone = [digests(run(mine(), some, tmp_path / name)) for name, some in (("a", inputs), ("b", swapped))]
    assert alone[0]["pairs.parquet"] != alone[1]["pairs.parquet"]
    for turn in range(2):
        for expected, some, key in zip(alone, (inputs, swapped), "ab", strict=True):
            folder = tmp_path / f"shared-{key}-{turn}"
            folder.mkdir()
            (tmp_path / "store").mkdir(exist_ok=True)
            (folder / "embeddings").symlink_to(tmp_path / "store")
            assert digests(run(mine(), some, folder)) == expected


def test_an_artifact_key_alone_does_not_vouch_for_a_model(inputs, tmp_path):
    """A folder that changed under the same name and key gives other vectors, not the stored ones."""
    swapped = {**inputs, "model": Artifact(inputs["model"].key, inputs["other"].path)}
    expected = digests(run(mine(), swapped, tmp_path / "alone"))
    run(mine(), inputs, tmp_path / "shared")
    for path in (tmp_path / "shared" / "work").glob("*"):
        path.unlink()
    assert digests(run(mine(), swapped, tmp_path / "shared")) == expected
