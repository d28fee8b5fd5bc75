"""What every test relies on: software rendering, one thread each, and no network for models.

The variables are set before anything heavy is imported, because OpenMP and OpenGL read them once.
"""

import os
import sys

import pytest
from hypothesis import settings

os.environ.update(
    MUJOCO_GL=os.environ.get("MUJOCO_GL", "osmesa"),
    LP_NUM_THREADS="0",
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    MPLBACKEND="Agg",
    COLUMNS="100",
)
# How long an example takes says what else the machine does; pytest-timeout stops what hangs.
settings.register_profile("loaded machine", deadline=None)
settings.load_profile("loaded machine")


@pytest.fixture(autouse=True)
def _one_thread():
    """Undo what a test, or the code under test, did to torch's thread count."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skip GPU tests on machines without one, so that `-m gpu` is safe to ask for anywhere."""
    wanting = [item for item in items if "gpu" in item.keywords]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
