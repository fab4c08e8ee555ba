"""What pairs may bring along reaches the losses that need it, from files to the trained model."""

import json
import math
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from embedkit.core.errors import DataError
from embedkit.core.estimate import Size
from embedkit.core.pairs import read_pairs, write_pairs
from embedkit.core.spec import Reference, identity, marked
from embedkit.core.stage import Artifact, Context
from embedkit.core.stats import read_stats
from embedkit.core.store import digests
from embedkit.data.stage import Data
from embedkit.losses import Batch, Guided, InfoNCE, Loss, MarginMSE, Pearson, SoftLabelInfoNCE
from embedkit.mining.filters import PercentOfPositive
from embedkit.mining.stage import Mine
from embedkit.mining.teach import Teach
from embedkit.mining.teacher import BM25
from embedkit.recipe import AnyStage
from embedkit.training.mixing import Sizes, apportion
from embedkit.training.sources import Source
from embedkit.training.stage import Train
from tests.tiny import WORDS, build_tiny_beir, write_jsonl
from tests.training.runs import TRAIN, run, scored_pairs

SEEN: list[Batch] = []


class Witness(Loss):
    """InfoNCE that keeps every batch it is given."""

    kind: Literal["witness"] = "witness"
    wants: tuple[str, ...] = ()
    tiled: ClassVar[bool] = False

    @property
    def needs(self):
        return frozenset(self.wants)

    def compute(self, batch: Batch):
        SEEN.append(batch)
        return InfoNCE()(batch)


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


def train(**fields) -> Train:
    return TRAIN.model_copy(update={"steps": 5, **fields})


def made(stage, folder, **inputs):
    """The artifact of a data or mining stage."""
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    artifacts = {name: Artifact(name[0] * 64, path) for name, path in inputs.items()}
    stage.run(artifacts, folder / "out", Context(work=folder / "work", embeddings=folder / "embeddings"))
    return folder / "out"


@pytest.fixture(scope="module")
def sts(tmp_path_factory):
    """Pairs of two-word texts, scored by how many words they share."""
    folder = tmp_path_factory.mktemp("sts")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(120):
        words = rng.choice(WORDS, 4, replace=False)
        one, two = words[:2], words[2 - i % 3 : 4 - i % 3]  # with 0, 1 or 2 words in common
        rows.append({"sentence1": " ".join(one), "sentence2": " ".join(two), "score": 2.5 * (i % 3)})
    write_jsonl(folder / "train.jsonl", rows)
    columns = {"query": "sentence1", "positive": "sentence2", "score": "score"}
    source = {"kind": "jsonl", "path": folder / "train.jsonl", "columns": columns}
    return made(Data.model_validate({"source": source, "near_duplicates": None}), folder / "data")


def test_gold_scores_from_a_file_train_a_correlation(tiny_model, sts, tmp_path):
    out = run(train(loss=Pearson(), steps=40, negatives=None), tiny_model, sts, tmp_path)
    stats = read_stats(out)
    losses = [entry["loss"] for entry in stats["history"]]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert stats["counts"]["negatives_per_query"] == 0
    with pytest.raises(DataError, match="rows without negatives"):
        run(train(loss=MarginMSE()), tiny_model, sts, tmp_path / "other")


@pytest.fixture(scope="module")
def mined(tiny_dataset, tiny_model, tmp_path_factory):
    stage = Mine(data="data", model="model", negatives=3, top_k=20, filters=(PercentOfPositive(ratio=0.98),))
    return made(stage, tmp_path_factory.mktemp("mined"), data=tiny_dataset.path, model=tiny_model)


def test_suspects_are_negatives_of_nobody(tiny_model, mined, tmp_path):
    rows = {row.query_id: row for row in read_pairs(mined).rows}
    assert sum(len(row.suspects) for row in rows.values()) > 50
    run(train(loss=Witness()), tiny_model, mined, tmp_path)
    pairs = sum(len(batch.suspects) for batch in SEEN)
    left_out = sum(len(batch.excluded.values) - len(batch.relevant.values) for batch in SEEN)
    assert pairs > left_out > 0
    bare = read_pairs(mined)
    (tmp_path / "bare").mkdir()
    write_pairs(tmp_path / "bare", replace(bare, rows=[replace(row, suspects=()) for row in bare.rows]))
    with_, without = (run(TRAIN, tiny_model, path, tmp_path / path.name) for path in (mined, tmp_path / "bare"))
    assert digests(with_)["model.safetensors"] != digests(without)["model.safetensors"]


