"""The page of `uc-hf app`: for people with photos who write no Python."""
