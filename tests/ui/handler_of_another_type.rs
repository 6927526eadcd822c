//! The handler at the end of a chain takes another type than the stage before it gives.

use tidegate::codec::{LineDecoder, StringDecoder};
use tidegate::handler::typed::{TypedHandler, chain};
use tidegate::{Context, HandlerResult};

struct Request;

struct App;

impl TypedHandler for App {
    type In = Request;

    fn channel_read(&mut self, _: &mut Context<'_>, _: Request) -> HandlerResult {
        Ok(())
    }
}

fn main() {
    let _ = chain()
        .decode(StringDecoder::new(LineDecoder::new(80)))
        .handle(App);
}
