//! Turns the output of `perf script` on standard input into a flame graph on standard output (`make perf`).
//!
//!     perf script -i perf.data | flame TITLE >flame.svg

use std::io::{self, BufReader};

use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options};

fn main() -> io::Result<()> {
    let mut stacks = Vec::new();
    Folder::default().collapse(BufReader::new(io::stdin().lock()), &mut stacks)?;
    let mut options = Options::default();
    if let Some(title) = std::env::args().nth(1) {
        options.title = title;
    }
    flamegraph::from_reader(&mut options, stacks.as_slice(), io::stdout().lock())
}
