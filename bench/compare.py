"""Weft beside Envoy and HAProxy: parts run interleaved, ratios by round, every answer checked. Run by bench/run.

Ratios are medians over rounds of one interleaved run: this kind of machine changes its speed from second to second, so
an absolute figure of one round says little.
"""

import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from measure import one_request, open_loop, per_request, rss_kib, wrk
from proxies import Bench, until

HERE = pathlib.Path(__file__).parent
ROUNDS = int(os.environ.get("ROUNDS", "7"))
SECONDS = int(os.environ.get("SECONDS_A_ROUND", "3"))
RATE = 2000


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def interleaved(bench, proxies, load):
    """{name: rows}; `proxies` is {name: (proxy, pids)}."""
    rows = {name: [] for name in proxies}
    for proxy, _ in proxies.values():
        one_request(proxy)
        load(proxy)  # warm-up
    for _ in range(ROUNDS):
        for name, (proxy, pids) in proxies.items():
            rows[name].append(per_request(pids, lambda: load(proxy)))
    return rows


def table(title, rows, base="envoy"):
    result = {}
    print(f"\n{title}")
    for name, samples in rows.items():
        ratio = None
        if name != base and base in rows:
            ratio = statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in zip(samples, rows[base]))
        figures = {key: round(median(samples, key), 1) for key in samples[0]}
        result[name] = {**figures, f"ratio_to_{base}": round(ratio, 3) if ratio else None, "rounds": len(samples)}
        p50 = f"  p50 {figures['p50_us']:.0f} µs" if "p50_us" in figures else ""
        against = f"  {ratio:.2f}x {base}" if ratio else ""
        print(f"  {name:<16} {figures['cpu_us']:6.1f} µs CPU/request (user {figures['user_us']:.1f}){p50}{against}")
    return result


def peers(bench, controlplane):
    weft = bench.sidecar("client", "client", controlplane)
    return {"envoy": bench.envoy(), "haproxy": bench.haproxy(), "weft": weft}


def both_bases(title, rows):
    result = table(title, rows)
    against = statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in zip(rows["weft"], rows["haproxy"]))
    result["weft"]["ratio_to_haproxy"] = round(against, 3)
    print(f"  weft is {against:.2f}x haproxy")
    return result


def saturated(bench):
    controlplane = bench.controlplane(bench.weft_config("plain"))
    running = {name: (proxy, [proxy.pid]) for name, proxy in peers(bench, controlplane).items()}
    rows = interleaved(bench, running, lambda proxy: wrk(proxy, SECONDS, bench.cpu_load))
    return both_bases("saturated, h1 to h1, 32 connections, 100 bytes", rows)


def open_loop_part(bench):
    controlplane = bench.controlplane(bench.weft_config("plain"))
    running = {name: (proxy, [proxy.pid]) for name, proxy in peers(bench, controlplane).items()}
    rows = interleaved(bench, running, lambda proxy: open_loop(proxy, RATE, SECONDS, bench.cpu_load))
    return both_bases(f"open loop, {RATE} requests/s, 32 connections", rows)


FILTER_HEADERS = """
---
apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: headers}
spec:
  image: oci-layout:@IMAGES@:1
  config: {request: {set: {x-filter: bench}}}
"""


def with_filter(bench, folder):
    images = bench.folder / "images"
    if not images.exists():
        subprocess.run([os.environ["WEFT"], "filter", "push", HERE.parent / "filters/headers", f"oci-layout:{images}:1"],
                       check=True, capture_output=True)
    more = FILTER_HEADERS.replace("@IMAGES@", str(images))
    return bench.weft_config(folder, filters="\n    filters: [{name: headers}]", more=more)


def chain(bench):
    """The two-sidecar chain with mutual TLS: the callee's sidecar by itself is `mTLS in`."""
    rows = {}
    for name, folder in (("weft", "chain"), ("weft+filter", "chain-filter")):
        config = bench.weft_config(folder) if name == "weft" else with_filter(bench, folder)
        controlplane = bench.controlplane(config)
        server = bench.sidecar("app-v1", "app", controlplane)
        client = bench.sidecar("client", "client", controlplane)
        until("the client's sidecar calls through the server's", lambda: one_request(client) is None)
        rows[name] = (client, [client.pid, server.pid])
        rows[name + " mTLS in"] = (client, [server.pid])
    result = interleaved(bench, rows, lambda proxy: wrk(proxy, SECONDS, bench.cpu_load))
    return table("two sidecars, mutual TLS between them", result, base="weft")


def instructions(bench):
    """User instructions per request by callgrind: two runs that differ in requests alone."""
    result = {}
    for name, config in (("plain", bench.weft_config("grind")), ("filter", with_filter(bench, "grind-filter"))):
        controlplane = bench.controlplane(config)
        counts = {}
        for requests in (500, 2500):
            out = bench.folder / f"{name}-{requests}.callgrind"
            prefix = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "-q"]
            sidecar = bench.sidecar("client", "client", controlplane, prefix=prefix)
            one_request(sidecar)
            subprocess.run(["h2load", "--h1", "-c1", "-t1", f"-n{requests}", f"-HHost: {sidecar.host}",
                            f"http://127.0.0.1:{sidecar.port}/app/x"], check=True, capture_output=True)
            sidecar.stop()
            counts[requests] = int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M).group(1))
        result[name] = round((counts[2500] - counts[500]) / 2000)
    print("\nuser instructions per request (callgrind)")
    print(f"  weft {result['plain']:,}; with a header filter {result['filter'] - result['plain']:+,}")
    return result


def memory(bench):
    """Idle RSS: 2 workers, 3 filters loaded, after 100 connections have closed."""
    controlplane = bench.controlplane(three_filters(bench))
    sidecar = bench.sidecar("client", "client", controlplane, workers=2)
    one_request(sidecar)
    start = rss_kib(sidecar.pid)
    wrk(sidecar, 2, bench.cpu_load, connections=100)
    gauge = f"http://{sidecar.admin}/stats/prometheus"
    until("the connections have closed", lambda: re.search(r'^weft_connections\{direction="downstream"\} 0$', urllib.request.urlopen(gauge).read().decode(), re.M))
    time.sleep(3)
    result = {"rss_mib_start": round(start / 1024, 1), "rss_mib_idle": round(rss_kib(sidecar.pid) / 1024, 1)}
    print(f"\nidle memory, 2 workers, 3 filters, after 100 connections: {result['rss_mib_idle']} MiB (at start {result['rss_mib_start']})")
    return result


def three_filters(bench):
    config = with_filter(bench, "memory")
    text = (config / "mesh.yaml").read_text()
    for n in (2, 3):
        text += FILTER_HEADERS.replace("@IMAGES@", str(bench.folder / "images")).replace("name: headers", f"name: headers{n}")
    text = text.replace("filters: [{name: headers}]", "filters: [{name: headers}, {name: headers2}, {name: headers3}]")
    (config / "mesh.yaml").write_text(text)
    return config


PARTS = {"saturated": saturated, "open-loop": open_loop_part, "chain": chain, "instructions": instructions, "memory": memory}


def main():
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        raise SystemExit(f"no part {unknown}; there are {', '.join(PARTS)}")
    results = {"rounds": ROUNDS, "seconds_a_round": SECONDS}
    for name in wanted:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-bench-"))
        bench = Bench(folder)
        try:
            bench.start_upstream()
            results[name] = PARTS[name](bench)
        except BaseException:
            print(f"logs of the failed run: {folder}", file=sys.stderr)
            raise
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            bench.stop()
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results/latest.json").write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
