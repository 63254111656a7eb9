"""Unlearnable Clusters (arXiv 2301.01217): its settings, its fit, and the families in which noise is learnt."""
