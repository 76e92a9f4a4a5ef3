//! Hosts that apps ask for: subscribed once, kept over restarts, forgotten when unused.

use super::plane::{Authority, Plane};
use super::proxy::{Proxy, eventually, options, wait};
use super::{joined, snapshot};
use std::time::Duration;
use weft_proxy::control::Link;
use weft_snapshot::Host;
use weft_wire::proto::from_proxy;

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

#[test]
fn a_host_is_subscribed_once() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let first = snapshot(&plane.authority, &[]);
    let proxy = joined(state.path(), &plane, &first);
    let discovery = proxy.control.discovery();
    for text in ["reviews", "reviews", "ratings", "reviews"] {
        discovery.ask(&host(text));
    }
    wait("both are subscribed", || plane.subscribed().0.len() == 2);
    let second = snapshot(&plane.authority, &["ratings", "reviews"]);
    let update = plane.publish(&first, &second);
    wait("the answers are acknowledged", || plane.acks().contains(&update.revision));
    discovery.ask(&host("reviews"));
    discovery.ask(&host("last"));
    wait("a third", || plane.subscribed().0.len() == 3);
    assert_eq!(plane.subscribed(), (["reviews", "ratings", "last"].map(String::from).into(), vec![]));
    assert_eq!(proxy.facts().subscriptions, 3);
}

#[test]
fn what_was_asked_while_the_control_plane_was_away_is_in_hello() {
    let (authority, state) = (Authority::new(), tempfile::tempdir().unwrap());
    let plane = Plane::start(&authority);
    let first = snapshot(&authority, &["known"]);
    let proxy = joined(state.path(), &plane, &first);
    let address = plane.kill();
    wait("away", || matches!(proxy.facts().link, Link::Away { .. }));
    proxy.control.discovery().ask(&host("new"));
    wait("noted", || proxy.facts().subscriptions == 1 || proxy.facts().subscriptions == 2);
    let plane = Plane::start_as(&authority, "spiffe://mesh.test/ns/weft-system/sa/weft-controlplane", address);
    let hello = eventually("hello", || plane.facts().hellos.first().map(|(hello, _)| hello.clone()));
    let mut all = hello.subscriptions;
    all.extend(plane.subscribed().0);
    assert!(all.contains(&"new".to_owned()), "{all:?}");
}

#[test]
fn what_is_asked_between_hello_and_welcome_is_not_forgotten() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    {
        let mut facts = plane.facts();
        (facts.snapshot, facts.hesitates) = (snapshot(&plane.authority, &[]), true);
    }
    let proxy = Proxy::start(state.path(), plane.address, Some(plane.authority.token("reviews")));
    wait("hello", || plane.facts().hellos.len() == 1);
    proxy.control.discovery().ask(&host("late"));
    wait("noted", || proxy.facts().subscriptions == 1);
    plane.facts().hesitates = false;
    wait("subscribed", || plane.subscribed().0 == ["late"]);
}

#[test]
fn an_app_that_asks_for_ever_more_hosts_costs_no_stream() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let proxy = joined(state.path(), &plane, &snapshot(&plane.authority, &[]));
    let discovery = proxy.control.discovery();
    for batch in 0..6 {
        for n in 0..1000 {
            discovery.ask(&host(&format!("h{batch}-{n}")));
        }
        wait("all are known there", || plane.subscribed().0.len() == (batch + 1) * 1000);
    }
    wait("and the oldest given up", || plane.subscribed().1.len() == 6000 - 4096);
    assert_eq!(plane.facts().hellos.len(), 1, "over one stream");
}

#[test]
fn what_is_not_used_is_given_up() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    plane.facts().snapshot = snapshot(&plane.authority, &[]);
    let mut setting = options(state.path(), &[plane.address.to_string()], Some(plane.authority.token("reviews")));
    // No busy machine keeps this thread from saying for so long that a host is used.
    setting.pace.unused_max = Duration::from_secs(2);
    setting.pace.sweep_every = Duration::from_millis(20);
    let proxy = Proxy::with(setting).unwrap();
    wait("connected", || matches!(proxy.facts().link, Link::Connected { current: true, .. }));
    let discovery = proxy.control.discovery();
    discovery.ask(&host("busy"));
    discovery.ask(&host("idle"));
    wait("the idle one is given up", || {
        discovery.used(&host("busy"));
        plane.subscribed().1 == ["idle"]
    });
    assert_eq!(proxy.facts().subscriptions, 1);
    wait("then the other", || plane.subscribed().1 == ["idle", "busy"]);
}

#[test]
fn a_proxy_that_drains_says_so() {
    let (plane, state) = (Plane::start(&Authority::new()), tempfile::tempdir().unwrap());
    let proxy = joined(state.path(), &plane, &snapshot(&plane.authority, &[]));
    proxy.control.leave();
    wait("leaving", || plane.facts().messages.iter().any(|m| matches!(m, from_proxy::Message::Leaving(_))));
    assert!(matches!(proxy.facts().link, Link::Connected { .. }), "and stays until it is done");
}
