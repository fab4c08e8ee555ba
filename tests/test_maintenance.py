import json
import shutil

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router

from embedkit.core.stage import Context
from embedkit.core.store import Store
from embedkit.maintenance import entries, garbage
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.loading import load_model


def test_vectors_of_towers_are_their_models(tiny_model, other_tiny_model, tmp_path):
    routes = [list(load_model(folder, device="cpu")) for folder in (tiny_model, other_tiny_model)]
    router = SentenceTransformer(modules=[Router.for_query_document(*routes)], device="cpu")
    router.save(str(tmp_path / "towers"), create_model_card=False)
    store, key, out = Store(tmp_path / "store"), "a" * 64, tmp_path / "run"

    def make(draft, work):
        shutil.copytree(tmp_path / "towers", draft, dirs_exist_ok=True)
        return {}

    made = store.get_or_make(key, make, about={"kind": "k", "type": "model", "spec": {}, "inputs": {}})
    (tmp_path / "work").mkdir()
    encoder = open_encoder(made.path, Context(work=tmp_path / "work", embeddings=store.embeddings))
    encoder.queries(["list files"])
    encoder.documents(["show a page"])
    (store.root / "roots").mkdir()
    (store.root / "roots" / "run.json").write_text(json.dumps({"keys": [key], "out": str(out)}))
    out.mkdir()
    assert [entry.used_by for entry in entries(store) if entry.sort == "embeddings"] == [(str(out),)] * 2
    assert garbage(store) == []
    out.rmdir()
    assert sorted(entry.sort for entry in garbage(store)) == ["artifact", "embeddings", "embeddings"]
