"""What the README shows is what happens."""

import re
from pathlib import Path

import pytest
import yaml

import embedkit
from embedkit.catalogue import losses, markdown
from embedkit.recipe import load_recipe
from tests.training.runs import scored_pairs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_python_blocks_run(tiny_model, tiny_dataset, tmp_path, monkeypatch):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    scored_pairs(tiny_dataset.path, tmp_path / "runs" / "quickstart" / "mined")
    (tmp_path / "runs" / "quickstart" / "base").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert (tmp_path / "hinge" / "modules.json").is_file()


def test_yaml_blocks_are_recipes(tmp_path):
    assert blocks("yaml")
    for name in ("my-pairs.jsonl", "my-similarities.jsonl"):
        (tmp_path / name).touch()
    for block in blocks("yaml"):
        (tmp_path / "r.yaml").write_text(block)
        assert load_recipe(tmp_path / "r.yaml").stages


def test_the_list_of_losses_is_generated(request):
    found = re.search(r"(<!-- catalogue:begin.*?-->\n)(.*?)(<!-- catalogue:end -->)", README, re.DOTALL)
    assert found is not None
    expected = f"\n{markdown()}\n\n"
    if request.config.getoption("--update-golden"):
        text = README.replace(found[0], f"{found[1]}{expected}{found[3]}")
        (ROOT / "README.md").write_text(text, encoding="utf-8")
    else:
        assert found[2] == expected, "run: pytest tests/test_readme.py --update-golden"


def test_the_table_of_choices_names_every_loss():
    section = README.partition("## Choosing a loss")[2].partition("<!-- losses:begin -->")[0]
    for entries in losses().values():
        for entry in entries:
            assert f"`{entry.name}`" in section


def test_every_stage_of_the_quickstart_is_explained():
    stages = yaml.safe_load((ROOT / "recipes" / "quickstart.yaml").read_text())["stages"]
    for name, stage in stages.items():
        assert f"`{name}" in README, name
        assert f"{{kind: {stage['kind']}, ...}}" in README, name


def test_the_two_commands_are_make_targets_and_what_ci_runs():
    targets = (ROOT / "Makefile").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    commands = re.findall(r"^make (\w+)", blocks("sh")[0], re.MULTILINE)
    assert commands == ["quickstart", "test"]
    for target in commands:
        assert f"\n{target}:" in targets
        assert f"\nmake {target}\n" in script


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README


def test_the_newest_change_is_this_version():
    newest = re.search(r"^## Changes\n+### (\S+)", README, re.MULTILINE)
    assert newest is not None
    assert newest[1] == embedkit.__version__


@pytest.mark.parametrize("path", ["runs/quickstart/model", "recipes/quickstart.yaml", "constraints.txt"])
def test_paths_it_names_are_those_in_use(path):
    assert path in README
