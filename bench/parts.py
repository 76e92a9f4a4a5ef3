"""The parts of a run. Each starts its own processes and answers {name: figures}."""

import json
import os
import pathlib
import random
import re
import statistics
import subprocess
import time
import urllib.request

import peers
from measure import one_request, open_loop, per_request, rss_kib, wrk
from proxies import HERE, Proxy, until

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_A_ROUND", "3"))
RATE = 2000
SWAPS = 20
# Memory counts as idle once it has stayed the same for so long: longer than connections wait to be closed as unneeded.
STABLE_SECONDS, STABLE_KIB, IDLE_SECONDS_MAX = 30, 64, 120

FILTER = """
---
apiVersion: weft.dev/v1alpha1
kind: Filter
metadata: {name: @NAME@}
spec: {image: "oci-layout:@IMAGES@:1", refresh: 1h, config: @CONFIG@}
"""
HEADER = "{request: {set: {x-filter: bench}}}"


def interleaved(proxies, load):
    """{name: rows}; `proxies` is {name: [proxy to ask, further proxies that count]}."""
    for asked, *_ in proxies.values():
        one_request(asked)
        load(asked)  # warm-up
    rows = {name: [] for name in proxies}
    for _ in range(ROUNDS):
        for name, chain in proxies.items():
            rows[name].append(per_request([proxy.pid for proxy in chain], lambda: load(chain[0])))
    return rows


def figures(rows, *bases):
    """Medians of the rounds, and the median of the rounds' ratios to each base."""
    result = {}
    for name, samples in rows.items():
        result[name] = {key: round(statistics.median(row[key] for row in samples), 1) for key in samples[0]}
        for base in bases:
            if name != base and base in rows:
                ratios = [one["cpu_us"] / other["cpu_us"] for one, other in zip(samples, rows[base])]
                result[name][f"to_{base}"] = round(statistics.median(ratios), 3)
    return result


def saturated(bench):
    return figures(interleaved(each_alone(bench), lambda proxy: wrk(proxy, SECONDS, bench.cpu_load)), "envoy", "haproxy")


def open_loop_part(bench):
    direct = Proxy("upstream", bench.started[0], bench.upstream)
    direct.measured = os.getpid()
    proxies = {"direct": [direct], **each_alone(bench)}
    result = figures(interleaved(proxies, lambda proxy: open_loop(proxy, RATE, SECONDS, bench.cpu_load)), "envoy", "haproxy")
    straight = result.pop("direct")
    for row in result.values():
        row["added_p50_us"] = round(row["p50_us"] - straight["p50_us"], 1)
    result["direct"] = {"p50_us": straight["p50_us"], "p99_us": straight["p99_us"]}
    return result


def filters(bench):
    """One proxy by itself, without and with one filter that sets a header, for the filter's own price."""
    proxies = {"envoy": [peers.envoy(bench)], "haproxy": [peers.haproxy(bench)]}
    proxies |= {f"envoy, {one}": [peers.envoy(bench, filter=one)] for one in peers.ENVOY_FILTERS}
    proxies |= {f"haproxy, {one}": [peers.haproxy(bench, filter=one)] for one in peers.HAPROXY_FILTERS}
    proxies["weft"] = [weft(bench, bench.weft_config("alone"))]
    proxies["weft, wasm"] = [weft(bench, with_filters(bench, "alone-filter"))]
    rows = interleaved(proxies, lambda proxy: wrk(proxy, SECONDS, bench.cpu_load))
    result = figures(rows)
    for name in result:
        kind, _, one = name.partition(", ")
        if one:
            prices = [filtered["cpu_us"] - plain["cpu_us"] for filtered, plain in zip(rows[name], rows[kind])]
            result[name]["filter_us"] = round(statistics.median(prices), 1)
    return result


def chain(bench):
    """Two sidecars with mutual TLS between them; `callee_us` is the one with mutual TLS in."""
    peers.certificates(bench)
    proxies = {}
    for kind, ones in (("envoy", (None, "native", "lua", "wasm")), ("haproxy", (None, "native", "lua")), ("nginx", (None,))):
        for one, pair in peers.chain(bench, kind, ones).items():
            proxies[f"{kind}, {one}" if one else kind] = list(pair)
    for name, config in (("weft", bench.weft_config("chain")), ("weft, wasm", with_filters(bench, "chain-filter"))):
        controlplane = bench.controlplane(config)
        server = bench.sidecar("app-v1", "app", controlplane)
        client = bench.sidecar("client", "client", controlplane)
        until("the caller's sidecar calls through the callee's", lambda: secured(client))
        proxies[name] = [client, server]
    return figures(interleaved(proxies, lambda proxy: wrk(proxy, SECONDS, bench.cpu_load)), "envoy", "haproxy")


def secured(client):
    one_request(client)
    return "spiffe://cluster.local/ns/default/sa/app" in metrics(client)


def instructions(bench):
    """By the test that holds requests to their budgets: tests/tests/instructions.rs."""
    file = bench.folder / "instructions.json"
    subprocess.run(["cargo", "test", "--quiet", "-p", "weft-tests", "--test", "instructions", "--", "--ignored"],
                   cwd=HERE.parent, env={**os.environ, "WEFT_FIGURES": str(file)}, check=True, capture_output=True)
    figures = json.loads(file.read_text())
    result = {"weft": {"instructions": figures.pop("request"), "binary_bytes": figures.pop("binary")}}
    return result | {f"weft, {name}": {"filter_instructions": more} for name, more in figures.items()}


