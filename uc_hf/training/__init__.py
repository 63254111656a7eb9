"""A network, and how it is trained on labelled images."""
