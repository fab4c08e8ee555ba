"""Official tasks as tests of the mirror know them, without asking mteb, and files for them."""

import json
from pathlib import Path

from embedkit.evaluation.mirror.facts import TaskFacts

COMMIT = "d56462d0e63a25450459c4f213e49ffdb866f7f9"
SCIFACT = TaskFacts("SciFact", "Retrieval", "mteb/scifact", COMMIT, "2.26.0", ("test",))
PAIRS = {"sentence1": "text", "sentence2": "text"}
STS = TaskFacts("STS13", "STS", "mteb/sts13-sts", COMMIT, "2.26.0", ("test",), columns={**PAIRS, "score": "number"})
CLASSES = TaskFacts(
    "Banking77Classification",
    "Classification",
    "mteb/banking77",
    COMMIT,
    "2.26.0",
    ("train", "test"),
    columns={"text": "text", "label": "class"},
)


def write_sts(folder: Path, rows: int = 12, *, split: str = "test") -> Path:
    """`<split>.csv` of made-up pairs with scores from 0 to 5, one text of two lines among them."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = ["list file", "copy\nfolder", "move table", "sort page", "print user", "open disk"]
    lines = [f'"{texts[i % 6]}","{texts[i * 5 % 6]} host",{i % 6 * 0.5}' for i in range(rows)]
    (folder / f"{split}.csv").write_text("\n".join(["sentence1,sentence2,score", *lines]) + "\n")
    return folder


def hub_repository(folder: Path) -> Path:
    """What a download of a hub repository may bring: tables and a card, and what must not be kept."""
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\nconfigs:\n- {config_name: default, data_files: data/*.jsonl}\n---\n")
    (folder / "data" / "test.jsonl").write_text(json.dumps({"sentence1": "a", "sentence2": "b", "score": 1.0}) + "\n")
    (folder / "scifact.py").write_text("raise SystemExit('a script ran')\n")
    (folder / "data" / "old.pkl").write_bytes(b"cos\nsystem\n")
    (folder / ".gitattributes").write_text("*.bin\n")
    return folder
