"""Was a model trained on a protected set? Its answers are asked, and an exact test says."""
