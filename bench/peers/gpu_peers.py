"""Peers on a GPU: PyTorch eager (recurrences as a loop, and by doubling), torch.compile, and Triton's associative scan. Driven by bench/peers/python.ts."""
import os
import signal
import time

# Few kernels are compiled: a process for each core would take longer to start.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")

import torch

from serve import Skip, serve
from torch_doubling import DOUBLING
from torch_functions import FUNCTIONS, masked_whiten

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

# torch.compile unrolls a loop over time: a longer one compiles for minutes.
LONGEST_COMPILED_LOOP = 16
# Seconds for compiling one function, the first one (which loads the compiler), and all of them.
COMPILE_LIMIT, FIRST_COMPILE_LIMIT, COMPILE_BUDGET = 10, 30, 60


class TooLong(BaseException):
    """Passes the handlers of ordinary exceptions within the compiler."""


def within(seconds, call):
    """What `call` returns, or TooLong from within it when the time is up; asks again each second where it is caught on the way."""

    def ring(*_):
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    try:
        return call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def compiled_peer():
    compiled = {}
    refused = {}
    spent = 0.0

    def first_call(key, function, inputs):
        """Compiles, which is not timed: results are checked before."""
        nonlocal spent
        limit = min(COMPILE_LIMIT if compiled else FIRST_COMPILE_LIMIT, COMPILE_BUDGET - spent)
        if limit <= 0:
            raise Skip(f"the {COMPILE_BUDGET} s for compiling are used up")
        start = time.perf_counter()
        # One graph for each shape, as a training run with fixed shapes has it; from some number of them on a function would run uncompiled.
        for limit_name in ("recompile_limit", "cache_size_limit"):
            if hasattr(torch._dynamo.config, limit_name):
                setattr(torch._dynamo.config, limit_name, 256)
        graph = torch.compile(function, dynamic=False)
        try:
            result = within(limit, lambda: graph(inputs))
            torch.cuda.synchronize()
        except TooLong:
            torch._dynamo.reset()
            refused[key] = f"not compiled in {limit:.0f} s"
            raise Skip(refused[key])
        finally:
            spent += time.perf_counter() - start
        compiled[key] = graph
        return result

    def wrap(name, function):
        def call(inputs, **parameters):
            widest = max((array.shape[1] for array in inputs.values() if array.dim() == 2), default=0)
            if name in DOUBLING and widest > LONGEST_COMPILED_LOOP:
                raise Skip(f"a loop of {widest} steps is too long to compile")
            key = (name, tuple(sorted(parameters.items())), tuple((k, tuple(v.shape)) for k, v in inputs.items()))
            if key in refused:
                raise Skip(refused[key])
            if key not in compiled:
                return first_call(key, lambda arrays: function(arrays, **parameters), inputs)
            return compiled[key](inputs)

        return call

    return {name: wrap(name, function) for name, function in FUNCTIONS.items()}


if triton is not None:

    @triton.jit
    def compose(a1, b1, a2, b2):
        """y ↦ a1·y + b1, then y ↦ a2·y + b2."""
        return a1 * a2, a2 * b1 + b2

    @triton.jit
    def affine_kernel(a_at, b_at, out_at, time, BLOCK: tl.constexpr):
        """y_t = a_t·y_{t+1} + b_t: one program a row, block by block from the end; the state between blocks stays in a register."""
        row = tl.program_id(0).to(tl.int64) * time
        offset = tl.arange(0, BLOCK)
        carry = 0.0
        for block in range(0, tl.cdiv(time, BLOCK)):
            position = time - (block + 1) * BLOCK + offset
            inside = position >= 0
            a = tl.load(a_at + row + position, mask=inside, other=1.0).to(tl.float32)
            b = tl.load(b_at + row + position, mask=inside, other=0.0).to(tl.float32)
            factor, addend = tl.associative_scan((a, b), 0, compose, reverse=True)
            y = factor * carry + addend
            tl.store(out_at + row + position, y, mask=inside)
            carry = tl.sum(tl.where(offset == 0, y, 0.0))

    @triton.jit
    def gae_kernel(rewards_at, values_at, mask_at, advantages_at, returns_at, time, gamma, lambda_, BLOCK: tl.constexpr):
        """GAE over right-padded rows: a masked position has factor 1 and addend 0, its next value is that of the state behind it."""
        row = tl.program_id(0).to(tl.int64) * time
        offset = tl.arange(0, BLOCK)
        carry = 0.0
        for block in range(0, tl.cdiv(time, BLOCK)):
            position = time - (block + 1) * BLOCK + offset
            inside = position >= 0
            valid = tl.load(mask_at + row + position, mask=inside, other=0) != 0
            reward = tl.load(rewards_at + row + position, mask=inside, other=0.0)
            value = tl.load(values_at + row + position, mask=inside, other=0.0)
            behind = inside & (position + 1 < time)
            follows = tl.load(mask_at + row + position + 1, mask=behind, other=0) != 0
            next_value = tl.where(follows, tl.load(values_at + row + position + 1, mask=behind, other=0.0), 0.0)
            factor = tl.where(valid, gamma * lambda_, 1.0)
            addend = tl.where(valid, reward + gamma * next_value - value, 0.0)
            factor, addend = tl.associative_scan((factor, addend), 0, compose, reverse=True)
            advantage = factor * carry + addend
            tl.store(advantages_at + row + position, tl.where(valid, advantage, 0.0), mask=inside)
            tl.store(returns_at + row + position, tl.where(valid, advantage + value, 0.0), mask=inside)
            carry = tl.sum(tl.where(offset == 0, advantage, 0.0))

    def blocks_of(time):
        """Elements that a program holds at once, and its warps: at least four elements a thread."""
        block = min(2048, triton.next_power_of_2(time))
        return {"BLOCK": block, "num_warps": max(1, min(8, block // 128))}

    def triton_affine_scan(inputs):
        a, b = inputs["a"], inputs["b"]
        out = torch.empty_like(a)
        rows, time = a.shape
        affine_kernel[(rows,)](a, b, out, time, **blocks_of(time))
        return {"out": out}

    def triton_gae(inputs, whiten, **parameters):
        if "ends" in inputs:
            raise Skip("written for rows that are one episode")
        rewards, values, mask = inputs["rewards"], inputs["values"], inputs["mask"]
        advantages, returns = torch.empty_like(rewards), torch.empty_like(rewards)
        rows, time = rewards.shape
        gae_kernel[(rows,)](rewards, values, mask, advantages, returns, time, parameters["gamma"], parameters["lambda"], **blocks_of(time))
        return {"advantages": masked_whiten(advantages, mask.float()) if whiten else advantages, "returns": returns}


if not torch.cuda.is_available():
    raise SystemExit("PyTorch sees no GPU")
peers = {"pytorch": FUNCTIONS, "pytorch-doubling": DOUBLING}
if hasattr(torch, "compile"):
    peers["torch.compile"] = compiled_peer()
if triton is not None:
    peers["triton"] = {"affine_scan": triton_affine_scan, "gae": triton_gae}
serve(peers, "cuda")
