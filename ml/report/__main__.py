"""`python -m ml.report`: see ml.report.page."""

import sys

from ml.report.page import main

if __name__ == "__main__":
    sys.exit(main())
