"""The built-in surrogate "uc_hf/tiny": an ordinary Hugging Face model folder, made by `benchmarks.train_tiny`."""
