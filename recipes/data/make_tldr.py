"""Makes `tldr/`: a small, honest subset of a tldr-pages retrieval set in BEIR layout. A pure function of its input.

    python recipes/data/make_tldr.py --data FOLDER [--out recipes/data/tldr]

FOLDER is the full set: natural-language descriptions of what one wants to do -> the page of the command that does it,
split by command family (the word before the first '-': all `git-...` pages are one family). Families are taken in the
order of a hash until a split has enough queries, at most twelve pages of each, so that pages of neighbouring commands
stay together: they are what makes retrieval hard, and mined negatives false.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

# split -> queries wanted, at most so many of a page, pages with at least so many
WANTED = {"test": (350, 2, 1), "dev": (180, 2, 1), "train": (1600, 3, 2)}
PAGES_A_FAMILY = 12
LEFT_OUT = {"common/pip-index"}  # mostly addresses


def main() -> None:
    """Read the full set, write the subset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the full set, a BEIR folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "tldr")
    args = parser.parse_args()
    splits = {split: choose(args.data / "qrels" / f"{split}.tsv", split) for split in WANTED}
    pages = {page for pairs in splits.values() for _, page in pairs}
    queries = {query for pairs in splits.values() for query, _ in pairs}
    (args.out / "qrels").mkdir(parents=True, exist_ok=True)
    write(args.out / "corpus.jsonl", (row for row in rows(args.data / "corpus.jsonl") if row["_id"] in pages))
    write(args.out / "queries.jsonl", (row for row in rows(args.data / "queries.jsonl") if row["_id"] in queries))
    for split, pairs in splits.items():
        lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{page}\t1" for query, page in pairs)]
        (args.out / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def choose(path: Path, split: str) -> list[tuple[str, str]]:
    """(query, page) pairs of one split."""
    wanted, most, least = WANTED[split]
    queries: dict[str, list[str]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, page, _ = line.split("\t")
        if page not in LEFT_OUT:
            queries[page].append(query)
    families: dict[str, list[str]] = defaultdict(list)
    for page, found in queries.items():
        if len(found) >= least:
            families[page.split("/", 1)[1].split("-")[0]].append(page)
    chosen: list[tuple[str, str]] = []
    for family in sorted(families, key=lambda name: order(f"{split}|{name}")):
        for page in sorted(families[family], key=order)[:PAGES_A_FAMILY]:
            if len(chosen) < wanted:
                chosen += [(query, page) for query in sorted(queries[page], key=order)[:most]]
    return sorted(chosen, key=lambda pair: (pair[1], pair[0]))


def order(text: str) -> str:
    """A place in an order that has nothing to do with the text."""
    return sha256(f"embedkit-quickstart|{text}".encode()).hexdigest()


def rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a JSONL file."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def write(path: Path, found: Iterator[dict[str, str]]) -> None:
    """Write rows as JSONL."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), encoding="utf-8")


if __name__ == "__main__":
    main()
