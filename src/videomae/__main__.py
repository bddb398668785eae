"""`python -m videomae`: the command line where the script `videomae` is not on the path."""

import sys

from videomae.cli.main import main

sys.exit(main())
