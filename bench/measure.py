"""What is measured: CPU time of a process over a load, whose every answer is checked."""

import json
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
    """A fixed rate, whatever the answers take; answers requests made and latencies in µs. Judged by load.rs."""
    output = subprocess.run(
        ["taskset", "-c", cpu, os.environ["WEFT_LOAD"], str(proxy.port), proxy.path, proxy.host, str(rate), str(seconds),
         str(connections)], capture_output=True, text=True)
    if output.returncode:
        raise SystemExit(f"{proxy.name}: {output.stderr}")
    return json.loads(output.stdout)


def per_request(pids, load):
    """CPU µs (user, system) of these processes for each request that `load` makes, and of each of them by itself."""
    before = [cpu_seconds(pid) for pid in pids]
    answer = load()
    used = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, map(cpu_seconds, pids))]
    answer = answer if isinstance(answer, dict) else {"requests": answer}
    each = 1e6 / answer["requests"]
    user, system = sum(u for u, _ in used) * each, sum(s for _, s in used) * each
    last = {"callee_us": sum(used[-1]) * each} if len(pids) > 1 else {}
    return {**answer, "user_us": user, "system_us": system, "cpu_us": user + system, **last}
