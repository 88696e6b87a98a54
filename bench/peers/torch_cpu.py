"""PyTorch on the CPU. Usage: torch_cpu.py THREADS, driven by bench/peers/python.ts."""
import sys

import torch

from serve import serve
from torch_functions import FUNCTIONS

torch.set_num_threads(int(sys.argv[1]))
serve({"pytorch": FUNCTIONS})
