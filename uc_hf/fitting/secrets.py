"""Secrets of 256 bits, which nobody can compute without the originals, and streams of random numbers from them."""

import hashlib

import numpy as np


SIZE = 32
"""Bytes of a secret."""


def secret_of(purpose: str, seed: int, originals: np.ndarray) -> bytes:
    """A secret: from the seed alone, which is 0 for most, anyone could draw the same noise.

    Args:
        purpose: what it is for; each has a secret of its own.
        seed: the protector's.
        originals: whatever cannot be computed without them: pixels, embeddings or centroids.

    Returns:
        `SIZE` bytes.
    """
    digest = hashlib.shake_256(f"uc_hf {purpose} {seed} {originals.dtype.str} {originals.shape}".encode())
    digest.update(np.ascontiguousarray(originals).tobytes())
    return digest.digest(SIZE)


def secret_stream(secret: bytes) -> np.random.Generator:
    """Random numbers from all bits of a secret (a torch generator on the CPU keeps 32 bits of its seed)."""
    return np.random.Generator(np.random.PCG64(int.from_bytes(secret, "little")))