def test_what_the_teacher_scored_beyond_the_batch_reaches_the_loss(tiny_model, mined, tiny_dataset, tmp_path):
    teach = Teach(pairs="mined", data="data", student="model", teachers=(BM25(),), if_not_better="warn")
    taught = made(teach, tmp_path / "teach", mined=mined, data=tiny_dataset.path, model=tiny_model)
    run(train(loss=Witness(wants=("targets", "taught")), negatives=1), tiny_model, taught, tmp_path / "seen")
    rows = {row.query_id: row for row in read_pairs(taught).rows}
    assert all(batch.taught is not None for batch in SEEN)
    assert sum(len(batch.taught.rows) for batch in SEEN) > 0
    for batch in SEEN:
        rows, columns, _ = batch.present(batch.taught.rows, batch.taught.doc_ids)
        own = set(zip(batch.own.rows.tolist(), batch.own.values.tolist(), strict=True))
        assert not own & set(zip(rows.tolist(), columns.tolist(), strict=True))
    soft = SoftLabelInfoNCE(in_batch_targets=True)
    losses = [
        e["loss"] for e in read_stats(run(train(loss=soft, negatives=1), tiny_model, taught, tmp_path))["history"]
    ]
    assert np.isfinite(losses).all()


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """The tiny data set, whose queries are of four classes."""
    folder = tmp_path_factory.mktemp("classified")
    path = build_tiny_beir(folder / "beir") / "queries.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_jsonl(path, [{**row, "topic": i // 2 % 4} for i, row in enumerate(rows)])
    source = {"kind": "beir", "path": folder / "beir", "class_field": "topic"}
    return made(Data.model_validate({"source": source}), folder)


def test_classes_from_a_file_mask_texts_of_the_same_class(tiny_model, classified, tiny_dataset, tmp_path):
    run(train(loss=Witness(wants=("classes",))), tiny_model, classified, tmp_path / "seen")
    for batch in SEEN:
        assert set(batch.query_classes.tolist()) <= {0, 1, 2, 3}
        rows, columns = batch.entries
        assert batch.doc_classes[columns].tolist() == batch.query_classes[rows].tolist()  # a positive is of its query's
    masked = run(train(loss=InfoNCE(mask_classes=True)), tiny_model, classified, tmp_path / "masked")
    plain = run(train(loss=InfoNCE()), tiny_model, classified, tmp_path / "plain")
    losses = [read_stats(out)["history"][0]["loss"] for out in (masked, plain)]
    assert losses[0] < losses[1]
    with pytest.raises(DataError, match="no query has a class"):
        run(train(loss=InfoNCE(mask_classes=True)), tiny_model, tiny_dataset.path, tmp_path / "none")


def test_a_guide_embeds_what_is_trained_on_once(tiny_model, other_tiny_model, mined, tmp_path):
    from sentence_transformers import SentenceTransformer

    stage = train(loss=Witness(wants=("guide",)), guide="guide")
    events = []
    run(stage, tiny_model, mined, tmp_path, lambda name, facts: events.append((name, facts)), guide=other_tiny_model)
    names = [name for name, _ in events]
    assert "shard_written" in names
    assert "shard_written" not in names[names.index("step") :]
    guide, pairs = SentenceTransformer(str(other_tiny_model), device="cpu"), read_pairs(mined)
    texts = list(dict.fromkeys(pairs.document_texts().values()))
    for batch in SEEN[:3]:
        expected = guide.encode([texts[i] for i in batch.doc_ids.tolist()])
        np.testing.assert_allclose(batch.guide.documents.numpy(), expected, atol=1e-4)
    guided = train(loss=Guided(loss=InfoNCE()), guide="guide")
    one, two = (run(guided, tiny_model, mined, tmp_path / name, guide=other_tiny_model) for name in ("one", "two"))
    assert digests(one) == digests(two)
    with pytest.raises(DataError, match="loss guided needs a guide"):
        run(train(loss=Guided(loss=InfoNCE())), tiny_model, mined, tmp_path / "none")


GUIDED = {"kind": "guided", "loss": {"kind": "infonce"}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"loss": GUIDED}, "loss guided needs a guide: the name of a model stage"),
        ({"sources": [{"pairs": "p", "loss": GUIDED}]}, "loss guided needs a guide"),
        ({"guide": "g"}, "has a guide, 'g', that no loss uses"),
        ({"sources": [{"pairs": "p", "share": 0}]}, "greater than 0"),
        ({"sources": [{"pairs": "p", "loss": {"kind": "margin_mse"}, "negatives": 0}]}, "negatives must not be 0"),
        ({"group": "g"}, "has the group 'g', which mixing shares does not look at"),
        ({"mixing": {"kind": "sizes", "groups": {"g": 0.7}}}, "gives the group 'g' steps, but no source is of it"),
        ({"sources": [{"pairs": "p", "batch_size": 1}]}, "greater than or equal to 2"),
        ({"vary_negatives": True}, "vary_negatives changes nothing where all are shown; set negatives to how many"),
        ({"sources": [{"pairs": "p", "negatives": 0, "vary_negatives": True}]}, "changes nothing where none is shown"),
        ({"tile_rows": 0}, "greater than 0"),
        ({"tile_rows": "all"}, "tile_rows"),
    ],
)
def test_mistakes_in_the_spec(fields, message):
    with pytest.raises(ValidationError, match=message):
        Train.model_validate({"model": "m", "pairs": "p", **fields})


