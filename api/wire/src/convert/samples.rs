//! Arbitrary keys, resources and snapshots for property tests: every field takes every kind of value.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;
use weft_snapshot::*;

fn text() -> impl Strategy<Value = String> {
    "[ -~\u{e9}]{0,12}"
}

fn host() -> impl Strategy<Value = Host> {
    prop_oneof![
        "[a-z]{1,5}(\\.[a-z]{1,5}){0,2}".prop_map(|text| text.parse().unwrap()),
        "\\*\\.[a-z]{1,5}".prop_map(|text| text.parse().unwrap()),
    ]
}

fn backend_name() -> impl Strategy<Value = BackendName> {
    (host(), any::<u16>(), "[a-z0-9]{0,3}").prop_map(|(host, port, subset)| BackendName { host, port, subset })
}

fn identity() -> impl Strategy<Value = SpiffeId> {
    ("[a-z]{1,5}", "[a-z]{1,5}", "[a-z]{1,5}").prop_map(|(d, n, a)| SpiffeId::new(&d, &n, &a).unwrap())
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

fn duration() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_nanos)
}

fn status() -> impl Strategy<Value = u16> {
    100..1000_u16
}

fn filters() -> impl Strategy<Value = Vec<FilterKey>> {
    vec(text().prop_map(FilterKey), 0..3)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn labels() -> impl Strategy<Value = Labels> {
    vec(text(), 7).prop_map(|texts| {
        let [workload, namespace, canonical_service, canonical_revision, app, version, cluster] =
            texts.try_into().unwrap();
        Labels { workload, namespace, canonical_service, canonical_revision, app, version, cluster }
    })
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Http, Protocol::Http2, Protocol::Tcp, Protocol::Detect])
}

fn trust() -> impl Strategy<Value = Trust> {
    (text(), vec(vec(any::<u8>(), 0..20), 0..3), vec(any::<[u8; 32]>(), 0..3))
        .prop_map(|(trust_domain, roots, signers)| Trust { trust_domain, roots, signers })
}

fn workload() -> impl Strategy<Value = Workload> {
    let modes = vec![MtlsMode::Disable, MtlsMode::Permissive, MtlsMode::Strict];
    let port = (any::<u16>(), address(), protocol(), prop::sample::select(modes.clone()), filters())
        .prop_map(|(port, app, protocol, mtls, filters)| InboundPort { port, app, protocol, mtls, filters });
    let service = (host(), any::<u16>(), any::<u16>(), vec(host(), 0..3))
        .prop_map(|(host, port, target, domains)| InboundService { host, port, target, domains });
    let others = (prop::sample::select(modes), filters()).prop_map(|(mtls, filters)| OtherPorts { mtls, filters });
    let inbound = (vec(port, 0..3), vec(service, 0..3), others).prop_map(|(ports, services, others)| Inbound {
        ports,
        services,
        others,
    });
    let outbound = prop::sample::select(vec![OutboundPolicy::AllowAny, OutboundPolicy::RegistryOnly]);
    ("[a-z]{1,5}/[a-z]{1,5}", identity(), labels(), inbound, outbound).prop_map(
        |(name, identity, labels, inbound, outbound)| Workload {
            name: name.parse().unwrap(),
            identity,
            labels,
            inbound,
            outbound,
        },
    )
}

fn backend() -> impl Strategy<Value = Backend> {
    let balancers =
        vec![LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, LoadBalancer::Random, LoadBalancer::Original];
    let limits = vec(of(any::<u32>()), 5).prop_map(|limits| PoolLimits {
        connections_max: limits[0],
        pending_requests_max: limits[1],
        requests_max: limits[2],
        retries_max: limits[3],
        requests_per_connection_max: limits[4],
    });
    let upgrade = prop::sample::select(vec![Upgrade::Keep, Upgrade::Http2]);
    let balancer = prop::sample::select(balancers);
    (backend_name(), text(), balancer, duration(), of(duration()), limits, upgrade).prop_map(
        |(name, namespace, load_balancer, connect_timeout, idle_timeout, limits, upgrade)| Backend {
            name,
            namespace,
            load_balancer,
            connect_timeout,
            idle_timeout,
            limits,
            upgrade,
        },
    )
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let dial = prop_oneof![
        address().prop_map(Dial::Address),
        (text(), any::<u16>()).prop_map(|(host, port)| Dial::Name { host, port }),
    ];
    let tls = (identity(), text()).prop_map(|(identity, sni)| PeerTls { identity, sni });
    (dial, of(tls), 1..=u32::MAX, labels()).prop_map(|(dial, tls, weight, labels)| Endpoint {
        dial,
        tls,
        weight,
        labels,
    })
}

fn filter() -> impl Strategy<Value = Filter> {
    let failure = prop::sample::select(vec![FailurePolicy::Closed, FailurePolicy::Open]);
    let non_utf8 = prop::sample::select(vec![NonUtf8::Refuse, NonUtf8::Absent]);
    let isolation = prop::sample::select(vec![Isolation::Reuse, Isolation::Request]);
    (text(), of(digest()), of(digest()), text(), duration(), any::<u64>(), failure, non_utf8, isolation).prop_map(
        |(key, component, artifact, config, deadline, memory_max, failure_policy, non_utf8, isolation)| Filter {
            key: FilterKey(key),
            component,
            artifact,
            config,
            deadline,
            memory_max,
            failure_policy,
            non_utf8,
            isolation,
        },
    )
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        text().prop_map(StringMatch::Exact),
        text().prop_map(StringMatch::Prefix),
        text().prop_map(StringMatch::Regex),
        Just(StringMatch::Present),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    let pairs = || vec((text(), text()), 0..3);
    let ops =
        move || (pairs(), pairs(), vec(text(), 0..3)).prop_map(|(set, add, remove)| HeaderOps { set, add, remove });
    (ops(), ops()).prop_map(|(request, response)| Headers { request, response })
}

