"""The page of uc_hf as a Space, which runs this file."""

from uc_hf.cli.web.serve import serve


if __name__ == "__main__":
    serve(surrogate="uc_hf/tiny")
