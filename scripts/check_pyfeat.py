"""What py-feat reads in files that hsemotion exported: run it with a Python that has py-feat (it needs no hsemotion).

    hsemotion export talk.csv --to openface,pyfeat -o exported
    python scripts/check_pyfeat.py exported/talk.openface.csv exported/talk.fex.csv

Prints JSON: the detector that py-feat takes each file for, and what its accessors give in the first row.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from feat.utils.io import read_feat, read_openface
from feat.version import __version__


def described(fex: Any, accessors: list[str]) -> dict[str, Any]:
    """Rows, columns, and the first row of what accessors of a Fex give."""
    found = {name: json.loads(getattr(fex, name).iloc[0].to_json()) for name in accessors}
    return {"detector": fex.detector, "rows": len(fex), "columns": list(fex.columns), **found}


def main() -> None:
    openface, fex = sys.argv[1:]
    read = {
        "version": __version__,
        "openface": described(read_openface(openface), ["time"]),
        "pyfeat": described(read_feat(fex), ["aus", "emotions", "faceboxes", "poses"]),
    }
    people = read_feat(fex).groupby("Identity").size()
    print(json.dumps({**read, "people": {str(name): int(count) for name, count in people.items()}}))


if __name__ == "__main__":
    main()
