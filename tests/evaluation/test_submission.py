"""Files for the leaderboard, loaded by mteb itself."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from embedkit.core.errors import ArtifactError, DataError, RecipeError
from embedkit.core.store import digests
from embedkit.evaluation import published
from embedkit.evaluation.containment import contained
from embedkit.evaluation.origin import About
from embedkit.evaluation.submission import write

with contained():
    import mteb
    from mteb.cache import ResultCache
    from mteb.models import ModelMeta
    from mteb.results import TaskResult

    from embedkit.evaluation.meta import model_meta, training_tasks

NAME, REVISION = "house/retriever", "0123abcd"
SCORES = {"SciFact": 0.645082, "STS12": 0.7237, "STS22.v2": 0.6}


def task_scores(folder, task: str, score: float, *, subsets=None, revision=None, **more):
    """A task_scores folder as the harness leaves it, with mteb's own result inside."""
    with contained():
        about = mteb.get_task(task)
    parts = {s: {"main_score": score, about.metadata.main_score: score, **more} for s in subsets or about.hf_subsets}
    result = TaskResult.from_task_results(about, {about.eval_splits[0]: parts}, evaluation_time=1.0).to_dict()
    result["dataset_revision"] = revision or result["dataset_revision"]
    for volatile in ("evaluation_time", "date", "evaluation_phases", "kg_co2_emissions"):
        result.pop(volatile)
    found = {"task": task, "revision": revision or about.metadata.revision, "official": result, "parts": []}
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(found))
    return folder


@pytest.fixture
def results(tmp_path):
    return {task: task_scores(tmp_path / task, task, score) for task, score in SCORES.items()}


def test_mteb_loads_what_was_written(results, tiny_model, tmp_path):
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    assert sorted(found.written) == sorted(SCORES)
    assert found.folder == tmp_path / "to" / "results" / "house__retriever" / REVISION
    with contained():
        cache = ResultCache(tmp_path / "to")
        one = cache.load_task_result("SciFact", NAME, REVISION)
        every = cache.load_results(models=[NAME], tasks=list(SCORES), validate_and_filter=True)
    assert one.get_score() == SCORES["SciFact"]
    assert one.dataset_revision == mteb.get_task("SciFact").metadata.revision
    (model,) = every.model_results
    assert (model.model_name, model.model_revision) == (NAME, REVISION)
    assert {r.task_name: pytest.approx(r.get_score()) for r in model.task_results} == SCORES


def test_mteb_would_submit_all_of_it(results, tiny_model, tmp_path):
    write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    cache = ResultCache(tmp_path / "to")
    (meta,) = cache._normalize_models(None)
    assert (meta.name, meta.revision) == (NAME, REVISION)
    paths = cache._get_unsubmitted_results([meta])[meta]
    assert {path.stem for path in paths} == set(SCORES)


def test_the_deprecated_reader_loads_it_too(results, tiny_model, tmp_path, monkeypatch):
    write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "to"))
    with contained(), pytest.warns(DeprecationWarning, match="load_results"):
        found = mteb.load_results(download_latest=False)
    assert {r.task_name for r in found.model_results[0].task_results} == set(SCORES)


def test_the_model_meta_tells_what_is_known(tiny_model):
    about = About("mit", ("en", "deu-Latn"), True, "org/base", ("mteb/scifact", "my/own"), citation="@misc{a}")
    meta = model_meta(tiny_model, about, name=NAME, revision=REVISION)
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(tiny_model), device="cpu")
    assert meta.n_parameters == sum(p.numel() for p in model.parameters())
    assert (meta.embed_dim, meta.max_tokens) == (model.get_embedding_dimension(), model.max_seq_length)
    assert (meta.license, meta.open_weights, meta.adapted_from) == ("mit", True, "org/base")
    assert meta.languages == ["deu-Latn", "eng-Latn"]
    assert {"SciFact", "my/own"} <= meta.training_datasets
    assert meta.similarity_fn_name.value == "cosine"
    assert meta.loader is None
    assert meta.memory_usage_mb == round(meta.n_parameters * 4 / 2**20)