def test_a_guide_and_further_pairs_enter_the_key_and_tile_rows_do_not():
    fields = {"model": "m", "pairs": "p", "loss": GUIDED, "guide": "g", "sources": ({"pairs": "q"},)}
    stage = Train.model_validate(fields)
    assert {name for _, name, _ in marked(stage, Reference)} == {"m", "p", "g", "q"}
    keys = {"m": "1", "p": "2", "g": "3", "q": "4"}
    same = stage.model_copy(update={"tile_rows": 8})
    assert identity(stage, keys=keys, digests={}) == identity(same, keys=keys, digests={})
    for changed in ({**keys, "g": "5"}, {**keys, "q": "5"}):
        assert identity(stage, keys=changed, digests={}) != identity(stage, keys=keys, digests={})


STAGES = TypeAdapter(AnyStage)
SCORED = {"kind": "jsonl", "path": "sts.jsonl", "columns": {"score": "score"}}


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"pairs": "taught", "loss": {"kind": "margin_mse"}}, []),
        ({"pairs": "sts", "loss": {"kind": "pearson"}}, []),
        ({"pairs": "plain", "loss": {"kind": "pearson"}}, [("pairs",)]),
        ({"pairs": "sts"}, [("pairs",)]),
        ({"pairs": "taught"}, []),
        ({"pairs": "plain", "sources": [{"pairs": "sts"}, {"pairs": "taught"}]}, [("sources", 0, "pairs")]),
        ({"pairs": "not there", "loss": {"kind": "pearson"}}, []),
    ],
)
def test_losses_and_pairs_that_do_not_go_together(fields, places):
    stages = {
        "sts": STAGES.validate_python({"kind": "data", "source": SCORED}),
        "plain": STAGES.validate_python({"kind": "data", "source": {"kind": "jsonl", "path": "pairs.jsonl"}}),
        "taught": Teach(pairs="plain", data="plain", student="m", teachers=(BM25(),)),
    }
    stage = Train.model_validate({"model": "m", **fields})
    assert [problem.where for problem in stage.conflicts(stages)] == places


@pytest.fixture(scope="module")
def pairs(tiny_dataset, tmp_path_factory):
    return scored_pairs(tiny_dataset.path, tmp_path_factory.mktemp("pairs"))


BOTH = TRAIN.model_copy(update={"sources": (Source(pairs="sts", loss=Pearson(), share=0.5),), "steps": 15})


def test_sources_take_turns_each_with_its_loss(tiny_model, pairs, sts, tmp_path):
    stats = read_stats(run(BOTH, tiny_model, pairs, tmp_path, sts=sts))
    numbers = [entry["source"] for entry in stats["history"]]
    assert [numbers.count(i) for i in (0, 1)] == [10, 5]
    assert [entry["step"] for entry in stats["history"]] == list(range(1, 16))
    assert [(s["loss"]["kind"], s["share"], s["counts"]["steps"]) for s in stats["sources"]] == [
        ("infonce", 10 / 15, 10),
        ("pearson", 5 / 15, 5),
    ]
    assert [s["counts"]["negatives_per_query"] for s in stats["sources"]] == [2.0, 0]
    rows = [len(read_pairs(path).rows) for path in (pairs, sts)]
    assert stats["counts"] == {"steps": 15, "rows": sum(rows), "rows_seen": 15 * 16}
    assert stats["summary"][0].startswith(f"source 0 (infonce): 10 steps over 160 of {rows[0]} rows, loss ")
    assert stats["summary"][1].startswith(f"source 1 (pearson): 5 steps over 80 of {rows[1]} rows, loss ")


def test_epochs_are_passes_over_the_stages_own_pairs(tiny_model, pairs, sts, tmp_path):
    stage = BOTH.model_copy(update={"steps": None, "epochs": 1.0})
    counts = [s["counts"]["steps"] for s in read_stats(run(stage, tiny_model, pairs, tmp_path, sts=sts))["sources"]]
    assert counts == [4, 2]  # 72 rows in batches of 16


