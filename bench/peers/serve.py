"""Answers the benchmark: loads arrays, checks and times the functions of peers, over standard input and output.

One JSON object a line goes in, followed by the bytes it promises; one JSON object comes back, with "error" where something failed.
  {"do": "hello"}                                                    -> {"peers": {name: [functions]}, "version": text}
  {"do": "load", "sets": n, "arrays": [{"name", "dtype", "shape", "bytes"}]}   + the bytes of all arrays; what they hold repeats to the array's end
  {"do": "check", "peer", "function", "parameters", "outputs": [names], "rows"?: [[begin, end], …] rows only}
                                                                         -> {"sizes": [...]} + float32 values
  {"do": "time", "peer", "function", "parameters", "calls", "rotate"}    -> {"seconds": seconds a call}
  {"do": "time_on_device", …}   the same of a GPU without the host's share -> {"seconds", "queued": whether the host queued all before the GPU began}
A function that cannot do a workload in reasonable time raises Skip(reason): {"skip": reason}.
"""
import json
import math
import sys
import time

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "int32": torch.int32, "uint8": torch.uint8}

# Copies that keep a GPU busy for about two milliseconds: while they run, calls are queued.
HOLD_BYTES, HOLD_COPIES = 100_000_000, 40


class Skip(Exception):
    pass


def array_of(spec, raw, device):
    array = torch.empty(math.prod(spec["shape"]), dtype=DTYPES[spec["dtype"]], device=device)
    if raw:
        given = torch.frombuffer(bytearray(raw), dtype=array.dtype)
        filled = len(given)
        array[:filled] = given.to(device)
        while filled < len(array):
            count = min(filled, len(array) - filled)
            array[filled : filled + count] = array[:count]
            filled += count
    return array.reshape(spec["shape"])


def rows_of(output, ranges):
    return output if ranges is None else torch.cat([output[begin:end] for begin, end in ranges])


def on_device(run):
    """Seconds that the GPU takes for what `run` launches, and whether all of it was queued before it began."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    source, target = (torch.empty(HOLD_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2))
    for _ in range(HOLD_COPIES):
        target.copy_(source)
    begin.record()
    run()
    queued = not begin.query()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3, queued


def serve(peers, device="cpu"):
    """Answers until standard input ends. peers: {peer: {function: callable(inputs, **parameters) -> {output: tensor}}}."""
    sets = []
    kept = {}
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def load(message):
        nonlocal sets
        raws = [sys.stdin.buffer.read(spec["bytes"]) for spec in message["arrays"]]
        sets = []
        kept.clear()
        if device == "cuda":
            torch.cuda.empty_cache()  # The others use the same GPU.
        first = {spec["name"]: array_of(spec, raw, device) for spec, raw in zip(message["arrays"], raws)}
        sets = [first] + [{name: array.clone() for name, array in first.items()} for _ in range(message["sets"] - 1)]
        wait()

    def answer(message):
        if message["do"] == "hello":
            return {"peers": {name: sorted(functions) for name, functions in peers.items()}, "version": torch.__version__}, []
        if message["do"] == "load":
            load(message)
            return {}, []
        function, parameters = peers[message["peer"]][message["function"]], message["parameters"]
        if message["do"] == "check":
            outputs = function(sets[0], **parameters)
            data = [rows_of(outputs[name].detach(), message.get("rows")).float().cpu().contiguous().numpy().tobytes() for name in message["outputs"]]
            return {"sizes": [len(part) for part in data]}, data
        count = len(sets) if message["rotate"] else 1

        def run():
            for call in range(message["calls"]):
                # The outputs of a set live until it comes again, as in a training run that uses them.
                kept[call % count] = function(sets[call % count], **parameters)

        if message["do"] == "time_on_device":
            seconds, queued = on_device(run)
            return {"seconds": seconds / message["calls"], "queued": queued}, []
        start = time.perf_counter()
        run()
        wait()
        return {"seconds": (time.perf_counter() - start) / message["calls"]}, []

    for line in sys.stdin.buffer:
        try:
            header, data = answer(json.loads(line))
        except Skip as reason:
            header, data = {"skip": str(reason)}, []
        except Exception as error:  # One workload that fails does not end the others.
            header, data = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, []
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
        for part in data:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
