"""Freed memory stays with the process: counted in page faults, which giving it back would cost."""

import platform
import resource
import subprocess
import sys

import pytest

_COUNT = """
import ctypes, resource, sys, torch
from sole.train.memory import keep_freed_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size can be counted
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = faults()
for _ in range(40):
    block = torch.ones(9 * 2**20)
    del block
print(faults() - before)
"""


def count(mode: str) -> int:
    return int(subprocess.check_output([sys.executable, "-c", _COUNT, mode], text=True))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_large_blocks_are_used_again():
    n_pages = 40 * 36 * 2**20 // resource.getpagesize()
    # 36 MB: more than glibc keeps unasked. Some are new at first, since small things come to lie
    # behind the first few.
    assert count("keep") < n_pages / 3
    assert count("give back") > n_pages * 0.9  # without, each is asked for anew
