"""`make bench`: run the measurements and print one table."""

import argparse
import importlib
import os
import pkgutil
import sys
import time
import traceback
from collections.abc import Iterator

import benchmarks
from benchmarks.duration import QUICK_VARIABLE
from benchmarks.row import Row

_PREFIX = "bench_"
_HEADINGS = ("what", "value", "ratio", "compared with", "budget")


def main() -> int:
    names = [
        module.name.removeprefix(_PREFIX)
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name.startswith(_PREFIX)
    ]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure, and print one table; docs/benchmarks.md says how to read it.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="only see that everything works")
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.quick:
        os.environ[QUICK_VARIABLE] = "1"
    rows: list[Row] = []
    failed = [name for name in options.names or names if not _collect(name, rows)]
    _print_table(rows)
    if failed:
        print(f"\nNot measured, see above: {', '.join(failed)}")
    return 1 if failed else 0


def _collect(name: str, rows: list[Row]) -> bool:
    """One measurement that fails must not cost the others."""
    started_s = time.monotonic()
    print(f"measuring {name} ...", file=sys.stderr, flush=True)
    try:
        module = importlib.import_module(f"benchmarks.{_PREFIX}{name}")
        measured: Iterator[Row] = module.measure()
        rows.extend(measured)
    except Exception:
        traceback.print_exc()
        return False
    print(f"  {time.monotonic() - started_s:.0f} s", file=sys.stderr, flush=True)
    return True


def _print_table(rows: list[Row]) -> None:
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    for number, line in enumerate(lines):
        cells = " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {cells} |")
        if number == 0:
            print(f"|{'|'.join('-' * (width + 2) for width in widths)}|")


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return (row.name, f"{_number(row.value)} {row.unit}", ratio, row.reference, row.budget)


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
