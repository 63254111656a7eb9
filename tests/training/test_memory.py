"""Memory that a command has freed is taken again without asking the system for it."""

import ctypes
import subprocess
import sys

import pytest


pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)

FAULTS = """
import resource
import numpy as np
{first}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(16 * 2**20)
before = faults()
for _ in range(8):
    np.ones(16 * 2**20)  # 128 MiB
print(faults() - before)
"""


def test_freed_memory_is_used_again() -> None:
    first = "from uc_hf.training.memory import keep_freed_memory; keep_freed_memory()"
    asked = {
        name: int(subprocess.check_output([sys.executable, "-c", FAULTS.format(first=line)]))
        for name, line in (("by itself", ""), ("kept", first))
    }
    assert asked["kept"] < asked["by itself"] / 10
