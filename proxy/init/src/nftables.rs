//! How chains of rules are told to the kernel: one transaction of nf_tables messages.
//!
//! Pure: it makes messages, `kernel` sends them. Numbers are those of linux/netfilter/nf_tables.h.

use crate::capture::{Cidr, Interface, NAME_BYTES};
use crate::rules::{Action, Chain, Family, Hook, Is, Match, Rule, TABLE};
use crate::wire::{ACKNOWLEDGE, APPEND, Attribute, CREATE, Message};

/// Replaces the table of each family whole. Connections that are open keep their way: it is conntrack's, not the
/// rules'.
pub fn transaction(tables: &[(Family, Vec<Chain>)]) -> Vec<Message> {
    let mut messages = vec![batch(BATCH_BEGIN)];
    for (family, chains) in tables {
        let table = |kind, flags, what: &str| {
            let what = format!("{what} table {} {TABLE}", name(*family));
            message(*family, (kind, flags), what, [Attribute::text(1, TABLE)])
        };
        // Made first where it is not there, so that taking it away works in either case.
        messages.push(table(NEW_TABLE, CREATE, "making"));
        messages.push(table(DELETE_TABLE, 0, "clearing"));
        messages.push(table(NEW_TABLE, CREATE, "making"));
        messages.extend(chains.iter().map(|chain| new_chain(*family, chain)));
        for chain in chains {
            messages.extend(chain.rules.iter().map(|rule| new_rule(*family, chain, rule)));
        }
    }
    // The last one's answer says that all of it counts.
    if let Some(last) = messages.last_mut() {
        last.flags |= ACKNOWLEDGE;
    }
    messages.push(batch(BATCH_END));
    messages
}

/// Asks for the table of a family: refused where there is none.
pub fn look(family: Family) -> Message {
    let what = format!("looking for table {} {TABLE}", name(family));
    message(family, (GET_TABLE, ACKNOWLEDGE), what, [Attribute::text(1, TABLE)])
}

fn name(family: Family) -> &'static str {
    match family {
        Family::Ipv4 => "ip",
        Family::Ipv6 => "ip6",
    }
}

fn batch(kind: u16) -> Message {
    let payload = [&[0, 0][..], &SUBSYSTEM.to_be_bytes()].concat();
    Message { what: "the transaction".to_owned(), kind, flags: 0, payload }
}

fn message<const N: usize>(
    family: Family,
    (kind, flags): (u16, u16),
    what: String,
    attributes: [Attribute; N],
) -> Message {
    let mut payload = vec![
        match family {
            Family::Ipv4 => 2,
            Family::Ipv6 => 10,
        },
        0,
        0,
        0,
    ];
    attributes.into_iter().for_each(|attribute| attribute.append_to(&mut payload));
    Message { what, kind: SUBSYSTEM << 8 | kind, flags, payload }
}

fn new_chain(family: Family, chain: &Chain) -> Message {
    let what = format!("making chain {} of table {} {TABLE}", chain.name, name(family));
    let of_table = [Attribute::text(1, TABLE), Attribute::text(3, chain.name)];
    let kind = (NEW_CHAIN, CREATE);
    let Some(hook) = chain.hook else { return message(family, kind, what, of_table) };
    let [table, own_name] = of_table;
    let number = match hook {
        Hook::Prerouting => 0,
        Hook::Output => 3,
    };
    let hook = [Attribute::number(1, number), Attribute::number(2, PRIORITY_DNAT.cast_unsigned())];
    let attributes =
        [table, own_name, Attribute::nest(4, hook), Attribute::number(5, ACCEPT), Attribute::text(7, "nat")];
    message(family, kind, what, attributes)
}

fn new_rule(family: Family, chain: &Chain, rule: &Rule) -> Message {
    let what = format!("adding a rule to chain {} of table {} {TABLE}", chain.name, name(family));
    let mut expressions = Vec::new();
    let knows_tcp = |when: &Match| matches!(when, Match::Port(..) | Match::TcpBegins);
    if matches!(rule.then, Action::Redirect(_)) && !rule.when.iter().any(knows_tcp) {
        is_tcp(&mut expressions);
    }
    for when in &rule.when {
        matching(family, when, &mut expressions);
    }
    action(&rule.then, &mut expressions);
    let expressions = expressions
        .into_iter()
        .map(|Expression(name, data)| Attribute::nest(1, [Attribute::text(1, name), Attribute::nest(2, data)]));
    let attributes = [Attribute::text(1, TABLE), Attribute::text(2, chain.name), Attribute::nest(4, expressions)];
    message(family, (NEW_RULE, CREATE | APPEND), what, attributes)
}

