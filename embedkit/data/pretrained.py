"""Models made elsewhere: found, checked to be safe and whole, and copied into an ordinary model folder."""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import Field, JsonValue, field_validator

from embedkit.core.errors import ModelError
from embedkit.core.spec import LocalPath, Spec
from embedkit.core.store import sha256
from embedkit.data.commit import Commit
from embedkit.data.model_folder import MODULE_TYPES, Pooling, add_pooling
from embedkit.retrieval.loading import is_known
from embedkit.retrieval.model_folder import safe_files
from embedkit.retrieval.routes import Part, every_part

_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


class InPackage(Spec):
    """A folder inside an installed Python package. The package is found, never imported."""

    kind: Literal["package"] = "package"
    package: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    folder: str = "model"

    @field_validator("folder")
    @classmethod
    def _inside(cls, value: str) -> str:
        if PurePosixPath(value).is_absolute() or ".." in PurePosixPath(value).parts:
            raise ValueError(f"folder is {value!r}; expected a path inside the package")
        return value

    def locate(self) -> Path:
        """The folder; a `ModelError` that names what to install if there is none."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            name = self.package.replace("_", "-")
            raise ModelError(f"package {self.package!r} is not installed; install it: pip install {name}")
        folders = [Path(root) / self.folder for root in spec.submodule_search_locations]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    def facts(self) -> Mapping[str, JsonValue]:
        """Digests of the folder's files: another version of the package is another model."""
        folder = self.locate()
        return {path.relative_to(folder).as_posix(): sha256(path) for path in safe_files(folder)}


class InHub(Spec):
    """A model of the Hugging Face hub at one commit."""

    kind: Literal["hub"] = "hub"
    name: str
    revision: Commit

    def locate(self) -> Path:
        """The folder it was downloaded to."""
        from embedkit.retrieval.hub import fetch_model

        return fetch_model(self.name, self.revision)

    def facts(self) -> Mapping[str, JsonValue]:
        """None: the commit says it all."""
        return {}


class InFolder(Spec):
    """A folder of this machine."""

    kind: Literal["folder"] = "folder"
    path: LocalPath

    def locate(self) -> Path:
        """The folder itself."""
        return self.path

    def facts(self) -> Mapping[str, JsonValue]:
        """None: the path is external, so its content is digested anyway."""
        return {}


AnyModelSource = Annotated[InPackage | InHub | InFolder, Field(discriminator="kind")]


def copy_model(source: Path, out: Path, *, pooling: Pooling | None) -> None:
    """Copy a model's safe files to `out`; with `pooling`, make a plain transformers folder a sentence-transformers one.

    Raises `ModelError` for a folder that is not a model, has pickled weights only, or needs code of its own.
    """
    if not source.is_dir():
        raise ModelError(f"{source}: no such folder; expected a sentence-transformers model")
    _check(source, pooling)
    for path in safe_files(source):
        target = out / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    if pooling is not None:
        add_pooling(out, pooling)


def _check(source: Path, pooling: Pooling | None) -> None:
    has_modules = (source / "modules.json").is_file()
    if has_modules and pooling is not None:
        raise ModelError(f"{source}: modules.json says how the model pools; leave `pooling` out")
    if not has_modules and pooling is None:
        plain = (source / "config.json").is_file()
        what = "; set `pooling` to mean, cls or lasttoken to use a plain transformers model" if plain else ""
        raise ModelError(f"{source}: has no modules.json; expected a sentence-transformers model{what}")
    weights = 0
    for part in every_part(source) if has_modules else [Part(MODULE_TYPES, "")]:
        folder = source / part.path
        if not is_known(part.type):
            raise ModelError(f"{source}: module {part.type!r} is code of the model's own, which is not run")
        safe = len(list(folder.glob("*.safetensors")))
        weights += safe
        if not safe and (pickles := sorted(p.name for p in folder.glob("*") if p.suffix in _PICKLES)):
            raise ModelError(
                f"{folder}: the weights are pickled ({pickles[0]}) and loading them could run code; expected "
                "safetensors. Save the model once with SentenceTransformer.save_pretrained(safe_serialization=True)."
            )
    if not weights:
        raise ModelError(f"{source}: has no .safetensors file; expected the model's weights")
