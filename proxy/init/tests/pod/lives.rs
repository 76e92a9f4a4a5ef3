//! Connections that are open stay open, capabilities that are missing are named, and a pod that runs may be done again.

use crate::namespace::Net;
use crate::sockets::{APP, Client, SIDECAR, line, serve};
use crate::{init, initialized, skipped};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

/// Whether what is written comes back.
fn alive(stream: &mut TcpStream, word: &str) {
    writeln!(stream, "{word}").unwrap();
    assert_eq!(line(stream), word);
}

#[test]
fn no_open_connection_is_dropped() {
    if skipped() {
        return;
    }
    let net = Net::new();
    serve(&net.outside, "outside", 80);
    serve(&net.pod, "app", 8080);
    let open = |client: Client, from_pod: bool, to: &str| {
        let within = if from_pod { &net.pod } else { &net.outside };
        let mut stream = client.connect(within, to.parse().unwrap()).unwrap();
        let said = line(&mut stream);
        (stream, said)
    };
    let ways =
        [(true, "203.0.113.7:80"), (true, "[2001:db8:7::7]:80"), (false, "10.9.0.2:8080"), (false, "[fd09::2]:8080")];
    // Of the time before there were rules.
    let mut streams: Vec<TcpStream> = ways
        .iter()
        .map(|(from_pod, to)| {
            let (stream, said) = open(APP, *from_pod, to);
            assert!(said.starts_with(if *from_pod { "outside" } else { "app" }), "{said}");
            stream
        })
        .collect();
    initialized(&net.pod, &[]);
    streams.iter_mut().for_each(|stream| alive(stream, "before"));
    serve(&net.pod, "outbound", 15001);
    serve(&net.pod, "inbound", 15006);
    for (from_pod, to) in ways {
        let (stream, said) = open(APP, from_pod, to);
        assert!(said.starts_with(if from_pod { "outbound" } else { "inbound" }), "{said}");
        streams.push(stream);
    }
    streams.push(open(SIDECAR, true, "10.9.0.2:8080").0);
    for run in 0..20 {
        let said = initialized(&net.pod, if run % 2 == 0 { &[] } else { &["--exclude-outbound-ports=3306"] });
        assert!(said.contains("port 15001 is taken and rules are in place"), "{said}");
        streams.iter_mut().for_each(|stream| alive(stream, "during"));
    }
    let (_, said) = open(APP, true, "203.0.113.7:80");
    assert!(said.starts_with("outbound 203.0.113.7:80"), "new ones are still captured: {said}");
}

#[test]
fn a_port_that_the_app_holds_is_named_before_anything_is_changed() {
    if skipped() {
        return;
    }
    for port in [15001, 15006] {
        let net = Net::new();
        serve(&net.pod, "app", port);
        let output = init(&net.pod, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(&format!("port {port} is taken in this pod")), "{said}");
        assert_eq!(net.pod.run("nft list ruleset"), "");
    }
}

#[test]
fn net_admin_is_enough_and_its_absence_is_named() {
    if skipped() {
        return;
    }
    let cases = [
        ("+net_admin", true, "connecting as uid 1337 needs the capability SETUID; the sidecar does it when it starts"),
        ("+net_raw", false, "needs the capability NET_ADMIN (securityContext.capabilities.add: [NET_ADMIN])"),
    ];
    for (capability, works, want) in cases {
        let net = Net::new();
        let sets = format!("-all,{capability}");
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", &sets, "--inh-caps", &sets, "--no-new-privs"]);
        command.arg(env!("CARGO_BIN_EXE_weft-init"));
        let output = net.pod.inside(|| command.output().unwrap());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), works, "{capability}: {said}");
        assert!(said.contains(want), "{capability}: {said}");
    }
}

#[test]
fn as_the_sidecars_user_it_would_prove_nothing() {
    if skipped() {
        return;
    }
    let net = Net::new();
    let mut command = Command::new("setpriv");
    command.args(["--regid=1337", "--clear-groups", env!("CARGO_BIN_EXE_weft-init")]);
    let output = net.pod.inside(|| command.output().unwrap());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("run it as root, with gid 0"), "{said}");
}
