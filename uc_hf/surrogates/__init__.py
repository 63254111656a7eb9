"""Pixels -> embedding: frozen vision backbones, differentiable with respect to pixels."""
