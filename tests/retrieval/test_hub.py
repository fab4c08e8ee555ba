import pytest

from embedkit.core.errors import DataError, ModelError
from embedkit.retrieval import hub
from embedkit.retrieval.hub import commit_of

COMMIT = "0123456789" * 4


def test_the_hub_tells_the_commit_of_a_branch(monkeypatch):
    class Api:
        def repo_info(self, name, *, revision, repo_type):
            assert (name, revision, repo_type) == ("org/name", "main", "dataset")
            return type("Info", (), {"sha": COMMIT})

    monkeypatch.setattr(hub, "HfApi", Api)
    assert commit_of("org/name", "main", "dataset") == COMMIT


def test_without_the_hub_it_is_the_commit_fetched_last(monkeypatch, tmp_path):
    snapshot = tmp_path / "models--org--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = tmp_path / "models--org--name" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    find = hub.try_to_load_from_cache
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *a, **k: find(*a, cache_dir=tmp_path, **k))
    assert commit_of("org/name", "main", "model") == COMMIT
    with pytest.raises(ModelError, match=r"org/name at v2: the hub does not tell its commit: .*offline"):
        commit_of("org/name", "v2", "model")
    with pytest.raises(DataError, match="org/other at main"):
        commit_of("org/other", "main", "dataset")
