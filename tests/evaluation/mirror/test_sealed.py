"""Settings of the process that a mirror needs, and that they are what they were afterwards."""

import datasets
import huggingface_hub
import pytest
from datasets import config
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from embedkit.evaluation.containment import contained
from embedkit.evaluation.mirror.sealed import seal, unsealed_after


@pytest.fixture
def _connected(monkeypatch):
    """As on a machine that was not told to stay away from the network; none is asked."""
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("_connected")
def test_the_hub_is_not_asked_inside_and_settings_return(tmp_path):
    before = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH)
    with contained():
        seal(tmp_path)
        assert huggingface_hub.is_offline_mode()
        with pytest.raises(OfflineModeIsEnabled):
            huggingface_hub.HfApi().dataset_info("mteb/scifact")
        with pytest.raises((ConnectionError, FileNotFoundError)):
            datasets.load_dataset("mteb/scifact")
        assert tmp_path == config.HF_DATASETS_CACHE
    assert before == (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH)
    assert not config.HF_HUB_OFFLINE
    assert not huggingface_hub.is_offline_mode()


def test_settings_return_after_an_error(tmp_path):
    before = config.HF_DATASETS_CACHE

    def fails():
        with unsealed_after():
            seal(tmp_path)
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert before == config.HF_DATASETS_CACHE
