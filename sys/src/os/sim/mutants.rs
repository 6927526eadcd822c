//! Bugs that others had, put back one at a time to see that the simulator finds them (`make mutants`). Nothing of this is
//! compiled without `--cfg tidegate_mutants`.

use std::sync::OnceLock;

/// Whether the bug of this name is in: the one that the variable `MUTANT` names.
pub fn is_mutant(name: &str) -> bool {
    static CHOSEN: OnceLock<String> = OnceLock::new();
    CHOSEN.get_or_init(|| std::env::var("MUTANT").unwrap_or_default()) == name
}
