//! Every way to build a loop, as in tests/common/ways.rs, with a storm over their threads. The first use starts it.

use std::sync::OnceLock;

use crate::storm::Storm;

#[path = "../common/ways.rs"]
mod calm;

pub use calm::Way;

/// Blows for the rest of the process. Over the loops of groups alone: what else runs here are the tests, whose calls to
/// the standard library may be interrupted rightly.
pub fn begin_storm() {
    static STORM: OnceLock<Storm> = OnceLock::new();
    STORM.get_or_init(|| {
        let is_loop = |name: &str| name.starts_with("tidegate-");
        Storm::over(is_loop).expect("a thread and a handler")
    });
}

pub fn each_way(test: impl Fn(Way)) {
    begin_storm();
    calm::each_way(test);
}

pub fn each_way_with(is_meant: impl Fn(Way) -> bool, test: impl Fn(Way)) {
    begin_storm();
    calm::each_way_with(is_meant, test);
}
