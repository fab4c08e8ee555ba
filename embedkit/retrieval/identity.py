"""What decides a vector, as one value: two requests may share vectors only if all of it is equal."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, get_args

from embedkit.core.errors import ArtifactError, ModelError, did_you_mean
from embedkit.core.spec import digest
from embedkit.core.store import MANIFEST, read_manifest, sha256
from embedkit.retrieval.routes import files_for

Task = Literal["query", "document", "text"]  # text: neither, as in clustering
Similarity = Literal["cosine", "dot"]
Backend = Literal["torch", "onnx", "openvino"]
Precision = Literal["float32", "bfloat16", "float16"]
Storage = Literal["float32", "float16"]

CONFIG: Final = "config_sentence_transformers.json"
TRAINING_STATE: Final = "training.state"  # in safetensors' format: what a training goes on with, not the model's
_FORMAT: Final = 2  # raise it when the same identity would now give other vectors

# Files at the top of a model folder that no vector depends on. Whatever is not named here counts.
# CONFIG is left out because what it says about vectors (prompt, truncation, normalisation) is part of the identity.
_IGNORED: Final = (
    *("README*", "LICENSE*", ".gitattributes", ".gitignore", MANIFEST, "stats.json", CONFIG, TRAINING_STATE),
    *("training_args.bin", "trainer_state.json", "optimizer.*", "scheduler.*", "scaler.*", "rng_state*"),
)
_IGNORED_FOLDERS: Final = (".git/", ".cache/")
# Files that one runtime alone reads, in a folder of its name: beside a model or beside one of its modules.
_EXPORTED: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": (".onnx", ".onnx_data", ".data"),
    "openvino": (".xml", ".bin"),
}


@dataclass(frozen=True)
class VectorIdentity:
    """Everything a text's vector depends on besides the text."""

    model: str  # digest of weights, module configurations and tokenizer, of the task's tower if there are several
    task: Task  # models may have other weights, lengths or templates for queries than for documents
    prompt: str
    max_length: int | None  # None: the model's own
    precision: Precision  # of the arithmetic
    backend: Backend
    truncate_dim: int | None
    normalize: bool
    storage: Storage = "float32"  # of the numbers on disk

    @property
    def route(self) -> str | None:
        """The task as sentence-transformers names it."""
        return None if self.task == "text" else self.task

    @property
    def key(self) -> str:
        """SHA-256 that stands for all of it."""
        return digest({"format": _FORMAT, **asdict(self)})


def vector_identity(
    folder: Path,
    *,
    task: Task,
    prompt: str,
    max_length: int | None = None,
    precision: Precision = "float32",
    backend: Backend = "torch",
    truncate_dim: int | None = None,
    normalize: bool = True,
    storage: Storage = "float32",
) -> VectorIdentity:
    """The identity of vectors that the model in `folder` gives under these settings."""
    model = model_digests(folder, backend)[task]
    return VectorIdentity(model, task, prompt, max_length, precision, backend, truncate_dim, normalize, storage)


def model_digest(folder: Path, backend: Backend = "torch") -> str:
    """SHA-256 over names and contents of every file of a model folder that can change a vector.

    Does not move with the folder's place, its model card, the versions and prompts noted in its configuration, or files
    that only other backends read.
    """
    return digest_of_files(_digests(folder), backend)


def model_digests(folder: Path, backend: Backend = "torch") -> dict[Task, str]:
    """`model_digest` of what embeds a text of each task: of a model of several towers, of that tower alone, and then
    the same as of the model the tower was made of."""
    files = _digests(folder)
    return {task: digest_of_files(files_for(folder, files, task), backend) for task in get_args(Task)}


def _digests(folder: Path) -> Mapping[str, str]:
    """path below the folder -> SHA-256."""
    if _is_artifact(folder):  # finished artifacts never change, so their digests need not be taken again
        return read_manifest(folder).files
    paths = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: sha256(path) for name, path in named.items() if not _ignored(name)}


def digest_of_files(files: Mapping[str, str], backend: Backend = "torch") -> str:
    """`model_digest` of a folder with these files: path below it -> SHA-256."""
    read = {path: found for path, found in files.items() if _exported(path) in (None, backend)}
    return digest({path: found for path, found in read.items() if not _ignored(path)})


@dataclass(frozen=True)
class ModelConfig:
    """What a model folder says about prompts, similarity and truncation."""

    prompts: Mapping[Task, str]
    similarity: Similarity
    truncate_dim: int | None
    named_prompts: Mapping[str, str]  # all of them, by the names they have in the folder


def read_config(folder: Path) -> ModelConfig:
    """The part of a model's configuration that is not in its modules, as sentence-transformers understands it.

    Its `encode_query` and `encode_document` take the prompts named "query" and "document" and nothing else: names
    like "passage" and the default prompt never apply, because a missing "document" counts as an empty one. `encode`,
    for texts that are neither, takes the default prompt.
    Raises `ModelError` if the configuration cannot be read or the model compares by neither cosine nor dot product.
    """
    raw = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if not isinstance(raw, dict) or not isinstance(raw.get("prompts") or {}, dict):
        raise ModelError(f"{folder / CONFIG}: should be a JSON object, and its 'prompts' one from names to texts")
    kind = raw.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ModelError(f"{folder}: is a {kind}; a SentenceTransformer (one dense vector a text) is needed")
    similarity: Any = raw.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ModelError(f"{folder / CONFIG}: similarity {similarity!r}; only 'cosine' and 'dot' can be searched by")
    prompts = {str(name): text or "" for name, text in (raw.get("prompts") or {}).items()}
    wanted: dict[Task, str] = {name: prompts.get(name, "") for name in ("query", "document")}
    wanted["text"] = prompts.get(str(raw.get("default_prompt_name")), "")
    return ModelConfig(wanted, similarity, raw.get("truncate_dim"), prompts)


def prompts_by_name(folder: Path, names: Mapping[Task, str | None], *, called: str) -> dict[Task, str]:
    """The model's prompts, those of `names` chosen among all it declares; `called` is the model in messages.

    Raises `ModelError` for a name that the model does not declare.
    """
    config = read_config(folder)
    chosen = dict(config.prompts)
    for task, name in names.items():
        if name is None:
            continue
        if name not in config.named_prompts:
            there = ", ".join(repr(known) for known in config.named_prompts) or "none"
            raise ModelError(
                f"{task}_prompt: {called!r} declares no prompt {name!r}{did_you_mean(name, config.named_prompts)}; it "
                f"has {there}. Declare it where the model comes from: `prompts: {{named: {{{name}: ...}}}}`"
            )
        chosen[task] = config.named_prompts[name]
    return chosen


def read_json(path: Path) -> Any:
    """A JSON file of a model folder. Raises `ModelError` if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None


def _is_artifact(folder: Path) -> bool:
    """Whether `folder` is an artifact in its place in the store; a copy of one, which may be edited, is not."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        return read_manifest(folder).key == folder.resolve().name
    except (ArtifactError, KeyError, AttributeError):  # another tool's manifest.json
        return False


def _ignored(path: str) -> bool:
    if "/" in path:
        return path.startswith(_IGNORED_FOLDERS)
    return any(fnmatch(path, pattern) for pattern in _IGNORED)


def _exported(path: str) -> str | None:
    """The runtime that alone reads this file."""
    place = PurePosixPath(path)
    return place.parent.name if place.suffix in _EXPORTED.get(place.parent.name, ()) else None
