"""Runs the tests of this package and prints the totals: python3 run_tests.py [NAME…]"""

import sys
import unittest
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here))
    loader = unittest.TestLoader()
    if len(sys.argv) > 1:
        suite = loader.loadTestsFromNames(sys.argv[1:])
    else:
        suite = loader.discover(str(here / "tests"), top_level_dir=str(here))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = len(result.skipped)
    print(f"totals: {result.testsRun - failed - skipped} passed; {failed} failed; {skipped} skipped")
    sys.exit(1 if failed or result.testsRun == 0 else 0)
