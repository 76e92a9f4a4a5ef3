//! The rules do what they say: where connections of each kind arrive, and with which destination.

use crate::namespace::{Namespace, Net};
use crate::sockets::{APP, Client, ROOT, SIDECAR, serve};
use crate::{initialized, skipped};
use std::net::{IpAddr, SocketAddr};
use weft_init::capture::Wanted;
use weft_init::rules::{Family, Hook, Packet, chains, verdict};
use weft_init::{Capture, Interface};

/// From where, by whom, whereto, and who answers.
struct Row(Place, Client, [&'static str; 2], u16, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Pod,
    Outside,
}

const SOMEWHERE: [&str; 2] = ["203.0.113.7", "2001:db8:7::7"];
const OTHER: [&str; 2] = ["10.9.0.1", "fd09::1"];
const ITSELF: [&str; 2] = ["10.9.0.2", "fd09::2"];
const LOOPBACK: [&str; 2] = ["127.0.0.1", "::1"];
const PASSTHROUGH: [&str; 2] = ["127.0.0.6", "::6"];
const GROUP: Client = Client { uid: 1000, gid: 1337, source: None };

fn net() -> Net {
    let net = Net::new();
    for (name, port) in
        [("app", 8080), ("app", 9090), ("app", 15008), ("status", 15020), ("status", 15021), ("status", 15090)]
    {
        serve(&net.pod, name, port);
    }
    for port in [80, 443, 3306] {
        serve(&net.outside, "outside", port);
    }
    net
}

/// The sidecar's ports are taken only after weft-init has tried them.
fn start_sidecar(pod: &Namespace) {
    serve(pod, "outbound", 15001);
    serve(pod, "inbound", 15006);
}

fn check(net: &Net, rows: &[Row]) {
    for Row(place, client, to, port, want) in rows {
        for (family, to) in to.iter().enumerate() {
            let mut client = *client;
            client.source = client.source.map(|_| PASSTHROUGH[family].parse().unwrap());
            let to = SocketAddr::new(to.parse::<IpAddr>().unwrap(), *port);
            let within = if *place == Place::Pod { &net.pod } else { &net.outside };
            let heard = client.hears(within, to);
            let mut words = heard.split(' ');
            let case = format!("{place:?} {client:?} to {to}: {heard}");
            assert_eq!(words.next(), Some(*want), "{case}");
            if ["outbound", "inbound"].contains(want) {
                assert_eq!(words.next(), Some(to.to_string().as_str()), "{case}");
            }
        }
    }
}

#[test]
fn all_but_what_istio_leaves_alone_goes_to_the_sidecar() {
    if skipped() {
        return;
    }
    let net = net();
    let said = initialized(&net.pod, &[]);
    assert_eq!(said.matches("proven: uid 0 ").count(), 2, "{said}");
    assert_eq!(said.matches("proven: uid 1337 ").count(), 2, "{said}");
    start_sidecar(&net.pod);
    let passing = Client { source: Some([127, 0, 0, 6].into()), ..SIDECAR };
    check(
        &net,
        &[
            Row(Place::Pod, APP, SOMEWHERE, 80, "outbound"),
            Row(Place::Pod, ROOT, SOMEWHERE, 80, "outbound"),
            Row(Place::Pod, APP, OTHER, 443, "outbound"),
            Row(Place::Pod, SIDECAR, SOMEWHERE, 80, "outside"),
            Row(Place::Pod, GROUP, SOMEWHERE, 80, "outside"),
            Row(Place::Pod, APP, LOOPBACK, 8080, "app"),
            Row(Place::Pod, APP, ITSELF, 8080, "app"),
            Row(Place::Pod, SIDECAR, LOOPBACK, 8080, "app"),
            Row(Place::Pod, SIDECAR, ITSELF, 8080, "inbound"),
            Row(Place::Pod, SIDECAR, ITSELF, 15008, "app"),
            Row(Place::Pod, passing, ITSELF, 8080, "app"),
            Row(Place::Outside, APP, ITSELF, 8080, "inbound"),
            Row(Place::Outside, SIDECAR, ITSELF, 9090, "inbound"),
            Row(Place::Outside, APP, ITSELF, 15001, "inbound"),
            Row(Place::Outside, APP, ITSELF, 15008, "app"),
            Row(Place::Outside, APP, ITSELF, 15020, "status"),
            Row(Place::Outside, APP, ITSELF, 15021, "status"),
            Row(Place::Outside, APP, ITSELF, 15090, "status"),
        ],
    );
    let heard = passing.hears(&net.pod, "10.9.0.2:8080".parse().unwrap());
    assert!(heard.ends_with(" 127.0.0.6"), "the app sees the source: {heard}");
}

#[test]
fn annotations_leave_out_and_choose() {
    if skipped() {
        return;
    }
    let net = net();
    let exclude = ["--exclude-outbound-ports=3306", "--exclude-outbound-cidrs=203.0.113.0/24,2001:db8:7::/48"];
    initialized(&net.pod, &[&exclude[..], &["--exclude-inbound-ports=9090"]].concat());
    start_sidecar(&net.pod);
    check(
        &net,
        &[
            Row(Place::Pod, APP, OTHER, 80, "outbound"),
            Row(Place::Pod, APP, OTHER, 3306, "outside"),
            Row(Place::Pod, APP, SOMEWHERE, 80, "outside"),
            Row(Place::Outside, APP, ITSELF, 8080, "inbound"),
            Row(Place::Outside, APP, ITSELF, 9090, "app"),
        ],
    );
    let only = ["--include-outbound-cidrs=203.0.113.7,2001:db8:7::7/128", "--include-outbound-ports=443"];
    initialized(&net.pod, &[&only[..], &["--include-inbound-ports=9090"]].concat());
    check(
        &net,
        &[
            Row(Place::Pod, APP, SOMEWHERE, 80, "outbound"),
            Row(Place::Pod, APP, OTHER, 80, "outside"),
            Row(Place::Pod, APP, OTHER, 443, "outbound"),
            Row(Place::Outside, APP, ITSELF, 8080, "app"),
            Row(Place::Outside, APP, ITSELF, 9090, "inbound"),
        ],
    );
    initialized(&net.pod, &["--include-outbound-cidrs=", "--include-inbound-ports="]);
    let nothing = |place, to, want| Row(place, APP, to, if place == Place::Pod { 80 } else { 8080 }, want);
    check(&net, &[nothing(Place::Pod, SOMEWHERE, "outside"), nothing(Place::Outside, ITSELF, "app")]);
    initialized(&net.pod, &["--exclude-interfaces=eth0"]);
    check(&net, &[nothing(Place::Pod, SOMEWHERE, "outside"), nothing(Place::Outside, ITSELF, "app")]);
}

/// What the proof expects is computed: it has to be what the kernel does.
#[test]
fn what_rules_are_said_to_mean_is_what_the_kernel_makes_of_them() {
    if skipped() {
        return;
    }
    let net = net();
    let flags = ["--exclude-outbound-ports=443", "--exclude-outbound-cidrs=203.0.113.0/24,2001:db8:7::/48"];
    initialized(&net.pod, &flags);
    start_sidecar(&net.pod);
    let capture = Capture {
        uid: 1337,
        gid: 1337,
        outbound_port: 15001,
        inbound_port: 15006,
        status_ports: vec![15008, 15020, 15021, 15090],
        outbound: weft_init::capture::Outbound {
            exclude_ports: vec![443],
            exclude_cidrs: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8:7::/48".parse().unwrap()],
            include_cidrs: Wanted::All,
            include_ports: Wanted::Only(Vec::new()),
        },
        inbound: weft_init::capture::Inbound { include_ports: Wanted::All, exclude_ports: Vec::new() },
        exclude_interfaces: Vec::new(),
    };
    let mut tried = 0;
    for family in [Family::Ipv4, Family::Ipv6] {
        let at = if family == Family::Ipv4 { 0 } else { 1 };
        let rules = chains(family, &capture);
        for client in [APP, ROOT, SIDECAR, GROUP] {
            for (to, interface, ports) in [
                (SOMEWHERE, "eth0", [80, 443]),
                (OTHER, "eth0", [80, 443]),
                (ITSELF, "lo", [8080, 15008]),
                (LOOPBACK, "lo", [8080, 9090]),
            ] {
                for port in ports {
                    let destination: IpAddr = to[at].parse().unwrap();
                    let (source, interface): (IpAddr, Interface) = (
                        if interface == "lo" { destination } else { ITSELF[at].parse().unwrap() },
                        interface.parse().unwrap(),
                    );
                    let packet = Packet { source, destination, port, interface, uid: client.uid, gid: client.gid };
                    let want = match verdict(&rules, Hook::Output, &packet) {
                        Some(15001) => "outbound",
                        Some(15006) => "inbound",
                        Some(other) => panic!("port {other}"),
                        None if to == SOMEWHERE || to == OTHER => "outside",
                        None => "app",
                    };
                    let heard = client.hears(&net.pod, SocketAddr::new(destination, port));
                    assert_eq!(heard.split(' ').next(), Some(want), "{packet:?}: {heard}");
                    tried += 1;
                }
            }
        }
    }
    assert_eq!(tried, 64);
}
