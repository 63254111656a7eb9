"""Was a model trained on a protected set? It is asked, and an exact test says."""
