"""Speed and strength against named baselines, each a command: python -m uc_hf.benchmarks.NAME."""
