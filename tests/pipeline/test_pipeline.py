"""The whole way through the command line, on a random tiny model: twice, changed, from Python, and its outputs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import embedkit
from embedkit.core.dataset import read_dataset
from embedkit.core.stage import Context
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.scoring import score_split
from tests.pipeline.tiny_recipe import write_tiny_recipe


def command(*words, cwd: Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "embedkit", *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) is ok, done.stderr
    return done


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_model, tiny_beir):
    """A folder with the recipe, its store and its run folder, made by one `embedkit run --json`."""
    folder = tmp_path_factory.mktemp("pipeline")
    write_tiny_recipe(folder / "tiny.yaml", model=tiny_model, data=tiny_beir)
    done = command("run", "tiny.yaml", "--json", cwd=folder)
    (folder / "events.jsonl").write_text(done.stdout)
    return folder


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_run_folder_has_every_stage_scores_provenance_and_report(ran):
    out = ran / "runs" / "tiny"
    recipe = embedkit.load_recipe(ran / "tiny.yaml")
    assert {p.name for p in out.iterdir() if p.is_symlink()} == set(recipe.stages)
    scores = json.loads((out / "scores.json").read_text())
    assert list(scores) == ["base", "warm", "first", "second", "plain", "uniform", "soup"]
    assert 0 < scores["soup"]["toy"]["ndcg@10"] < 1
    assert (out / "report" / "index.html").read_text().startswith("<!doctype html>")
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["seeds"]["second"] == 2
    assert provenance["machine"]["cores"] >= 1
    assert all(stage["made"]["peak_memory"] > 0 for stage in provenance["stages"].values())


def test_json_events_tell_every_stage(ran):
    found = events((ran / "events.jsonl").read_text())
    started = [e["stage"] for e in found if e["event"] == "stage_started"]
    assert started == [e["stage"] for e in found if e["event"] == "stage_finished"]
    assert len(started) == len(set(started)) > 14
    assert found[-1]["event"] == "run_finished"


def test_a_second_run_makes_nothing_and_says_so(ran):
    done = command("run", "tiny.yaml", cwd=ran)
    assert "nothing to do" in done.stdout


def test_another_ratio_mines_again_but_encodes_nothing_again(ran):
    words = ("run", "tiny.yaml", "--json", "--until", "mined", "--set", "mined.filters.0.ratio=0.99")
    done = command(*words, "--out", "changed", cwd=ran)
    found = events(done.stdout)
    assert [e["stage"] for e in found if e["event"] == "stage_finished"] == ["mined"]
    assert [e for e in found if e["event"] == "shard_written"] == []


def test_plan_shows_what_is_made_and_what_is_not(ran):
    plan = json.loads(command("plan", "tiny.yaml", "--json", "--set", "second.seed=9", cwd=ran).stdout)
    todo = {step["stage"] for step in plan["steps"] if not step["made"]}
    assert {"second", "uniform", "soup", "scores", "model", "report", "scores/second/toy"} <= todo
    assert not {"base", "toy", "text", "warm", "mined", "first", "taught", "plain"} & todo
    second = next(step for step in plan["steps"] if step["stage"] == "second")
    assert second["steps"] == 6
    assert min(second["rows"], second["tokens"], second["memory_bytes"], second["seconds"]) > 0


def test_the_same_seeds_give_the_same_pairs_and_scores_in_another_store(ran, tmp_path):
    embedkit.run(ran / "tiny.yaml", store=tmp_path / "store", out=tmp_path / "out")
    for table in ("mined/pairs.parquet", "taught/pairs.parquet", "text/pairs.parquet"):
        assert (tmp_path / "out" / table).read_bytes() == (ran / "runs" / "tiny" / table).read_bytes()
    assert (tmp_path / "out" / "scores.json").read_text() == (ran / "runs" / "tiny" / "scores.json").read_text()


def test_the_released_model_is_an_ordinary_folder_that_scores_the_same(ran, tmp_path):
    folder = shutil.copytree(ran / "runs" / "tiny" / "model", tmp_path / "elsewhere")
    (folder / "manifest.json").unlink()
    model = SentenceTransformer(str(folder), device="cpu")
    dataset = read_dataset(ran / "runs" / "tiny" / "toy")
    texts = dataset.corpus.full_texts()
    encoder = open_encoder(folder, Context(work=tmp_path, embeddings=tmp_path / "embeddings"))
    np.testing.assert_allclose(model.encode_document(texts), np.asarray(encoder.documents(texts)), atol=1e-5)
    values = score_split(encoder, dataset, "test")
    mean = sum(v["ndcg@10"] for v in values.values()) / len(values)
    scores = json.loads((ran / "runs" / "tiny" / "scores.json").read_text())
    assert mean == pytest.approx(scores["soup"]["toy"]["ndcg@10"], abs=1e-6)
    assert "library_name: sentence-transformers" in (folder / "README.md").read_text()


def test_store_ls_gc_and_verify(ran):
    listed = json.loads(command("store", "ls", "--json", cwd=ran).stdout)
    assert {e["sort"] for e in listed} >= {"artifact", "embeddings"}
    assert "freed" in command("store", "gc", "--dry-run", cwd=ran).stdout
    assert "all files are what" in command("store", "verify", cwd=ran).stdout


def test_mistakes_exit_with_2_and_no_traceback(ran):
    done = command("run", "tiny.yaml", "--set", "first.steps=none", cwd=ran, ok=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --set first.steps=none: stages.first.steps: ")
    assert "Traceback" not in done.stderr
    (ran / "file").write_text("a file where a folder goes")
    for words in (("--out", "file"), ("--store", "file"), ("--until", "nope"), ("--set", "toy.source.path=absent")):
        done = command("run", "tiny.yaml", *words, cwd=ran, ok=False)
        assert (done.returncode, done.stderr[:7]) == (2, "error: "), done.stderr
        assert "Traceback" not in done.stderr
    assert command("run", ".", cwd=ran, ok=False).stderr == "error: .: cannot read the recipe: Is a directory\n"
    failed = events(command("run", "tiny.yaml", "--json", "--until", "nope", cwd=ran, ok=False).stdout)
    assert failed[-1]["event"] == "error"
    assert command("run", "absent.yaml", cwd=ran, ok=False).returncode == 2
    assert command("run", cwd=ran, ok=False).returncode == 2
    assert command("rnu", cwd=ran, ok=False).returncode == 2


def test_bad_rows_of_the_data_stop_the_run_and_leave_nothing_half_written(ran, tmp_path, tiny_beir):
    data = shutil.copytree(tiny_beir, tmp_path / "data")
    with (data / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d0", "text": "again"}\n{"_id": "x", "text": " "}\n{broken\n')
    setting = f"toy.source.path={data}"
    done = command(
        "run", "tiny.yaml", "--until", "toy", "--set", setting, "--out", str(tmp_path / "out"), cwd=ran, ok=False
    )
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if line.startswith("error: stages.toy: ")]
    assert len(told) == 3
    assert all(f"corpus.jsonl:{n}: " in line for n, line in zip((61, 62, 63), told, strict=True))
    assert list((tmp_path / "out").iterdir()) == []
    words = ("run", "tiny.yaml", "--until", "toy", "--set", setting, "--set", "toy.source.on_bad_row=drop")
    command(*words, "--out", str(tmp_path / "out"), cwd=ran)
    rejects = (tmp_path / "out" / "toy" / "rejects.jsonl").read_text().splitlines()
    assert len(rejects) == 3


def test_init_doctor_diff_and_schema(ran, tmp_path):
    assert "wrote" in command("init", "my-own.yaml", cwd=tmp_path).stdout
    assert "name: my-own" in (tmp_path / "my-own.yaml").read_text()
    assert command("init", "my-own.yaml", cwd=tmp_path, ok=False).returncode == 2
    command("init", "quick.yaml", "--quickstart", cwd=tmp_path)
    assert json.loads(command("plan", "quick.yaml", "--json", cwd=tmp_path).stdout)["recipe"] == "quickstart"
    found = {f["what"]: f for f in json.loads(command("doctor", "--json", cwd=tmp_path).stdout)}
    assert found["FAISS"]["fine"] is True
    assert "free disk" in found
    command("run", "tiny.yaml", "--until", "warm", "--set", "warm.seed=5", "--out", "other", cwd=ran)
    told = command("diff", "runs/tiny", "other", cwd=ran).stdout
    assert "warm: seed: 1 -> 5" in told


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(ran, tmp_path):
    import signal
    import time

    words = [sys.executable, "-m", "embedkit", "run", "tiny.yaml", "--store", str(tmp_path / "s"), "--json"]
    process = subprocess.Popen(
        [*words, "--out", str(tmp_path / "o")], cwd=ran, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == "checkpoint_saved":
            break
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 60
    _, stderr = process.communicate(timeout=deadline - time.monotonic())
    assert process.returncode == 130
    assert stderr.strip().endswith("stopped; the same command goes on where it was")
    assert "Traceback" not in stderr
    done = command(
        "run", "tiny.yaml", "--until", "warm", "--store", str(tmp_path / "s"), "--out", str(tmp_path / "o"), cwd=ran
    )
    assert "done  warm" in done.stderr
