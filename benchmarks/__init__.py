"""Speed and strength against named baselines, each a command: python -m benchmarks.NAME."""

from uc_hf.training.memory import keep_freed_memory


keep_freed_memory()
