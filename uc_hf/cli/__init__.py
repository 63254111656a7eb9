"""What each command of `uc-hf` does; heavy, so that `uc_hf.cli.app` imports them only when a command runs."""
