"""Weft beside Envoy, HAProxy and nginx: parts run interleaved, ratios by round, every answer judged. Run by bench/run.

Ratios are medians over rounds of one interleaved run: this kind of machine changes its speed from second to second, so
an absolute figure of one round says little.
"""

import datetime
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from parts import PARTS, ROUNDS, SECONDS, TITLES
from proxies import HERE, Bench

COLUMNS = {
    "cpu_us": "CPU µs a request", "user_us": "of it user", "callee_us": "callee alone (mTLS in)", "filter_us": "for the filter",
    "p50_us": "p50 µs", "p99_us": "p99 µs", "added_p50_us": "added p50 µs", "to_envoy": "to Envoy", "to_haproxy": "to HAProxy",
    "instructions": "instructions", "filter_instructions": "for the filter", "binary_bytes": "bytes of the binary",
    "rss_mib_start": "MiB at first request", "rss_mib_closed": "MiB as they close", "rss_mib_idle": "MiB idle",
    "idle_after_s": "s until then", "pushed_p50_ms": "ms after the push, p50", "pushed_max_ms": "max",
    "push_begun_p50_ms": "ms from its begin, p50", "push_begun_max_ms": "max",
}


def markdown(name, result):
    """A table of the part, for README."""
    columns = [key for key in COLUMNS if any(key in row for row in result.values())]
    lines = ["| " + " | ".join([TITLES[name], *(COLUMNS[key] for key in columns)]) + " |", "|-" * (len(columns) + 1) + "|"]
    for row, values in result.items():
        cells = [f"{values[key]:,}" if key in values else "" for key in columns]
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines)


def measured(name):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-bench-"))
    shutil.copy(os.environ["WEFT_HEADER_WASM"], folder / "header.wasm")
    bench = Bench(folder)
    try:
        bench.start_upstream()
        result = PARTS[name](bench)
    except BaseException:
        print(f"logs of the failed run: {folder}", file=sys.stderr)
        raise
    finally:
        bench.stop()
    shutil.rmtree(folder, ignore_errors=True)
    return result


def main():
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        raise SystemExit(f"no part {unknown}; there are {', '.join(PARTS)}")
    revision = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout
    date = datetime.date.today().isoformat()
    file = HERE / "results" / f"{date}.json"
    file.parent.mkdir(exist_ok=True)
    # Parts of the same day that are not run again stay.
    results = json.loads(file.read_text()) if file.exists() else {}
    results |= {"date": date, "revision": revision.strip(), "proxy": pathlib.Path(os.environ["WEFT_PROXY"]).parent.name, "rounds": ROUNDS,
               "seconds_a_round": SECONDS}
    for name in wanted:
        results[name] = measured(name)
        print(f"\n{markdown(name, results[name])}", flush=True)
        file.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten to {file.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
