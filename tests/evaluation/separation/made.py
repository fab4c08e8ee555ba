"""A finished run with results, as stages leave them."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embedkit.core.spec import digest
from embedkit.core.store import Store
from tests.measures.scored import draw

NOT_RANKED = ("sts",)


def write_run(root: Path) -> Path:
    """A run folder: base on two tasks, of which one ranks documents, and soup on that one."""
    store, out = Store(root / "store"), root / "run"
    parts = {"base/tldr": 1.5, "base/sts": 0.0, "soup/tldr": 2.5}
    inputs = {f"parts.{name}": _result(store, name, gap) for name, gap in parts.items()}
    inputs["models.0"] = digest("base")

    def make(draft: Path, state: Path) -> dict[str, int]:
        (draft / "scores.json").write_text(json.dumps({"models": []}))
        return {}

    scores = store.get_or_make(digest("scores"), make, about=_about("evaluate", "scores", inputs))
    out.mkdir()
    (out / "scores").symlink_to(scores.path)
    stages = {"base": {"kind": "pretrained"}, "scores": {"kind": "evaluate", "key": scores.key}}
    (out / "provenance.json").write_text(json.dumps({"stages": stages}))
    return out


def _result(store: Store, name: str, gap: float) -> str:
    task = name.partition("/")[2]

    def make(draft: Path, state: Path) -> dict[str, int]:
        (draft / "result.json").write_text(json.dumps({"task": task}))
        if task not in NOT_RANKED:
            write_tables(draft, gap=gap)
        return {}

    return store.get_or_make(digest(name), make, about=_about("evaluate_one", "task_scores", {})).key


def write_tables(folder: Path, **options: float) -> None:
    """The run and the judged pairs of a result."""
    codes, scores, relevant = draw(40, 20, **options)
    rows = {
        "part": [""] * len(codes),
        "query_id": [f"q{q}" for q in codes],
        "doc_id": [f"d{i}" for i in range(len(codes))],
    }
    table = pa.table(rows | {"score": (scores / 10).astype("float32"), "relevance": relevant.astype("int32")})
    pq.write_table(table.drop(["relevance"]), folder / "run.parquet")
    pq.write_table(table.filter(pa.array(relevant)), folder / "judged.parquet")


def _about(kind: str, type_: str, inputs: dict[str, str]) -> dict[str, object]:
    return {"kind": kind, "type": type_, "spec": {"spec": {}}, "inputs": inputs}
