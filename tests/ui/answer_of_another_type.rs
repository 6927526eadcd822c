//! What is served is answered with a type that the outbound stages do not take.

use tidegate::Failure;
use tidegate::codec::{LineDecoder, StringDecoder};
use tidegate::handler::typed::chain;

fn main() {
    let _ = chain()
        .decode(StringDecoder::new(LineDecoder::new(80)))
        .map_write(|number: u32| Ok::<_, Failure>(number.to_string().into()))
        .serve(|line: String| Ok::<_, Failure>(line.len().to_string()));
}