/// A name and its attributes. What is loaded lies in register 1 until it is compared.
struct Expression(&'static str, Vec<Attribute>);

fn matching(family: Family, when: &Match, to: &mut Vec<Expression>) {
    match when {
        Match::TcpBegins => {
            is_tcp(to);
            to.push(load(TRANSPORT, TCP_FLAGS_AT, 1));
            to.push(masked(&[FIN_SYN_RST_ACK]));
            to.push(compare(Is::Equal, &[SYN]));
        }
        Match::Arrives(interface) => interface_is(META_ARRIVES, interface, to),
        Match::Leaves(interface) => interface_is(META_LEAVES, interface, to),
        Match::From(cidr) => address(source_at(family), Is::Equal, cidr, to),
        Match::To(is, cidr) => address(source_at(family) + octets(cidr).len() as u32, *is, cidr, to),
        Match::Port(is, port) => {
            is_tcp(to);
            to.push(load(TRANSPORT, TCP_DESTINATION_AT, 2));
            to.push(compare(*is, &port.to_be_bytes()));
        }
        Match::Uid(is, id) => owner(META_UID, *is, *id, to),
        Match::Gid(is, id) => owner(META_GID, *is, *id, to),
    }
}

fn action(action: &Action, to: &mut Vec<Expression>) {
    match action {
        Action::Return => to.push(verdict(RETURN, None)),
        Action::Jump(chain) => to.push(verdict(JUMP, Some(chain))),
        Action::Redirect(port) => {
            let value = Attribute::nest(2, [Attribute::bytes(1, &port.to_be_bytes())]);
            to.push(Expression("immediate", vec![Attribute::number(1, REGISTER), value]));
            to.push(Expression("redir", vec![Attribute::number(1, REGISTER)]));
        }
    }
}

fn verdict(code: i32, chain: Option<&str>) -> Expression {
    let code = Attribute::number(1, code.cast_unsigned());
    let verdict = [code].into_iter().chain(chain.map(|chain| Attribute::text(2, chain)));
    let data = Attribute::nest(2, [Attribute::nest(2, verdict)]);
    Expression("immediate", vec![Attribute::number(1, VERDICT_REGISTER), data])
}

fn is_tcp(to: &mut Vec<Expression>) {
    to.push(meta(META_PROTOCOL));
    to.push(compare(Is::Equal, &[TCP]));
}

fn interface_is(key: u32, interface: &Interface, to: &mut Vec<Expression>) {
    let mut padded = [0; NAME_BYTES];
    let name = interface.as_str().as_bytes();
    padded[..name.len()].copy_from_slice(name);
    to.push(meta(key));
    to.push(compare(Is::Equal, &padded));
}

/// The kernel holds ids in its own byte order.
fn owner(key: u32, is: Is, id: u32, to: &mut Vec<Expression>) {
    to.push(meta(key));
    to.push(compare(is, &id.to_ne_bytes()));
}

fn address(at: u32, is: Is, cidr: &Cidr, to: &mut Vec<Expression>) {
    let octets = octets(cidr);
    to.push(load(NETWORK, at, octets.len() as u32));
    to.extend(cidr.mask().map(|mask| masked(&mask)));
    to.push(compare(is, &octets));
}

fn octets(cidr: &Cidr) -> Vec<u8> {
    match cidr.network() {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// In the IP header; the destination follows.
fn source_at(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 12,
        Family::Ipv6 => 8,
    }
}

fn meta(key: u32) -> Expression {
    Expression("meta", vec![Attribute::number(2, key), Attribute::number(1, REGISTER)])
}

fn load(base: u32, at: u32, bytes: u32) -> Expression {
    let [register, base] = [Attribute::number(1, REGISTER), Attribute::number(2, base)];
    Expression("payload", vec![register, base, Attribute::number(3, at), Attribute::number(4, bytes)])
}

fn masked(mask: &[u8]) -> Expression {
    let [source, destination] = [Attribute::number(1, REGISTER), Attribute::number(2, REGISTER)];
    let length = Attribute::number(3, mask.len() as u32);
    let data = |number, bytes: &[u8]| Attribute::nest(number, [Attribute::bytes(1, bytes)]);
    let flipped = vec![0; mask.len()];
    Expression("bitwise", vec![source, destination, length, data(4, mask), data(5, &flipped)])
}

fn compare(is: Is, value: &[u8]) -> Expression {
    let operator = match is {
        Is::Equal => 0,
        Is::Other => 1,
    };
    let data = Attribute::nest(3, [Attribute::bytes(1, value)]);
    Expression("cmp", vec![Attribute::number(1, REGISTER), Attribute::number(2, operator), data])
}

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
/// Where iptables' nat table stands, too.
const PRIORITY_DNAT: i32 = -100;
const ACCEPT: u32 = 1;
const JUMP: i32 = -3;
const RETURN: i32 = -5;
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
const META_ARRIVES: u32 = 6;
const META_LEAVES: u32 = 7;
const META_UID: u32 = 10;
const META_GID: u32 = 11;
const META_PROTOCOL: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const TCP: u8 = 6;
const TCP_DESTINATION_AT: u32 = 2;
const TCP_FLAGS_AT: u32 = 13;
const SYN: u8 = 0x02;
const FIN_SYN_RST_ACK: u8 = 0x17;
