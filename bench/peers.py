"""Envoy, HAProxy and nginx as sidecars: one by itself, or two with mutual TLS between them, with and without a filter."""

import os
import subprocess

from proxies import HERE, ROUTES, Proxy, free_port, listening, until

SAN = {"app": "DNS:app,URI:spiffe://cluster.local/ns/default/sa/app",
       "client": "DNS:client,URI:spiffe://cluster.local/ns/default/sa/client"}

ENVOY_TLS = """    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: app
        common_tls_context:
          tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}
          alpn_protocols: [http/1.1]
          tls_certificates: [{certificate_chain: {filename: @DIR@/client.crt}, private_key: {filename: @DIR@/client.key}}]
          validation_context:
            trusted_ca: {filename: @DIR@/ca.crt}
            match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "spiffe://cluster.local/ns/default/sa/app"}}]"""

ENVOY_FILTERS = {
    "native": """          - name: envoy.filters.http.header_mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: {request_mutations: [{append: {header: {key: x-filter, value: bench}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}""",
    "lua": """          - name: envoy.filters.http.lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code: {inline_string: "function envoy_on_request(handle) handle:headers():replace('x-filter', 'bench') end"}""",
    "wasm": """          - name: envoy.filters.http.wasm
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                vm_config: {runtime: envoy.wasm.runtime.v8, code: {local: {filename: @DIR@/header.wasm}}}""",
}

HAPROXY_TLS = "ssl crt @DIR@/client.pem ca-file @DIR@/ca.crt verify required verifyhost app sni str(app) ssl-min-ver TLSv1.3 alpn http/1.1"
HAPROXY_FILTERS = {
    "native": ("", "    http-request set-header x-filter bench"),
    "lua": (f"    lua-load {HERE}/peers/header.lua", "    http-request lua.header"),
}


def certificates(bench):
    """An authority and two certificates of it, with SPIFFE ids as Weft's have them: P-256."""
    run = lambda *command: subprocess.run(command, check=True, capture_output=True, cwd=bench.folder)
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run("openssl", "req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=bench",
        "-addext", "basicConstraints=critical,CA:TRUE")
    for name, san in SAN.items():
        run("openssl", "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (bench.folder / f"{name}.ext").write_text(f"subjectAltName={san}\n")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.crt", "-days", "2", "-extfile", f"{name}.ext")
        (bench.folder / f"{name}.pem").write_text(
            (bench.folder / f"{name}.crt").read_text() + (bench.folder / f"{name}.key").read_text())


def start(bench, name, command, port, log=None):
    process = bench.spawn(command, bench.cpu_proxy, log or f"{name}.log")
    until(f"{name} listens", lambda: listening(port))
    return Proxy(name, process, port)


def filled(bench, text):
    return text.replace("@DIR@", str(bench.folder))


def envoy(bench, upstream=None, tls=False, filter=None):
    port = free_port()
    routes = "\n".join(
        f"              - {{match: {{prefix: /r{n}}}, direct_response: {{status: 404}}}}" for n in range(ROUTES))
    config = bench.config("peers/envoy.yaml", to=f"envoy-{port}.yaml", LISTEN=port, ROUTES=routes,
                          UPSTREAM=upstream or bench.upstream, TLS=filled(bench, ENVOY_TLS) if tls else "",
                          FILTERS=filled(bench, ENVOY_FILTERS[filter]) if filter else "")
    return start(bench, f"envoy-{port}", envoy_command(config), port)


def envoy_server(bench):
    port = free_port()
    return start(bench, "envoy-server", envoy_command(bench.config("peers/envoy-server.yaml", LISTEN=port)), port)


def envoy_command(config):
    return [os.environ["WEFT_ENVOY"], "-c", config, "--concurrency", "1", "--use-dynamic-base-id", "-l", "error"]


def haproxy(bench, upstream=None, tls=False, filter=None):
    port = free_port()
    routes = "\n".join(f"    use_backend none if {{ path_beg /r{n} }}" for n in range(ROUTES))
    more, rule = HAPROXY_FILTERS[filter] if filter else ("", "")
    config = bench.config("peers/haproxy.cfg", to=f"haproxy-{port}.cfg", LISTEN=port, ROUTES=routes,
                          UPSTREAM=upstream or bench.upstream, TLS=filled(bench, HAPROXY_TLS) if tls else "",
                          GLOBAL=more, FILTERS=rule)
    return start(bench, f"haproxy-{port}", ["haproxy", "-db", "-f", config], port)


def haproxy_server(bench):
    port = free_port()
    config = bench.config("peers/haproxy-server.cfg", LISTEN=port)
    return start(bench, "haproxy-server", ["haproxy", "-db", "-f", config], port)


def nginx(bench, upstream=None, tls=False):
    port = free_port()
    routes = "\n".join(f"        location /r{n} {{ return 404; }}" for n in range(ROUTES))
    config = bench.config("peers/nginx-client.conf", to=f"nginx-{port}.conf", LISTEN=port, ROUTES=routes,
                          UPSTREAM=upstream or bench.upstream, SCHEME="https" if tls else "http")
    return nginx_worker(start(bench, f"nginx-{port}", ["nginx", "-e", "stderr", "-c", config], port))


def nginx_server(bench):
    port = free_port()
    config = bench.config("peers/nginx-server.conf", LISTEN=port)
    return nginx_worker(start(bench, "nginx-server", ["nginx", "-e", "stderr", "-c", config], port))


def nginx_worker(proxy):
    """The worker is a child of the process that was started, and its CPU time is what counts."""
    children = lambda: open(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read().split()
    proxy.measured = int(until("nginx's worker", children)[0])
    return proxy


CHAINS = {"envoy": (envoy, envoy_server), "haproxy": (haproxy, haproxy_server), "nginx": (nginx, nginx_server)}


def chain(bench, kind, filters=(None,)):
    """{filter: (caller, callee)}: one callee, and a caller for each filter."""
    caller, callee = CHAINS[kind]
    server = callee(bench)
    return {one: (caller(bench, server.port, True, *([one] if one else [])), server) for one in filters}
