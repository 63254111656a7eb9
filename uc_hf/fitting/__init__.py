"""Sample, embed, cluster: what the fits of all methods share, and the record of what was learnt."""
