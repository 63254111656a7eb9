"""Networks, and how they are trained on labelled images."""
