# The few commands that a person needs. `just` lists them.

_default:
    @just --list

# Type-check and lint everything.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# All tests, installing what they need.
test:
    tests/run

# Weft on a Kubernetes node of its own.
cluster *ARGS:
    tests/cluster/run {{ARGS}}

# Container images, as they are shipped.
images *ARGS:
    deploy/images/build {{ARGS}}

# A mesh with sidecars, mTLS, Wasm filters and real traffic on this machine.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Weft beside Envoy and HAProxy in one interleaved run.
bench *ARGS:
    bench/run {{ARGS}}

# Licences, bans, sources and known vulnerabilities of the dependencies.
audit:
    cargo deny check
