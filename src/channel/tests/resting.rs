//! What waits until a dispatch that the limit of resumes has suspended has been gone through.

use super::*;
use crate::channel::core::attention;

/// Emits twice as many messages as one dispatch has resumes.
struct Many(u32);

impl Handler for Many {
    fn channel_read(&mut self, ctx: &mut Context<'_>, msg: Message) -> HandlerResult {
        if msg.as_bytes() == Some(b"many") {
            self.0 = 2_000;
            ctx.resume();
        }
        Ok(())
    }

    fn resume(&mut self, ctx: &mut Context<'_>) -> HandlerResult {
        self.0 -= 1;
        ctx.fire_channel_read(Message::new(self.0));
        if self.0 > 0 {
            ctx.resume();
        }
        Ok(())
    }
}

/// As a story: a handler elsewhere asked for two hundred reads while a decoder here had a thousand lines left over, and the
/// channel read on before it had come to the last hundred.
///
/// Rules: 6.6, 6.7
#[test]
fn nothing_is_read_before_the_last_of_what_waits_behind_a_dispatch() {
    const WAITING: usize = 200;
    let rig = Rig::new(Script::new());
    rig.run(|channel| drop(channel.edit(|pipeline| pipeline.add_last(Many(0)))));
    {
        let _turn = rig.lp.enter();
        rig.script.reads.borrow_mut().push_back(message("many"));
        rig.channel.signal().readable();
        rig.lp.run_ready();
        assert_ne!(rig.core.attention.get() & attention::SUSPENDED, 0);
        for number in 0..WAITING {
            let log = rig.log.clone();
            rig.core.at_rest(move |_| log.add(number));
        }
        rig.script.reads.borrow_mut().push_back(message("next"));
        rig.channel.signal().readable();
    }
    rig.log.take();
    rig.turn();
    let mut expected: Vec<_> = (0..WAITING).map(|number| number.to_string()).collect();
    expected.push("read next".to_owned());
    assert_eq!(rig.log.take(), expected);
}
