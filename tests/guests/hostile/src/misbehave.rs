//! What a hostile filter does, one behaviour by name.

use crate::bindings::weft::filter::types::{Callout, Edit, Op, Reply, Verdict};
use crate::bindings::weft::filter::{host, request};
use std::cell::Cell;
use std::hint::black_box;

thread_local! {
    /// A first call was late already.
    static LATE: Cell<bool> = const { Cell::new(false) };
    /// Of this instance, in either phase, before the one that runs.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Behaviours that know no phase; any other name does nothing here.
pub(crate) fn everywhere(behaviour: &str) {
    match behaviour {
        "loop" => spin(u64::MAX),
        "slow" => spin(300_000),
        "late" if !LATE.replace(true) => spin(10_000_000),
        "memory" => eat(),
        "recursion" => {
            black_box(dive(black_box(u64::MAX)));
        }
        "trap" => std::process::abort(),
        "panic" => panic!("as the config says"),
        "count" => host::count(99, 1),
        _ => {}
    }
}

/// Behaviours that answer with edits; none where the behaviour is another.
pub(crate) fn edits(behaviour: &str, note: String) -> Option<Vec<Edit>> {
    match behaviour {
        "tag" => Some(vec![set(0, note)]),
        "slot" => Some(vec![set(42, note)]),
        "value" => Some(vec![set(0, "a\r\nx-admin: yes".to_owned())]),
        "nth" => Some(vec![set(0, CALLS.replace(CALLS.get() + 1).to_string())]),
        "lazy" => Some(vec![set(0, lazily())]),
        "leak" => {
            std::mem::forget(black_box(vec![1u8; 64 << 10]));
            None
        }
        "log" => {
            (0..100).for_each(|line| host::log(host::Level::Warn, &format!("line {line}\nand a forged one")));
            None
        }
        "counted" => {
            host::count(0, 1);
            None
        }
        _ => None,
    }
}

pub(crate) fn reply(behaviour: &str) -> Reply {
    match behaviour {
        "status" => crate::reply(99),
        "size" => Reply { body: vec![b'x'; 2 << 20], ..crate::reply(200) },
        _ => crate::reply(418),
    }
}

pub(crate) fn callout() -> Verdict {
    Verdict::Call(Callout {
        target: 0,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: 10,
        state: Vec::new(),
    })
}

pub(crate) fn set(slot: u32, value: String) -> Edit {
    Edit { slot, op: Op::Set(value) }
}

fn lazily() -> String {
    let values = request::header_values("x-user").len();
    let first = request::header("X-User").unwrap_or_default();
    format!("{} {values} {first}", request::header_names().join(","))
}

fn spin(turns: u64) {
    let mut sum = 0u64;
    for turn in 0..turns {
        sum = black_box(sum.wrapping_add(turn));
    }
}

fn eat() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1u8; 1 << 20]));
    }
}

/// Uses the engine's stack alone: locals whose address is taken would use up the guest's own first.
fn dive(depth: u64) -> u64 {
    if depth == 0 { 0 } else { dive(depth - 1).rotate_left(5) ^ depth }
}
