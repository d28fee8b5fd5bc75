"""schemathesis makes up requests from the published schema, where its command ``st`` is found.

It lives in a venv of its own (``pip install schemathesis``): name its command in SCHEMATHESIS.
"""

import os
import shutil
import subprocess

import pytest
from serving import serving

from sole.rewarders.controls import Constant

COMMAND = os.environ.get("SCHEMATHESIS") or shutil.which("st") or ""


@pytest.mark.slow
@pytest.mark.skipif(not COMMAND, reason="schemathesis is not installed (SCHEMATHESIS=.../bin/st)")
def test_no_request_made_from_the_schema_is_answered_otherwise_than_it_says():
    with serving(Constant(50)) as running:
        # No schema can say that a file of the right type may still be damaged, or that a request id
        # was used before, so a refusal of what the schema allows is no finding.
        flags = ["--max-examples", "15", "--seed", "1"]
        flags += ["--exclude-checks", "positive_data_acceptance"]
        done = subprocess.run(
            [COMMAND, "run", f"{running.url}/openapi.json", *flags],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
