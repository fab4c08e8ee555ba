"""The command `embedkit mirror`: from the hub, from files at hand, checked, and mistakes in one line."""

import shutil
import sys

import pytest
import typer

from embedkit.cli.mirror import mirror
from embedkit.core.errors import EmbedkitError
from embedkit.evaluation.mirror.manifest import read_manifest
from tests.evaluation.mirror.facts import write_sts
from tests.tiny import write_jsonl


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs the command in a folder of its own; exit code, output, notes and errors as lines."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(mirror)

    def run(*words: object) -> tuple[int, list[str], list[str]]:
        monkeypatch.setattr(sys, "argv", ["mirror", *map(str, words)])
        try:
            code, problems = app(standalone_mode=False), ()
        except EmbedkitError as error:
            code, problems = 2, error.problems
        out, err = capsys.readouterr()
        return code or 0, out.splitlines(), [*err.splitlines(), *problems]

    return run


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub of one repository, that of STS13; what is asked of it."""
    rows = [{"sentence1": f"list {i}", "sentence2": "copy file", "score": i / 2} for i in range(8)]
    (tmp_path / "hub").mkdir()
    write_jsonl(tmp_path / "hub" / "test.jsonl", rows)
    asked = []

    def download(*, repo_id, revision, local_dir, **_):
        asked.append((repo_id, revision))
        if repo_id != "mteb/sts13-sts":
            raise ConnectionError(f"{repo_id} is down")
        shutil.copytree(tmp_path / "hub", local_dir, dirs_exist_ok=True)

    monkeypatch.setattr("embedkit.evaluation.mirror.from_hub.snapshot_download", download)
    return asked


def test_tasks_are_copied_from_the_hub_and_one_that_fails_keeps_none_from_it(command, hub, tmp_path):
    code, said, problems = command("STS12", "STS13", "STS13", "--to", "mirror")
    found = read_manifest(tmp_path / "mirror" / "STS13")
    assert code == 2
    assert said == [f"STS13: mteb/sts13-sts at {found.revision}, 1 files"]
    assert next(line for line in problems if "STS12" in line).endswith("from the hub: mteb/sts12-sts is down")
    assert len(hub) == 2
    assert "note: STS13: split 'test' has 8 samples, the official one 1,500" in problems
    code, said, problems = command("STS13", "--to", "mirror")
    assert (code, problems, len(hub)) == (0, [], 2)


def test_a_suites_official_tasks_are_copied(command, hub, tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\ntasks:\n  sts: {kind: mteb, name: STS13}\n")
    assert command("mine.yaml", "--to", "mirror")[0] == 0
    assert [repository for repository, _ in hub] == ["mteb/sts13-sts"]
    (tmp_path / "local.yaml").write_text("name: local\ntasks:\n  sts: {kind: sts, path: test.csv}\n")
    assert command("local.yaml", "--to", "mirror")[2] == [
        "local.yaml: this suite has no official tasks; there is nothing to mirror"
    ]


def test_a_beir_folder_stands_in_for_a_retrieval_task(command, tiny_beir, tmp_path):
    code, said, notes = command("--from-beir", tiny_beir, "--task", "SciFact", "--to", "mirror")
    found = read_manifest(tmp_path / "mirror" / "SciFact")
    assert (code, said) == (0, [f"SciFact: files for mteb/scifact at {found.revision}, 6 files"])
    assert found.revision.startswith("beir-")
    assert "note: SciFact: split 'test' has 60 documents, the official one 5,183" in notes


def test_tables_stand_in_for_another_task(command, tmp_path):
    write_sts(write_sts(tmp_path / "sts", 4, split="dev"), 6)
    words = ["--from-tables", "sts", "--task", "STS13", "--to", "mirror", "--split", "test=dev+test"]
    assert command(*words, "--columns", "sentence1=left")[2][-1].startswith("sts/dev.csv: has no column 'left'")
    code, _, notes = command(*words, "--columns", "sentence1=sentence2", "--columns", "sentence2=sentence1")
    assert code == 0
    assert notes[-1] == "note: STS13: split 'test' has 10 samples, the official one 1,500"


def test_a_task_is_opened_once_unless_told_not_to(command, hub, tmp_path):
    (tmp_path / "hub" / "test.jsonl").write_text('{"sentence1": ["not", {"json')
    code, _, problems = command("STS13", "--to", "mirror")
    assert code == 2
    assert problems[-1].startswith("STS13: mteb's class cannot read mirror/.drafts/")
    assert not (tmp_path / "mirror" / "STS13").exists()
    assert command("STS13", "--to", "mirror", "--no-check")[0] == 0
    assert (tmp_path / "mirror" / "STS13").exists()


def test_verify_tells_what_is_not_as_it_was(command, tmp_path):
    write_sts(tmp_path / "sts")
    command("--from-tables", "sts", "--task", "STS13", "--to", "mirror")
    assert command("--verify", "mirror") == (0, ["1 tasks, all as they were made"], [])
    (tmp_path / "mirror" / "STS13" / "data" / "README.md").unlink()
    code, said, _ = command("--verify", "mirror")
    assert code == 1
    assert said[0].startswith("mirror/STS13/data/README.md: missing since the mirror was made. Delete mirror/STS13 and")
    assert command("--verify", "sts") == (2, [], ["sts: is no mirror: no folder in it has a manifest.json"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["STS13"], "mirror needs --to DIR and one of: names of tasks, --from-beir DIR, --from-tables DIR"),
        (["STS13", "--from-beir", "x", "--to", "m"], "mirror needs --to DIR and one of"),
        (["--from-beir", "x", "--to", "m"], "--task goes with --from-beir and --from-tables"),
        (["STS13", "--task", "STS13", "--to", "m"], "--task goes with --from-beir and --from-tables"),
        (["STS13", "--to", "m", "--split", "test=dev"], "--columns goes with --from-tables, --split with that or"),
        (
            ["--from-beir", "x", "--task", "SciFact", "--to", "m", "--columns", "a=b"],
            "--columns goes with --from-tables",
        ),
        (["SciFcat", "--to", "m"], "'SciFcat': no task, benchmark or suite has this name"),
        (["none.yaml", "--to", "m"], "none.yaml: cannot read the suite"),
        (["--from-tables", "x", "--task", "STS13", "--to", "m", "--split", "test"], "--split test: expected OFFICIAL="),
    ],
)
def test_mistakes_are_one_line(command, words, said):
    code, out, problems = command(*words)
    assert (code, out) == (2, [])
    assert [line[: len(said)] for line in problems] == [said]
