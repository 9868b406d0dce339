"""`python -m noisette.data [NAME ...]`: fetches named data sets ahead of time (digits, unless named) and says where.

`inception` is the network that the Fréchet Inception distance is measured with.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from noisette.data import fetch
from noisette.errors import UserError, nearest


def main(names: Sequence[str]) -> int:
    """Fetches and prints one path a line. Returns the exit code, 2 where a set is not to be had."""
    packed = {"digits": fetch.digits_file, "inception": fetch.inception_file}
    try:
        for name in names or ("digits",):
            if name not in packed and name not in fetch.REMOTE:
                raise UserError(f'no data set named "{name}" to fetch{nearest(name, (*packed, *fetch.REMOTE))}')
            print(packed[name]() if name in packed else fetch.named_set(name))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
