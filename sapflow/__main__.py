"""`python -m sapflow` is `sapflow`."""

from sapflow.cli import entry

if __name__ == "__main__":
    entry()