def test_the_file_of_the_model_meta_is_one(results, tiny_model, tmp_path):
    about = About(license="apache-2.0", trained_on=("SciFact", "NFCorpus"))
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION, about=about)
    text = (found.folder / "model_meta.json").read_text()
    meta = ModelMeta.model_validate({k: v for k, v in json.loads(text).items() if k != "is_cross_encoder"})
    assert (meta.name, meta.license, meta.training_datasets) == (NAME, "apache-2.0", {"NFCorpus", "SciFact"})


def test_training_data_is_named_as_mteb_names_it():
    assert training_tasks(["SciFact", "unknown"]) == {"SciFact", "unknown"}
    assert "SciFact" in training_tasks(["mteb/SciFact"])


@pytest.mark.parametrize(
    ("about", "told"),
    [
        (About(license="my own"), "license is 'my own', which mteb refuses"),
        (About(languages=("klingon",)), "language 'klingon' is unknown"),
    ],
)
def test_what_mteb_would_refuse_is_told(tiny_model, about, told):
    with pytest.raises(RecipeError, match=told):
        model_meta(tiny_model, about, name=NAME, revision=REVISION)


def test_what_is_not_official_is_left_out_and_told(results, tiny_model, tmp_path):
    results["SciFact"] = task_scores(tmp_path / "beir", "SciFact", 0.6, revision="beir-1234")
    results["ours"] = task_scores(tmp_path / "ours", "STS13", 0.6)
    facts = json.loads((results["ours"] / "result.json").read_text())
    (results["ours"] / "result.json").write_text(json.dumps({**facts, "task": "LocalRetrieval"}))
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    assert sorted(found.written) == ["STS12", "STS22.v2"]
    assert found.left_out["SciFact"].startswith("its data is of revision 'beir-1234'; the official one is")
    assert found.left_out["ours"] == "no task of mteb's has this name"
    assert not (found.folder / "SciFact.json").exists()


def test_nothing_official_is_an_error_and_leaves_no_folder(tiny_model, tmp_path):
    only = {"SciFact": task_scores(tmp_path / "beir", "SciFact", 0.6, revision="beir-1234")}
    with pytest.raises(DataError, match="SciFact: not for the leaderboard: its data is of revision 'beir-1234'"):
        write(only, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    assert not (tmp_path / "to" / "results").exists()


def test_a_part_of_a_task_is_told_and_the_rest_is_added_later(tiny_model, tmp_path):
    with contained():
        first, *others = mteb.get_task("STS22.v2").hf_subsets
    given = {0.5: [first], 0.7: others}
    parts = [task_scores(tmp_path / str(score), "STS22.v2", score, subsets=given[score]) for score in given]
    found = [write({"STS22.v2": part}, tiny_model, tmp_path / "to", name=NAME, revision=REVISION) for part in parts]
    assert "not evaluated: test of " in found[0].partial["STS22.v2"]
    assert [one.written for one in found] == [["STS22.v2"], ["STS22.v2"]]
    loaded = ResultCache(tmp_path / "to").load_task_result("STS22.v2", NAME, REVISION)
    assert loaded.get_score() == pytest.approx((0.5 + 0.7 * len(others)) / (1 + len(others)))


def test_the_same_again_changes_no_byte(results, tiny_model, tmp_path):
    write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    before = digests(tmp_path / "to")
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    assert (found.written, sorted(found.kept)) == ([], sorted(SCORES))
    assert digests(tmp_path / "to") == before


def test_another_score_is_refused_and_nothing_is_written(results, tiny_model, tmp_path):
    write({"SciFact": results.pop("SciFact")}, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    before = digests(tmp_path / "to")
    results["SciFact"] = task_scores(tmp_path / "again", "SciFact", 0.7)
    told = r"has another result for test of default: 0\.645082, this is 0\.700000; results are never replaced"
    with pytest.raises(DataError, match=told):
        write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    assert digests(tmp_path / "to") == before
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision="other")
    assert "SciFact" in found.written


def test_what_someone_wrote_into_the_meta_stays(results, tiny_model, tmp_path):
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    path = found.folder / "model_meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "contacts": ["someone"]}))
    write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION, about=About(license="mit"))
    said = json.loads(path.read_text())
    assert (said["contacts"], said["license"]) == (["someone"], "mit")


