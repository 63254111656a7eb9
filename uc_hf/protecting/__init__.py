"""A fitted protector of any method: applied, saved, pushed."""
