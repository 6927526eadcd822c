//! A value of the user's own is written as it is.

use tidegate::{Channel, ChannelGroup, Context};

#[derive(Clone)]
struct Score(u32);

fn write(ctx: &mut Context<'_>) {
    ctx.write(Score(3));
}

fn tell(channel: &Channel) {
    channel.write_and_flush(Score(3));
}

fn tell_all(players: &ChannelGroup) {
    players.write(Score(3));
}

fn main() {}
