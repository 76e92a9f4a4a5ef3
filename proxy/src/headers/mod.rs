//! What Weft itself does to the head of a message: its one form inside the proxy, and the changes that rules ask for.
//!
//! It does not know connections, pools or filters.

mod answer;
mod glance;
mod head;
mod hop;
mod ops;
mod request_id;
mod rewrite;

pub use answer::{Direct, InvalidStatus, Redirect};
pub use glance::{FORWARDED_CLIENT_CERT, FORWARDED_FOR, FORWARDED_PROTO, Glance, Marks, Presence};
pub use head::{Authority, Head, InvalidHead, Scheme, normal_host, split_port};
pub use hop::{Found, HopByHop, strip_hop_by_hop};
pub use ops::{HeaderOps, InvalidOps, Side, apply_request, apply_response};
pub use request_id::RequestIds;
pub use rewrite::{InvalidRewrite, Matched, Rewrite};
