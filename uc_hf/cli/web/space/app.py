"""The page of uc_hf as a Space."""

from uc_hf.cli.web.serve import serve


serve(surrogate="uc_hf/tiny")
