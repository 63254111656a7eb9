"""How many processes the tests have `map` start."""

import torch


WORKERS = None if torch.cuda.is_available() else 2
"""`map` forks them, and a forked process cannot use the GPU that its parent has used."""
