"""One run of a study whose arm changes the program: its function first, then train.py.

python docs/studies/changed.py STUDY ARM [flags of train.py]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import train  # noqa: E402
from scaling import find_study  # noqa: E402

if __name__ == "__main__":
    find_study(sys.argv[1]).changes[sys.argv[2]]()
    sys.exit(train.main(sys.argv[3:]))
