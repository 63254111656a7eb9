"""Figures, pages and cards of what was made and measured."""
