"""Export many recordings to one BIDS dataset and let the validator judge it.

    python scripts/check_bids.py results/talk.csv --count 200

Copies a table and its sidecar under the names sub-001_ses-1_task-talk, ..., exports all of them, and prints the
validator's errors, the number of warnings, and the seconds that the export took.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="a CSV table made by annotate, with its sidecar")
    parser.add_argument("--count", type=int, default=200)
    chosen = parser.parse_args()
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        parser.error("bids-validator-deno is missing: pip install bids-validator-deno")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tables").mkdir()
        meta = json.loads(chosen.table.with_suffix(".json").read_text())
        for number in range(1, chosen.count + 1):
            stem = f"sub-{number:03d}_ses-1_task-talk"
            shutil.copy(chosen.table, folder / "tables" / f"{stem}.csv")
            (folder / "tables" / f"{stem}.json").write_text(json.dumps({**meta, "outputs": {"csv": f"{stem}.csv"}}))
        began = time.perf_counter()
        command = [sys.executable, "-m", "hsemotion_cli", "export", str(folder / "tables"), "--to", "bids"]
        subprocess.run([*command, "-o", str(folder / "out"), "-q"], check=True)
        print(f"{chosen.count} recordings exported in {time.perf_counter() - began:.1f} s")
        return judge(validator, folder / "out" / "bids")


def judge(validator: str, dataset: Path) -> int:
    """Print what the validator says; 0 if there is no error."""
    done = subprocess.run([validator, str(dataset), "--json"], capture_output=True, text=True, check=False)
    result = json.loads(done.stdout)
    issues = result["issues"]["issues"]
    errors = [issue for issue in issues if issue["severity"] == "error"]
    files = sum(path.is_file() for path in dataset.rglob("*"))
    print(f"{files} files, {len(errors)} errors, {len(issues) - len(errors)} warnings, exit code {done.returncode}")
    for code in sorted({f"{issue['severity']}: {issue['code']} {issue.get('subCode', '')}" for issue in issues}):
        print(f"  {code}")
    return 1 if errors or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
