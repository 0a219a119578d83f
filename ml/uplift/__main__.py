"""`python -m ml.uplift`: see ml.parts.file."""

import sys

from ml.parts.file import main

if __name__ == "__main__":
    sys.exit(main())
