import json
import logging

import pytest

from embedkit.core.errors import ModelError
from embedkit.retrieval.encoder import open_encoder
from embedkit.retrieval.loading import load_model


def test_loading_is_quiet(tiny_model, capfd, caplog):
    with caplog.at_level(logging.WARNING):
        load_model(tiny_model, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_folder_that_is_no_model_is_told(tmp_path, copy):
    with pytest.raises(ModelError, match="there is no such folder"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match="it has no modules"):
        load_model(tmp_path)
    (copy / "modules.json").write_text('{"0": 1}')
    with pytest.raises(ModelError, match="should be a list of modules"):
        load_model(copy)


@pytest.mark.parametrize("use", [load_model, lambda folder: open_encoder(folder, None)])
def test_code_of_a_models_own_is_never_run(copy, use):
    modules = json.loads((copy / "modules.json").read_text())
    modules[1]["type"] = "custom.Pooling"
    (copy / "modules.json").write_text(json.dumps(modules))
    (copy / "custom.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ModelError, match=r"needs code of its own \(custom.Pooling\)"):
        use(copy)


def test_code_named_by_a_router_is_never_run(copy):
    (copy / "router_config.json").write_text(json.dumps({"types": {"query_0": "os.path"}}))
    with pytest.raises(ModelError, match=r"needs code of its own \(os.path\)"):
        load_model(copy)


@pytest.mark.parametrize("place", [".", "2_Normalize"])
def test_pickled_weights_are_never_read(copy, place):
    if place == ".":
        (copy / "model.safetensors").unlink()
    (copy / place / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelError, match="weights in pickle format"):
        load_model(copy)


def test_an_adapter_is_no_model_of_its_own(copy):
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"has no adapter_model.safetensors; only safetensors are loaded"):
        load_model(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="merge it into the base"):
        load_model(copy)


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damaged_weights_are_one_clear_line(copy, damage):
    path = copy / "model.safetensors"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as error:
        load_model(copy)
    assert len(error.value.problems) == 1
    assert "\n" not in str(error.value)