def memory(bench):
    """Idle: 2 workers, 3 filters loaded, after 100 connections have closed. What a burst left behind goes within seconds."""
    sidecar = weft(bench, with_filters(bench, "memory", ("headers", "headers2", "headers3")), workers=2)
    one_request(sidecar)
    start = rss_kib(sidecar.pid)
    wrk(sidecar, 2, bench.cpu_load, connections=100)
    until("the connections have closed", lambda: re.search(r'^weft_connections\{direction="downstream"\} 0$', metrics(sidecar), re.M))
    closed = time.monotonic()
    peak, idle, since = rss_kib(sidecar.pid), None, closed
    while time.monotonic() - since < STABLE_SECONDS and time.monotonic() - closed < IDLE_SECONDS_MAX:
        time.sleep(1)
        now = rss_kib(sidecar.pid)
        if idle is None or abs(now - idle) > STABLE_KIB:
            idle, since = now, time.monotonic()
    mib = {"rss_mib_start": start, "rss_mib_closed": peak, "rss_mib_idle": idle}
    return {"weft": {**{name: round(kib / 1024, 1) for name, kib in mib.items()}, "idle_after_s": round(since - closed)}}


def publish(bench):
    """From a filter pushed under its tag to the first request that meets it, 20 times; each is a component of its own.

    Nothing else runs, so the control plane compiles on both cores, as it would.
    """
    filter = component(bench)
    controlplane = bench.controlplane(with_filters(bench, "publish"), cpu=f"{bench.cpu_proxy},{bench.cpu_load}")
    sidecar = bench.sidecar("client", "client", controlplane, more=("--filter-header",))
    from_start, from_end = [], []
    for swap in range(SWAPS):
        file = bench.folder / "next.wasm"
        # A custom section more makes another component of it, which nothing has compiled or cached.
        section = bytes([1, ord("n")]) + random.randbytes(32)
        file.write_bytes(filter.read_bytes() + bytes([0, len(section)]) + section)
        begun = time.monotonic()
        push = subprocess.run([os.environ["WEFT"], "filter", "push", file, f"oci-layout:{bench.folder / 'images'}:1"],
                              check=True, capture_output=True, text=True)
        pushed = time.monotonic()
        digest = re.search(r"sha256:[0-9a-f]{64}", push.stderr).group(0)
        met = until(f"a request meets {digest}", lambda: meets(sidecar, digest))
        from_start.append((met - begun) * 1e3)
        from_end.append((met - pushed) * 1e3)
    spread = lambda times: {"p50": round(statistics.median(times), 1), "max": round(max(times), 1)}
    return {"weft": {f"{point}_{key}_ms": value for point, times in (("pushed", from_end), ("push_begun", from_start))
                     for key, value in spread(times).items()}}


def meets(sidecar, digest):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{sidecar.port}"}))
    with opener.open(sidecar.path, timeout=15) as response:
        if response.status != 200 or len(response.read()) != 100:
            raise SystemExit(f"a wrong answer while filters were swapped: {response.status}")
        return time.monotonic() if digest.removeprefix("sha256:")[:12] in response.headers.get("x-weft-filters", "") else None


def each_alone(bench):
    return {"envoy": [peers.envoy(bench)], "haproxy": [peers.haproxy(bench)], "nginx": [peers.nginx(bench)],
            "weft": [weft(bench, bench.weft_config("plain"))]}


def weft(bench, config, **options):
    return bench.sidecar("client", "client", bench.controlplane(config), **options)


def component(bench):
    """The standard filter `headers`, built once and pushed into a layout."""
    file, images = bench.folder / "headers.wasm", bench.folder / "images"
    if not file.exists():
        subprocess.run([os.environ["WEFT"], "filter", "build", HERE.parent / "filters/headers", "-o", file], check=True,
                       capture_output=True)
        subprocess.run([os.environ["WEFT"], "filter", "push", file, f"oci-layout:{images}:1"], check=True, capture_output=True)
    return file


def with_filters(bench, folder, names=("headers",)):
    component(bench)
    text = FILTER.replace("@IMAGES@", str(bench.folder / "images")).replace("@CONFIG@", HEADER)
    attached = ", ".join(f"{{name: {name}}}" for name in names)
    return bench.weft_config(folder, filters=f"\n    filters: [{attached}]",
                             more="".join(text.replace("@NAME@", name) for name in names))


def metrics(sidecar):
    return urllib.request.urlopen(f"http://{sidecar.admin}/stats/prometheus").read().decode()


PARTS = {"saturated": saturated, "open-loop": open_loop_part, "filters": filters, "chain": chain,
         "instructions": instructions, "memory": memory, "publish": publish}
TITLES = {
    "saturated": "saturated, h1 to h1, 32 connections, 100 bytes",
    "open-loop": f"open loop, {RATE} requests/s on 32 connections",
    "filters": "one filter that sets a request header, saturated",
    "chain": "two sidecars, mutual TLS between them, saturated",
    "instructions": "user instructions per request (callgrind)",
    "memory": "idle memory: 2 workers, 3 filters, after 100 connections have closed",
    "publish": f"from a filter's push to its first request, {SWAPS} times",
}
