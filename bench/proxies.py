"""The processes of a run: the upstream, Weft's control plane and sidecars; `peers.py` has the others."""

import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
BODY = "x" * 100
ROUTES = 9  # and the one that matches


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, ask, seconds=30):
    end = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
            if answer:
                return answer
            error = "not yet"
        except (OSError, ValueError) as e:
            error = e
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {seconds} s: {error}")
        time.sleep(0.02)


def listening(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


class Proxy:
    """A running proxy. `path` is what the request line names, `host` the Host header."""

    def __init__(self, name, process, port, path="/app/x", host="app:8080", admin=None):
        self.name, self.process, self.port = name, process, port
        self.path, self.host, self.admin = path, host, admin
        self.measured = process.pid

    @property
    def pid(self):
        """Whose CPU time and memory count."""
        return self.measured

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


class Bench:
    """A folder, an upstream, and everything that was started; ended together."""

    def __init__(self, folder, cpu_proxy="0", cpu_load="1"):
        self.folder = pathlib.Path(folder)
        self.cpu_proxy, self.cpu_load = cpu_proxy, cpu_load
        self.started = []
        self.upstream = free_port()

    def spawn(self, command, cpu, log, env=None):
        out = open(self.folder / log, "ab")
        process = subprocess.Popen(
            ["taskset", "-c", cpu, *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
        )
        self.started.append(process)
        return process

    def config(self, name, to=None, **values):
        text = (HERE / name).read_text()
        for key, value in {"DIR": self.folder, "UPSTREAM": self.upstream, "BODY": BODY, **values}.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / (to or f"{pathlib.Path(name).parent.name}-{pathlib.Path(name).name}")
        path.write_text(text)
        return path

    def start_upstream(self):
        self.spawn(["nginx", "-e", "stderr", "-c", self.config("peers/nginx.conf")], self.cpu_load, "nginx.log")
        until("nginx listens", lambda: listening(self.upstream))

    def weft_config(self, folder, filters="", more=""):
        routes = "\n".join(
            f"  - {{match: [{{uri: {{prefix: /r{n}}}}}], directResponse: {{status: 404}}}}" for n in range(ROUTES)
        )
        path = self.config("weft/mesh.yaml", ROUTES=routes, FILTERS=filters)
        config = self.folder / folder
        config.mkdir(exist_ok=True)
        (config / "mesh.yaml").write_text(path.read_text() + more)
        return config

    def controlplane(self, config, cpu=None):
        ports = self.folder / f"{config.name}.ports"
        state = self.folder / f"{config.name}-state"
        command = [
            os.environ["WEFT"], "controlplane", "-f", config, "--state", state, "--ports-file", ports,
            "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0",
        ]
        self.spawn(command, cpu or self.cpu_load, f"{config.name}-controlplane.log")
        until("the control plane is up", lambda: ports.exists() and json.loads(ports.read_text()))
        return json.loads(ports.read_text())["stream"], state

    def sidecar(self, workload, account, controlplane, workers=1, cpu=None, more=()):
        stream, state = controlplane
        token = subprocess.run(
            [os.environ["WEFT"], "token", "create", "--for", f"default/{account}", "--state", state],
            check=True, capture_output=True, text=True,
        ).stdout.strip()
        own = self.folder / f"{workload}-{free_port()}"
        own.mkdir()
        command = [
            os.environ["WEFT_PROXY"], "--workload", f"default/{workload}", "--controlplane", stream,
            "--state", own / "state", "--ports-file", own / "ports", "--workers", workers,
            "--inbound", "127.0.0.1:0", "--outbound", "127.0.0.1:0", "--admin", "127.0.0.1:0",
            "--access-log", own / "access.log", *more,
        ]
        process = self.spawn(command, cpu or self.cpu_proxy, f"{own.name}.log", env={"WEFT_TOKEN": token})
        until(f"sidecar {workload} is up", lambda: (own / "ports").exists() and json.loads((own / "ports").read_text()), 120)
        ports = json.loads((own / "ports").read_text())
        admin = ports["admin"]
        until(f"sidecar {workload} is ready", lambda: urllib.request.urlopen(f"http://{admin}/ready").status == 200, 120)
        port = int(ports["outbound"].rsplit(":", 1)[1])
        return Proxy(workload, process, port, path="http://app:8080/app/x", admin=admin)

    def stop(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.terminate()
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
