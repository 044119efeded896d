"""What is freed is kept while a model runs, and given back between steps of a training. In a child process."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from introspect.training import trainers

BLOCKS = """
import ctypes, re
from introspect.models.memory import give_back_freed_memory, keep_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10

assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before, large, small = resident(), [], []
for _ in range(20):  # between any two large blocks stands one that stays
    large.append(libc.malloc(10 << 20))
    ctypes.memset(large[-1], 1, 10 << 20)
    small.append(libc.malloc(100))
for block in large:
    libc.free(block)
kept = resident() - before
assert give_back_freed_memory()
print(kept, resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator that is told is glibc's")
def test_what_is_freed_is_kept_until_it_is_given_back():
    out = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True).stdout
    kept, left = map(int, out.split())
    assert kept > 150
    assert left < 50


def test_a_step_of_a_training_gives_memory_back(monkeypatch):
    seen = []
    monkeypatch.setattr(trainers, "give_back_freed_memory", lambda: seen.append("given back"))
    watch = trainers.Watch("name", 3, lambda *args: None, frozenset({2}), lambda step: seen.append(step))
    watch.on_step_end(None, SimpleNamespace(global_step=2), None)
    assert seen == ["given back", 2]


SHAPES = """
import re, sys
import torch
from introspect.models.memory import give_back_freed_memory, keep_few_kernels

def resident():
    give_back_freed_memory()
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10

def multiply(lengths):
    for length in lengths:
        for weight in weights:
            torch.nn.functional.linear(torch.ones(length, 576, dtype=torch.bfloat16), weight)

keep_few_kernels()
torch.set_num_threads(1)
weights = [torch.ones(out, 576, dtype=torch.bfloat16) for out in (64, 128, 192, 256)]
multiply(range(1, 60))
before = resident()
multiply(range(60, 260))
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="resident memory is read after glibc gave back its own")
def test_products_of_many_shapes_do_not_pile_up():
    out = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True, check=True).stdout
    assert int(out) < 20
