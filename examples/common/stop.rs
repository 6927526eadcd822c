//! SIGINT and SIGTERM as an ordinary event, so that a program can end its connections before it ends itself.

use std::process;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use tidegate::{Channel, Error, ErrorKind, Fault};

/// Waits until somebody asks this process to stop.
pub struct Stop {
    asked: Receiver<Result<(), Error>>,
    ask: Sender<Result<(), Error>>,
}

impl Stop {
    /// Takes SIGINT and SIGTERM away from this thread and from those that it will start: call it before there are
    /// others. A thread waits for them by sigwait(3), which needs no code that runs inside a signal handler. The second
    /// one ends the process at once.
    pub fn on_signals() -> Result<Self, Error> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals
            .thread_block()
            .map_err(|errno| Error::io("blocking signals", errno.into()))?;
        let (ask, asked) = mpsc::channel();
        let told = ask.clone();
        let wait = move || {
            if signals.wait().is_ok() {
                let _ = told.send(Ok(()));
            }
            if let Ok(signal) = signals.wait() {
                process::exit(128 + signal as i32);
            }
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)
            .map_err(|error| Error::io("starting a thread", error))?;
        Ok(Self { asked, ask })
    }

    /// Blocks until a signal comes.
    ///
    /// # Errors
    /// Also if `server` closes by itself meanwhile.
    pub fn wait(&self, server: Option<&Channel>) -> Result<(), Error> {
        if let Some(server) = server {
            let ask = self.ask.clone();
            server.close_future().add_listener(move |server, _| {
                let text = format!("the server {server} closed by itself");
                let error = Error::new(ErrorKind::ChannelClosed, text).with_fault(Fault::Machine);
                let _ = ask.send(Err(error));
            });
        }
        // This end holds a sender as well, so that there is always one.
        self.asked.recv().unwrap_or(Ok(()))
    }
}
