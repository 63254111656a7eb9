"""Speed and strength against named baselines, each a command: python -m benchmarks.NAME."""