def test_steps_by_sizes_and_a_batch_size_of_its_own(tiny_model, pairs, sts, tmp_path):
    other = Source(pairs="sts", loss=Pearson(), batch_size=6)
    stage = BOTH.model_copy(update={"sources": (other,), "mixing": Sizes(power=1.0), "steps": None, "epochs": 2.0})
    stats = read_stats(run(stage, tiny_model, pairs, tmp_path, sts=sts))
    rows = [len(read_pairs(path).rows) for path in (pairs, sts)]
    steps = math.floor(2 * rows[0] / 16 * sum(rows) / rows[0])
    counts = [source["counts"] for source in stats["sources"]]
    assert [count["steps"] for count in counts] == apportion(rows, steps)
    assert [count["rows_seen"] for count in counts] == [counts[0]["steps"] * 16, counts[1]["steps"] * 6]


def test_each_source_has_an_order_of_its_own(tiny_model, pairs, tmp_path):
    witness = Witness()
    again = Source.model_construct(pairs="pairs", loss=witness, share=1.0)
    run(train(loss=witness, sources=(again,), steps=4), tiny_model, pairs, tmp_path)
    queries = [tuple(batch.query_ids.tolist()) for batch in SEEN]
    assert len(set(queries)) == 4
    assert len({batch.seed for batch in SEEN}) == 4


def test_a_share_without_a_step_is_an_error(tiny_model, pairs, sts, tmp_path):
    with pytest.raises(DataError, match=r"number 1 .* is no step of 3"):
        run(BOTH.model_copy(update={"steps": 3, "sources": (Source(pairs="sts", share=0.01),)}), tiny_model, pairs,
            tmp_path, sts=sts)  # fmt: skip


class Stopped(BaseException):
    """Ends a training at once."""


def test_training_on_sources_goes_on_after_an_interruption(tiny_model, pairs, sts, tmp_path):
    def stopping(name, facts):
        if name == "step" and facts["step"] == 11:
            raise Stopped

    whole = run(BOTH, tiny_model, pairs, tmp_path / "whole", sts=sts)
    with pytest.raises(Stopped):
        run(BOTH, tiny_model, pairs, tmp_path / "cut", stopping, sts=sts)
    (tmp_path / "cut" / "out").rename(tmp_path / "cut" / "left")
    steps = []
    resumed = run(BOTH, tiny_model, pairs, tmp_path / "cut", lambda name, _: steps.append(name), sts=sts)
    assert steps.count("step") == 6
    assert digests(whole) == digests(resumed)


def test_tiles_change_nothing_but_rounding(tiny_model, pairs, tmp_path):
    stages = [TRAIN.model_copy(update={"tile_rows": rows, "steps": 3}) for rows in (None, 5, "auto")]
    outs = [run(stage, tiny_model, pairs, tmp_path / str(i)) for i, stage in enumerate(stages)]
    whole, tiled, auto = ([entry["loss"] for entry in read_stats(out)["history"]] for out in outs)
    assert tiled == pytest.approx(whole, rel=1e-4)
    assert auto == whole


def test_the_estimate_sums_sources_and_the_guide():
    sizes = {
        "m": Size(parameters=1000, active_parameters=800, dimensions=8, max_tokens=20),
        "g": Size(parameters=3000, active_parameters=2000, dimensions=8, max_tokens=30),
        "p": Size(pairs=100, documents=500, query_tokens=10, document_tokens=50, documents_per_pair=3),
        "q": Size(pairs=50, documents=50, query_tokens=10, document_tokens=10, documents_per_pair=1),
    }
    fields = {"model": "m", "pairs": "p", "epochs": 1, "batch_size": 10, "sources": ({"pairs": "q", "share": 0.5},)}
    both = Train.model_validate(fields).estimate(sizes)
    alone = Train.model_validate({**fields, "sources": ()}).estimate(sizes)
    assert (alone.steps, both.steps, both.rows) == (10, 15, 150)
    assert both.tokens == alone.tokens + 5 * 10 * (10 + 10)
    assert both.memory == alone.memory
    guided = Train.model_validate({**fields, "loss": GUIDED, "guide": "g"}).estimate(sizes)
    assert guided.flops == both.flops + 2 * 2000 * (100 * 10 + 300 * 30)


def test_training_on_several_sources_prints_nothing(tiny_model, pairs, sts, tmp_path, capfd):
    run(BOTH.model_copy(update={"steps": 3}), tiny_model, pairs, tmp_path, sts=sts)
    assert capfd.readouterr() == ("", "")
