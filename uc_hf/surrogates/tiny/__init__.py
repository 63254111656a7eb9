"""The built-in surrogate "uc_hf/tiny": an ordinary Hugging Face model folder, and the script that trained it."""
