"""What is measured: CPU time of a process over a load, whose every answer is checked."""

import os
import pathlib
import re
import subprocess
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")
HERE = pathlib.Path(__file__).parent


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def one_request(proxy):
    """The whole answer, once, with a client of its own: a proxy that answers wrongly is not measured."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"http://127.0.0.1:{proxy.port}/app/x", headers={"Host": proxy.host})
    if proxy.path.startswith("http"):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://127.0.0.1:{proxy.port}"}))
        request = urllib.request.Request(proxy.path)
    with opener.open(request, timeout=15) as response:
        body = response.read()
    if response.status != 200 or body != b"x" * 100:
        raise SystemExit(f"{proxy.name} answers {response.status} with {body[:80]!r}")


def wrk(proxy, seconds, cpu, connections=32):
    """Requests made; fails on any answer but 200 with 100 bytes, and on any socket error."""
    output = subprocess.run(
        ["taskset", "-c", cpu, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", HERE / "judge.lua",
         f"http://127.0.0.1:{proxy.port}/", "--", proxy.path, proxy.host],
        check=True, capture_output=True, text=True,
    ).stdout
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    wrong = re.search(r"wrong answers: (\d+)", output)
    if "Non-2xx" in output or "Socket errors" in output or not wrong or int(wrong.group(1)):
        raise SystemExit(f"{proxy.name} gave wrong answers:\n{output}")
    return requests


def open_loop(proxy, rate, seconds, cpu, connections=32):
    """A fixed rate by h2load on HTTP/1.1; answers requests made and the median latency in µs."""
    uri = proxy.path if proxy.path.startswith("http") else f"http://{proxy.host}{proxy.path}"
    base = f"http://127.0.0.1:{proxy.port}{'' if proxy.path.startswith('http') else proxy.path}"
    command = ["taskset", "-c", cpu, "h2load", "--h1", f"-c{connections}", f"--rps={rate // connections}",
               f"-D{seconds}", f"-HHost: {proxy.host}", base]
    if proxy.path.startswith("http"):
        # h2load writes origin-form only; the sidecar's listener takes it by Host.
        command[-1] = f"http://127.0.0.1:{proxy.port}/app/x"
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done = re.search(r"(\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    if not done or int(done.group(4)) or int(done.group(5)):
        raise SystemExit(f"{proxy.name} ({uri}) failed requests:\n{output}")
    latency = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+?)(us|ms|s)\s", output)
    unit = {"us": 1, "ms": 1e3, "s": 1e6}[latency.group(2)]
    return int(done.group(3)), float(latency.group(1)) * unit


def per_request(pids, load):
    """CPU µs (user, system) of these processes for each request that `load` makes."""
    before = [cpu_seconds(pid) for pid in pids]
    answer = load()
    after = [cpu_seconds(pid) for pid in pids]
    requests = answer[0] if isinstance(answer, tuple) else answer
    user = sum(b[0] - a[0] for a, b in zip(before, after)) * 1e6 / requests
    system = sum(b[1] - a[1] for a, b in zip(before, after)) * 1e6 / requests
    return {"requests": requests, "user_us": user, "system_us": system, "cpu_us": user + system,
            **({"p50_us": answer[1]} if isinstance(answer, tuple) else {})}
