"""Answers the benchmark: loads arrays, checks and times the functions of peers, over standard input and output.

One JSON object a line goes in, followed by the bytes it promises; one JSON object comes back, with "error" where something failed.
  {"do": "hello"}                                                    -> {"peers": {name: [functions]}, "version": text}
  {"do": "load", "sets": n, "arrays": [{"name", "dtype", "shape", "bytes"}]}   + the bytes of all arrays
  {"do": "check", "peer", "function", "parameters", "outputs": [names], "rows"?: first rows only}
                                                                         -> {"sizes": [...]} + float32 values
  {"do": "time", "peer", "function", "parameters", "calls", "rotate"}    -> {"seconds": seconds a call}
A function that cannot do a workload in reasonable time raises Skip(reason): {"skip": reason}.
"""
import json
import sys
import time

import torch

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "int32": torch.int32, "uint8": torch.uint8}


class Skip(Exception):
    pass


def read_array(spec, device):
    raw = sys.stdin.buffer.read(spec["bytes"])
    if not raw:
        return torch.empty(spec["shape"], dtype=DTYPES[spec["dtype"]], device=device)
    return torch.frombuffer(bytearray(raw), dtype=DTYPES[spec["dtype"]]).reshape(spec["shape"]).to(device)


def serve(peers, device="cpu"):
    """Answers until standard input ends. peers: {peer: {function: callable(inputs, **parameters) -> {output: tensor}}}."""
    sets = []
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def answer(message):
        nonlocal sets
        if message["do"] == "hello":
            return {"peers": {name: sorted(functions) for name, functions in peers.items()}, "version": torch.__version__}, []
        if message["do"] == "load":
            sets = []
            first = {spec["name"]: read_array(spec, device) for spec in message["arrays"]}
            sets = [first] + [{name: array.clone() for name, array in first.items()} for _ in range(message["sets"] - 1)]
            wait()
            return {}, []
        function, parameters = peers[message["peer"]][message["function"]], message["parameters"]
        if message["do"] == "check":
            outputs = function(sets[0], **parameters)
            data = [outputs[name].detach()[: message.get("rows")].float().cpu().contiguous().numpy().tobytes() for name in message["outputs"]]
            return {"sizes": [len(part) for part in data]}, data
        count = len(sets) if message["rotate"] else 1
        start = time.perf_counter()
        for call in range(message["calls"]):
            # The outputs of a set live until it comes again, as in a training run that uses them.
            kept[call % count] = function(sets[call % count], **parameters)
        wait()
        return {"seconds": (time.perf_counter() - start) / message["calls"]}, []

    kept = {}
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
            if message["do"] == "load":
                kept.clear()
            header, data = answer(message)
        except Skip as reason:
            header, data = {"skip": str(reason)}, []
        except Exception as error:  # One workload that fails does not end the others.
            header, data = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, []
        sys.stdout.buffer.write(json.dumps(header).encode() + b"\n")
        for part in data:
            sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
