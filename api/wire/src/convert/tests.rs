//! Every resource survives the wire, and nothing from outside panics or turns into a default.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use prost::Message;

proptest! {
    #[test]
    fn keys_and_resources_come_back((key, resource) in samples::entry()) {
        let bytes = encode_resource(&resource);
        prop_assert_eq!(decode_key(&encode_key(&key)), Ok(key));
        prop_assert_eq!(&bytes, &encode_resource(&resource), "the same bytes each time");
        prop_assert_eq!(decode_resource(&bytes), Ok(resource));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_key(&bytes);
        let _ = decode_resource(&bytes);
    }

    #[test]
    fn damaged_resources_never_panic((_, resource) in samples::entry(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = encode_resource(&resource);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode_resource(&bytes);
        let _ = decode_resource(&bytes[..at]);
    }
}

#[test]
fn what_is_not_known_is_refused() {
    use proto::resource::Resource as Kind;
    let mtls = |mtls: i32| proto::InboundPort {
        port: 1,
        app: "127.0.0.1:1".to_owned(),
        protocol: proto::Protocol::Http.into(),
        mtls,
        filters: vec![],
    };
    let workload = |port| {
        Kind::Workload(proto::Workload {
            name: "a/b".to_owned(),
            identity: "spiffe://t/ns/a/sa/b".to_owned(),
            labels: Some(proto::Labels::default()),
            inbound_ports: vec![port],
            inbound_services: vec![],
            outbound: proto::OutboundPolicy::AllowAny.into(),
            other_mtls: proto::MtlsMode::Strict.into(),
            other_filters: vec![],
        })
    };
    let rule = |action| {
        Kind::Service(proto::Service {
            name: "a.example".to_owned(),
            rules: vec![proto::Rule { headers: Some(proto::Headers::default()), action, ..Default::default() }],
            ..Default::default()
        })
    };
    let direct = |status| Some(proto::rule::Action::Direct(proto::Direct { status, body: vec![] }));
    let endpoint = |weight, dial| {
        let labels = Some(proto::Labels::default());
        Kind::Endpoints(proto::Endpoints { endpoints: vec![proto::Endpoint { dial, tls: None, weight, labels }] })
    };
    let dial = || Some(proto::endpoint::Dial::Address("127.0.0.1:1".to_owned()));
    let cases = [
        ("a known mode", workload(mtls(3)), None),
        ("the default of an enum", workload(mtls(0)), Some("MtlsMode has value 0")),
        ("an enum value of the future", workload(mtls(4)), Some("MtlsMode has value 4")),
        (
            "a port too high",
            workload(proto::InboundPort { port: 65536, ..mtls(3) }),
            Some("InboundPort.port cannot be"),
        ),
        ("no action, or one of the future", rule(None), Some("Rule.action is missing")),
        ("a status", rule(direct(404)), None),
        ("a status too high", rule(direct(1000)), Some("Direct.status cannot be 1000")),
        ("no destination", rule(Some(proto::rule::Action::Forward(proto::Forward::default()))), Some("destinations")),
        ("an endpoint", endpoint(1, dial()), None),
        ("an endpoint without weight", endpoint(0, dial()), Some("Endpoint.weight cannot be 0")),
        ("an endpoint that cannot be dialled", endpoint(1, None), Some("Endpoint.dial is missing")),
        (
            "a short key",
            Kind::Trust(proto::Trust { signers: vec![vec![1; 31]], ..Default::default() }),
            Some("31 bytes"),
        ),
    ];
    for (row, kind, want) in cases {
        let bytes = proto::Resource { resource: Some(kind) }.encode_to_vec();
        let got = decode_resource(&bytes).err().map(|error| error.to_string());
        match (&got, want) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains(part), "{row}: {text}"),
            _ => panic!("{row}: {got:?}, not {want:?}"),
        }
    }
    assert_eq!(decode_resource(&[]), Err(DecodeError::Missing { field: "Resource.resource" }), "no resource");
    // Field 99 of Resource: a kind that this build does not know.
    assert_eq!(
        decode_resource(&[0x9a, 0x06, 0]),
        Err(DecodeError::Missing { field: "Resource.resource" }),
        "unknown kind"
    );
}
