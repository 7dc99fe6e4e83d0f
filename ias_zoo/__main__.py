"""``python -m ias_zoo`` is the command ``ias-zoo``."""

from ias_zoo.cli import main

if __name__ == "__main__":
    main()
