"""What can be written on the command line, a file for each command; light, so that `--help` answers at once."""
