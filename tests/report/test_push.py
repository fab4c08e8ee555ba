"""Pushing a released model: what is sent, and errors in one line. The hub's client is a fake."""

import shutil

import pytest

from embedkit.cli.main import app
from embedkit.cli.push import stage_to_push
from embedkit.core.errors import DataError, ModelError, RecipeError
from embedkit.recipe import Recipe
from embedkit.report.push import push
from embedkit.retrieval import hub
from tests.exports.test_hub import Fake


class FakeModels(Fake):
    def upload_folder(self, **options):
        folder = options["folder_path"]
        assert (options["repo_id"] in self.made, options["repo_type"]) == (True, "model")
        self.files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def online(monkeypatch):
    fake = FakeModels()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "HfApi", lambda: fake)
    return fake


@pytest.fixture
def released(tiny_model, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(tiny_model, folder)
    for name, text in (("README.md", "---\nlicense: mit\n---\n# It"), ("manifest.json", "{}"), ("stats.json", "{}")):
        (folder / name).write_text(text)
    return folder


def test_the_models_files_and_its_card_are_sent_and_nothing_of_the_store(released, online):
    url = push("me/retriever", released, private=True)
    assert url == "https://hub.example/datasets/me/retriever"
    assert online.made == {"me/retriever": {"repo_type": "model", "private": True, "exist_ok": True}}
    theirs = {p.relative_to(released).as_posix(): p.read_bytes() for p in released.rglob("*") if p.is_file()}
    del theirs["manifest.json"], theirs["stats.json"]
    assert online.files == theirs


def test_the_command_tells_the_address(released, online, capsys):
    app(["push", str(released), "me/retriever"], standalone_mode=False)
    assert capsys.readouterr().out == "pushed to https://hub.example/datasets/me/retriever\n"
    assert online.made["me/retriever"]["private"] is None


def test_a_model_without_a_card_is_not_released(released, online):
    (released / "README.md").unlink()
    with pytest.raises(ModelError, match=r"has no README.md, so it is no released model; add a stage"):
        push("me/retriever", released)
    assert not online.made


def test_errors_of_the_hub_are_one_line(released, online):
    online.error = RuntimeError("403: not yours\nmore")
    with pytest.raises(ModelError, match=r"^me/retriever: cannot be pushed to the hub: RuntimeError: 403: not yours$"):
        push("me/retriever", released)


def test_offline_is_told(released, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HfApi", lambda: pytest.fail("the hub was asked"))
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        push("me/retriever", released)


def recipe_with(*kinds):
    stages = {f"s{i}": type("Stage", (), {"kind": kind})() for i, kind in enumerate(kinds)}
    return Recipe("r", stages)


def test_run_pushes_what_the_one_package_stage_made(online):
    assert stage_to_push(recipe_with("pretrained", "package", "report"), "me/x") == "s1"


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (("pretrained",), "and has none; add one, which writes the model's card"),
        (("package", "package"), "and has s0, s1; push one of them with `embedkit push`"),
    ],
)
def test_run_pushes_nothing_where_it_is_not_clear_what(kinds, told, online):
    with pytest.raises(RecipeError) as caught:
        stage_to_push(recipe_with(*kinds), "me/x")
    assert str(caught.value).endswith(told)


def test_run_pushes_nothing_where_it_stops_at_another_stage(online):
    recipe = recipe_with("pretrained", "package")
    assert stage_to_push(recipe, "me/x", until="s1") == "s1"
    with pytest.raises(RecipeError, match="pushes what 's1' makes, but --until is s0; leave that out"):
        stage_to_push(recipe, "me/x", until="s0")


def test_run_tells_that_it_cannot_push_before_it_does_anything(tmp_path, monkeypatch):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        app(
            ["run", "recipes/scifact.yaml", "--push-to-hub", "me/x", "--out", str(tmp_path / "out")],
            standalone_mode=False,
        )
    assert not (tmp_path / "out").exists()
