"""What several tests of loading share."""

import pytest
import torch

from tests.fakes.checkpoints import make_checkpoint
from tidemill.config.settings import CacheSettings, ModelSettings, SchedulerSettings
from tidemill.models.spec import load_spec
from tidemill.runner.loading import load_runner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def load(folder):
    threads = torch.get_num_threads()

    def load(*, spec=None, memory=None, cache=None, scheduler=None, progress=None, on_layer=None, **settings):
        return load_runner(
            folder,
            spec or load_spec(folder),
            ModelSettings(
                model=str(folder),
                device="cpu",
                threads=1,
                **({"precision": "fp32", "packed_cache_bytes": 0} | settings),
            ),
            CacheSettings(**(cache or {})),
            SchedulerSettings(**({"max_num_seqs": 4} | (scheduler or {}))),
            model_id=0,
            progress=progress or (lambda stage, fraction: None),
            memory=memory,
            on_layer=on_layer,
        )

    yield load
    torch.set_num_threads(threads)
