//! What the kernel holds afterwards, beside what `nft` makes of the rules as a person would write them.

use crate::namespace::{Namespace, Net};
use crate::{init, initialized, skipped};
use std::path::Path;
use weft_init::kernel::{Kernel, KernelError, Subsystem};
use weft_init::nftables::transaction;
use weft_init::rules::{Action, Chain, Family, Hook, Rule};

/// Loaded and listed by nft itself, so that the comparison does not depend on how its version writes things.
fn as_written(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pod").join(file);
    let namespace = Namespace::new();
    namespace.run(&format!("nft -f {}", path.display()));
    namespace.run("nft list ruleset")
}

#[test]
fn the_kernel_holds_the_rules_as_written() {
    if skipped() {
        return;
    }
    let annotated = [
        "--exclude-outbound-ports=3306,25",
        "--exclude-outbound-cidrs=10.1.0.0/16,fd01::/16",
        "--include-outbound-cidrs=10.0.0.0/9,fd00::1",
        "--include-outbound-ports=9443",
        "--include-inbound-ports=8080,9090",
        "--exclude-interfaces=net1",
        "--uid=2000",
        "--gid=3000",
        "--outbound-port=16001",
        "--inbound-port=16006",
        "--status-ports=16021",
    ];
    for (file, arguments) in [("default.nft", &[][..]), ("annotated.nft", &annotated)] {
        let net = Net::new();
        let want = as_written(file);
        for run in ["the first time", "again"] {
            initialized(&net.pod, arguments);
            assert_eq!(net.pod.run("nft list ruleset"), want, "{file}, {run}");
        }
    }
}

/// Other tables are other people's.
#[test]
fn tables_of_others_stay() {
    if skipped() {
        return;
    }
    let net = Net::new();
    net.pod.run("nft add table ip others");
    initialized(&net.pod, &[]);
    assert!(net.pod.run("nft list tables").contains("table ip others"));
}

#[test]
fn a_transaction_that_is_refused_changes_nothing() {
    if skipped() {
        return;
    }
    let net = Net::new();
    initialized(&net.pod, &[]);
    let before = net.pod.run("nft list ruleset");
    let rules = vec![Rule { when: Vec::new(), then: Action::Jump("nowhere") }];
    let broken = vec![Chain { name: "output", hook: Some(Hook::Output), rules }];
    let refused = net.pod.inside(|| {
        let mut kernel = Kernel::open(Subsystem::Netfilter).unwrap();
        kernel.ask(&transaction(&[(Family::Ipv4, broken), (Family::Ipv6, Vec::new())])).unwrap_err()
    });
    assert!(matches!(refused, KernelError::ModuleMissing { .. }), "{refused}");
    assert!(refused.to_string().contains("adding a rule to chain output of table ip weft"), "{refused}");
    assert_eq!(net.pod.run("nft list ruleset"), before);
}

#[test]
fn without_ipv6_there_is_no_table_for_it() {
    if skipped() {
        return;
    }
    let net = Net::new();
    net.pod.run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    let said = initialized(&net.pod, &[]);
    assert!(said.contains("IPv6 is left out: IPv6 is disabled here"), "{said}");
    assert_eq!(net.pod.run("nft list tables"), "table ip weft\n");
}

#[test]
fn more_rules_than_fit_one_usual_message() {
    if skipped() {
        return;
    }
    let net = Net::new();
    let ports: Vec<String> = (20_000..22_000).map(|port: u16| port.to_string()).collect();
    initialized(&net.pod, &[&format!("--exclude-outbound-ports={}", ports.join(","))]);
    assert_eq!(net.pod.run("nft list chain ip weft outbound").matches("tcp dport 2").count(), ports.len());
}

#[test]
fn what_is_wrong_on_the_command_line_is_said() {
    let cases = [
        (["--exclude-outbound-ports=http"], "\"http\""),
        (["--exclude-outbound-cidrs=10.0.0.0/33"], "at most 32 bits"),
        (["--exclude-interfaces=a/b"], "an interface's name"),
    ];
    for (arguments, want) in cases {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_weft-init")).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(want), "{arguments:?}: {said}");
    }
}

#[test]
fn rules_that_others_put_first_are_found_out() {
    if skipped() {
        return;
    }
    let net = Net::new();
    net.pod.run("nft add table ip others");
    net.pod.run("nft add chain ip others output { type nat hook output priority -150 ; }");
    net.pod.run("nft add rule ip others output ip daddr 192.0.2.1 tcp dport 9 redirect to :1");
    let output = init(&net.pod, &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("to 192.0.2.1:9 did not arrive at port 15001"), "{said}");
}
