"""The run folder: a link to each stage's artifact by name, scores.json and provenance.json.

The only place where stage names reach the disk (besides artifacts that show names, whose keys hold them).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embedkit.core.errors import EmbedkitError
from embedkit.core.scores import read_scores
from embedkit.core.spec import digest
from embedkit.core.stage import Artifact
from embedkit.core.store import MANIFEST, Store, read_manifest, write_atomically
from embedkit.machine import machine, versions
from embedkit.plan import Step
from embedkit.recipe import Recipe

PROVENANCE = "provenance.json"


def open_run_folder(out: Path, steps: Sequence[Step], store: Store) -> None:
    """Make the run folder, refuse one whose content would be in the way, and say that it uses these keys.

    Called before the first stage: a run that cannot be written fails at once, and `store gc` leaves its stages alone.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in (*(link_name(step.name) for step in steps if step.part_of is None), "report"):
        if ((out / name).is_symlink() or (out / name).exists()) and not _is_ours(out / name):
            raise EmbedkitError(f"{out / name}: stands where a link to a stage's artifact goes; use another --out")
    root = _root(store, out)
    before = json.loads(root.read_text(encoding="utf-8"))["keys"] if root.is_file() else []
    root.parent.mkdir(parents=True, exist_ok=True)
    _write_json(root, {"out": str(out.resolve()), "keys": sorted({*before, *(step.key for step in steps)})})


def write_outputs(
    recipe: Recipe,
    steps: Sequence[Step],
    artifacts: Mapping[str, Artifact],
    made: Sequence[str],
    store: Store,
    out: Path,
    *,
    seconds: float,
) -> None:
    """Fill the run folder. Links of stages that the recipe no longer has are removed; other files are left alone."""
    whole = [step for step in steps if step.part_of is None]
    links = {link_name(step.name): artifacts[step.name].path for step in whole}
    for step in whole:
        if step.stage.produces == "report":
            links.setdefault("report", artifacts[step.name].path)
    for stale in [p for p in out.iterdir() if p.is_symlink() and p.name not in links and _is_ours(p)]:
        stale.unlink()
    for name, target in links.items():
        _link(out / name, target)
    _write_json(out / "scores.json", _scores(whole, artifacts))
    if made or not _same_keys(out / PROVENANCE, steps):
        _write_json(out / PROVENANCE, _provenance(recipe, steps, artifacts, made, store, seconds))
    _write_json(_root(store, out), {"out": str(out.resolve()), "keys": sorted({step.key for step in steps})})


def link_name(stage: str) -> str:
    """What the link to a stage's artifact is called: a round of a stage, `NAME/1`, cannot lie in the folder `NAME`."""
    return stage.replace("/", ".")


def _link(link: Path, target: Path) -> None:
    """Point `link` at `target`, in one rename; a copy where the file system has no links."""
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)  # a copy of ours, see `open_run_folder`
    draft = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        draft.symlink_to(os.path.relpath(target, link.parent.resolve()), target_is_directory=True)
    except OSError:
        shutil.copytree(target, draft)
    draft.replace(link)


def _is_ours(path: Path) -> bool:
    """Whether a run put this here: a link to an artifact, or a copy of one."""
    if path.is_symlink():
        return path.readlink().parent.name == "artifacts"
    return (path / MANIFEST).is_file()


def _root(store: Store, out: Path) -> Path:
    """The file that says which keys a run folder uses."""
    return store.root / "roots" / f"{digest(str(out.resolve()))[:32]}.json"


def _same_keys(provenance: Path, steps: Sequence[Step]) -> bool:
    """Whether the run folder already tells of exactly these artifacts, and so of the run that made them."""
    try:
        told = json.loads(provenance.read_text(encoding="utf-8"))["stages"]
        return {name: stage["key"] for name, stage in told.items()} == {step.name: step.key for step in steps}
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _scores(steps: Sequence[Step], artifacts: Mapping[str, Artifact]) -> dict[str, dict[str, dict[str, float]]]:
    """stage -> task -> metric -> value, over all `evaluate` stages."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for step in steps:
        if step.stage.produces == "scores":
            models = {model.key: model for model in read_scores(artifacts[step.name].path)}
            for name, key in step.inputs.items():
                for task, scores in models[key].tasks.items() if key in models else ():
                    result.setdefault(name, {})[task] = dict(scores.metrics)
    return result


def _provenance(
    recipe: Recipe,
    steps: Sequence[Step],
    artifacts: Mapping[str, Artifact],
    made: Sequence[str],
    store: Store,
    seconds: float,
) -> dict[str, Any]:
    stages: dict[str, Any] = {}
    for step in steps:
        manifest = read_manifest(artifacts[step.name].path)
        stages[step.name] = {
            "key": step.key,
            "kind": step.stage.kind,
            "ran_now": step.name in made,
            "identity": step.identity,
            "inputs": dict(step.inputs),
            "made": manifest.made,
        }
    seeds = {step.name: step.stage.seed for step in steps if hasattr(step.stage, "seed")}
    return {
        "recipe": recipe.dump(),
        "path": str(recipe.path) if recipe.path else None,
        "git": _git(recipe.path),
        "store": str(store.root),
        "seconds": round(seconds, 3),
        "peak_memory": max((stage["made"].get("peak_memory", 0) for stage in stages.values()), default=0),
        "seeds": seeds,
        "versions": versions(),
        "machine": machine(),
        "stages": stages,
    }


def _git(path: Path | None) -> dict[str, Any] | None:
    """Commit of the repository the recipe is in, and whether the recipe differs from it; None outside of one."""
    if path is None:
        return None
    folder = path.resolve().parent

    def ask(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:  # nothing here runs a filter or a hook that the repository's own configuration could name
        blob = ask("hash-object", "--no-filters", "--", path.name)
        committed = ask("rev-parse", "--verify", "--quiet", f"HEAD:./{path.name}")
        return {"commit": ask("rev-parse", "HEAD"), "changed": blob != committed}
    except (OSError, subprocess.SubprocessError):
        return None


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