fn found() -> impl Strategy<Value = Match> {
    let named = || vec((text(), string_match()), 0..2);
    let one = || of(string_match());
    (one(), any::<bool>(), one(), one(), one(), named(), named(), named(), of(any::<u16>())).prop_map(
        |(uri, ignore_uri_case, scheme, method, authority, headers, without_headers, query, port)| Match {
            uri,
            ignore_uri_case,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            query,
            port,
        },
    )
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    use RetryOn::*;
    let conditions = vec![
        FiveXx,
        GatewayError,
        Reset,
        ResetBeforeRequest,
        ConnectFailure,
        RefusedStream,
        Retriable4xx,
        RetriableStatusCodes,
        RetriableHeaders,
        EnvoyRateLimited,
        Http3PostConnectFailure,
        GrpcCancelled,
        GrpcDeadlineExceeded,
        GrpcInternal,
        GrpcResourceExhausted,
        GrpcUnavailable,
    ];
    let on = vec(prop::sample::select(conditions), 0..4);
    (any::<u32>(), of(duration()), on, vec(status(), 0..3), duration(), any::<bool>()).prop_map(
        |(attempts, per_try_timeout, on, status_codes, backoff, ignore_previous_hosts)| RetryPolicy {
            attempts,
            per_try_timeout,
            on,
            status_codes,
            backoff,
            ignore_previous_hosts,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    let destination = (backend_name(), any::<u32>(), headers(), filters())
        .prop_map(|(backend, weight, headers, filters)| Destination { backend, weight, headers, filters });
    let path = prop_oneof![
        text().prop_map(RewritePath::Replace),
        (text(), text()).prop_map(|(pattern, with)| RewritePath::Regex { pattern, with }),
    ];
    let rewrite = (of(path), of(text())).prop_map(|(path, authority)| Rewrite { path, authority });
    let forward = (vec(destination, 1..3), of(rewrite), of(duration()), of(retry()))
        .prop_map(|(destinations, rewrite, timeout, retry)| Forward { destinations, rewrite, timeout, retry });
    let port = prop_oneof![
        any::<u16>().prop_map(RedirectPort::Number),
        Just(RedirectPort::ProtocolDefault),
        Just(RedirectPort::Request),
    ];
    let path = prop_oneof![text().prop_map(RedirectPath::Replace), text().prop_map(RedirectPath::Prefix)];
    let redirect = (status(), of(text()), of(text()), of(port), of(path))
        .prop_map(|(status, scheme, authority, port, path)| Redirect { status, scheme, authority, port, path });
    let direct = (status(), vec(any::<u8>(), 0..20)).prop_map(|(status, body)| Direct { status, body });
    prop_oneof![forward.prop_map(Action::Forward), redirect.prop_map(Action::Redirect), direct.prop_map(Action::Direct)]
}

fn service() -> impl Strategy<Value = Service> {
    let rule = (text(), text(), vec(found(), 0..2), headers(), action(), filters()).prop_map(
        |(name, origin, matches, headers, action, filters)| Rule { name, origin, matches, headers, action, filters },
    );
    let port = (any::<u16>(), text(), protocol(), backend_name())
        .prop_map(|(port, name, protocol, backend)| ServicePort { port, name, protocol, backend });
    (host(), text(), vec(host(), 0..3), vec(port, 0..3), vec(rule, 0..3))
        .prop_map(|(name, namespace, domains, ports, rules)| Service { name, namespace, domains, ports, rules })
}

fn answer() -> impl Strategy<Value = Answer> {
    (host(), of(host())).prop_map(|(asked, service)| Answer { asked, service })
}

/// A key with a resource of its own.
pub(crate) fn entry() -> impl Strategy<Value = (Key, Resource)> {
    prop_oneof![
        trust().prop_map(|trust| (Key::Trust, Resource::Trust(trust))),
        workload().prop_map(|workload| (Key::Workload, Resource::Workload(workload))),
        answer().prop_map(|answer| (Key::Answer(answer.asked.clone()), Resource::Answer(answer))),
        service().prop_map(|service| (Key::Service(service.name.clone()), Resource::Service(service))),
        backend().prop_map(|backend| (Key::Backend(backend.name.clone()), Resource::Backend(backend))),
        (backend_name(), vec(endpoint(), 0..3)).prop_map(|(name, e)| (Key::Endpoints(name), Resource::Endpoints(e))),
        filter().prop_map(|filter| (Key::Filter(filter.key.clone()), Resource::Filter(filter))),
    ]
}

pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
    vec(entry(), 0..8).prop_map(|entries| {
        let mut snapshot = Snapshot::default();
        for (key, resource) in entries {
            snapshot.insert(key, resource).unwrap();
        }
        snapshot
    })
}
