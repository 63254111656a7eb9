"""Rows in, pixels out: what stands in a folder, a file or on the Hub, checked and decoded."""
