//! Protocol levels: what a proxy has to know so as not to permit what it was told to forbid.
//!
//! A field that changes what is permitted comes with a level, for prost drops what a build does not know. It does not say
//! what a peer speaks: that is in Hello and Welcome.
//!
//! | level | since then |
//! |-|-|
//! | 1 | – |
//! | 2 | `Filter.isolation`: an instance of its own for each call |

use weft_snapshot::{Isolation, Resource};

/// The protocol level that this build speaks.
pub const LEVEL: u32 = 2;

/// The lowest level of a peer that this build still serves: the previous one.
pub const LEVEL_MIN: u32 = 1;

/// The level that a proxy has to speak to do all that the resource says.
pub(crate) fn needed(resource: &Resource) -> u32 {
    match resource {
        Resource::Filter(filter) if filter.isolation == Isolation::Request => 2,
        _ => 1,
    }
}