def test_the_name_of_another_model_is_refused(results, tiny_model, tmp_path):
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    path = found.folder / "model_meta.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_parameters": 7}))
    with pytest.raises(DataError, match="describes another model: n_parameters is 7"):
        write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)


def test_settings_have_a_line_a_task(results, tiny_model, tmp_path):
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    rows = [json.loads(line) for line in (found.folder / "run_settings.jsonl").read_text().splitlines()]
    assert [row["task"] for row in rows] == sorted(SCORES)
    assert rows[0]["version"]["mteb"] == json.loads((found.folder / "STS12.json").read_text())["mteb_version"]


def _write(task, folder, model, to):
    return write({task: folder}, model, to, name=NAME, revision=REVISION).written


def test_two_processes_at_once_lose_nothing(results, tiny_model, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        work = [pool.submit(_write, task, folder, tiny_model, tmp_path / "to") for task, folder in results.items()]
        assert sorted(task for one in work for task in one.result()) == sorted(SCORES)
    (folder,) = (tmp_path / "to" / "results").glob("*/*")
    assert [json.loads(line)["task"] for line in (folder / "run_settings.jsonl").open()] == sorted(SCORES)
    assert {path.name for path in folder.iterdir()} == {f"{t}.json" for t in SCORES} | {
        "model_meta.json",
        "run_settings.jsonl",
    }


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"name": "plain", "revision": "r"}, "expected 'organisation/model'"),
        ({"name": "../../x", "revision": "r"}, "expected 'organisation/model'"),
        ({"name": NAME, "revision": "../r"}, "expected a commit or a hash"),
        ({"name": NAME, "revision": ".."}, "expected a commit or a hash"),
    ],
)
def test_names_that_are_paths_are_refused(results, tiny_model, tmp_path, asked, told):
    with pytest.raises(RecipeError, match=told):
        write(results, tiny_model, tmp_path / "to", **asked)


def test_a_damaged_result_is_told(results, tiny_model, tmp_path):
    (results["SciFact"] / "result.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"result\.json: cannot be read"):
        write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)


def test_what_was_written_is_read_as_an_entry(results, tiny_model, tmp_path):
    write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    assert published.holds_results(tmp_path / "to")
    (entry,) = published.read(tmp_path / "to")
    assert (entry.name, entry.revision) == (NAME, REVISION)
    assert entry.facts.parameters > 0
    one = entry.tasks["SciFact"]
    assert (one.metrics, one.type, one.statistic) == ({"ndcg@10": SCORES["SciFact"]}, "Retrieval", "other")
    several = [task for task, one in entry.tasks.items() if one.group == "STS22.v2"]
    assert len(several) == len(mteb.get_task("STS22.v2").hf_subsets)


def test_results_without_a_meta_are_named_by_their_folders(results, tiny_model, tmp_path):
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    (found.folder / "model_meta.json").unlink()
    (entry,) = published.read(tmp_path / "to")
    assert (entry.name, entry.revision, entry.facts.parameters) == (NAME, REVISION, None)


def test_results_that_mteb_cannot_load_are_told(results, tiny_model, tmp_path):
    found = write(results, tiny_model, tmp_path / "to", name=NAME, revision=REVISION)
    (found.folder / "SciFact.json").write_text("[]")
    with pytest.raises(DataError, match=r"SciFact\.json: mteb cannot load it"):
        published.read(tmp_path / "to")
