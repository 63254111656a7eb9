"""How unlearnable is a dataset: train target models on it and test them on clean images."""
