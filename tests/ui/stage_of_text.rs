//! A frame decoder stands behind a stage that gives text.

use tidegate::codec::{LengthFieldDecoder, LineDecoder, StringDecoder};
use tidegate::handler::typed::chain;

fn main() {
    let _ = chain()
        .decode(StringDecoder::new(LineDecoder::new(80)))
        .decode(LengthFieldDecoder::new(1024, 0, 2));
}
