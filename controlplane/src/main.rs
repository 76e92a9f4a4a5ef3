//! The binary `weft-controlplane`: the control plane and nothing else.

fn main() {}
