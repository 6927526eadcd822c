//! A type that is neither a handler nor a codec is added to a pipeline.

use tidegate::{Error, Pipeline};

struct Settings;

fn init(pipeline: &mut Pipeline<'_>) -> Result<(), Error> {
    pipeline.add_last(Settings)
}

fn main() {}
