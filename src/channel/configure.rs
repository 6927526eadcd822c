//! Options of a live channel: those that the channel itself keeps, and the way to the transport's.

use std::time::Duration;

use super::core::{Core, flag};
use super::options::{OptionId, OptionSet, OptionValue, WaterMark};
use crate::buffer::RecvPredictor;
use crate::error::{Error, ErrorKind};

impl Core {
    /// Applies a set in its order. The first option that can't be set ends it (DESIGN: a silent misconfiguration helps
    /// nobody).
    pub(crate) fn set_options(&self, options: &OptionSet) -> Result<(), Error> {
        options
            .iter()
            .try_for_each(|(id, value)| self.set_option(id, value))
    }

    pub(crate) fn set_option(&self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        id.check(value)?;
        self.refuse_elsewhere(id)?;
        if !self.is_kept(id)? {
            return self.set_in_transport(id, value);
        }
        match (id, value) {
            (OptionId::AutoRead, OptionValue::Bool(on)) => self.set_auto_read(*on),
            (OptionId::AutoClose, OptionValue::Bool(on)) => self.set_flag(flag::AUTO_CLOSE, *on),
            (OptionId::AllowHalfClosure, OptionValue::Bool(on)) => {
                self.set_flag(flag::ALLOW_HALF_CLOSURE, *on);
            }
            (OptionId::CloseOnUnhandledError, OptionValue::Bool(on)) => {
                self.set_flag(flag::CLOSE_ON_UNHANDLED, *on);
            }
            (OptionId::SingleExecutorPerGroup, OptionValue::Bool(on)) => {
                self.set_flag(flag::SPREAD_EXECUTORS, !*on);
            }
            (OptionId::ConnectTimeout, OptionValue::Duration(timeout)) => {
                let ms = timeout.unwrap_or_default().as_nanos().div_ceil(1_000_000);
                self.set_connect_timeout_ms(u32::try_from(ms).unwrap_or(u32::MAX));
            }
            (OptionId::WriteSpinCount, OptionValue::Int(count)) => {
                // What does not fit was refused by the check.
                self.write_spin
                    .set(u16::try_from(*count).unwrap_or(u16::MAX));
            }
            (OptionId::MaxMessagesPerRead, OptionValue::Int(count)) => {
                self.reads_max
                    .set(u16::try_from(*count).unwrap_or(u16::MAX));
            }
            (OptionId::WriteBufferWaterMark, OptionValue::WaterMark(mark)) => {
                self.shared.set_marks(mark.low(), mark.high());
                let total = self.pending_bytes();
                self.check_high(total);
                self.check_low(total);
            }
            (OptionId::RecvAllocator, OptionValue::Recv(allocator)) => {
                self.predictor.set(RecvPredictor::new(*allocator));
            }
            _ => return self.set_in_transport(id, value),
        }
        Ok(())
    }

    fn set_in_transport(&self, id: OptionId, value: &OptionValue) -> Result<(), Error> {
        if self.in_transport.get() {
            return Err(busy(id));
        }
        // It is for what is sent from now on.
        self.flush_put_off();
        self.transport.borrow_mut().set_option(id, value)?;
        self.look_at_rare(|rare| {
            rare.tries.as_mut()?.note(id, value);
            Some(())
        });
        Ok(())
    }

    pub(crate) fn option(&self, id: OptionId) -> Result<OptionValue, Error> {
        self.refuse_elsewhere(id)?;
        if !self.is_kept(id)? {
            return self.transport.borrow().option(id);
        }
        Ok(match id {
            OptionId::AutoRead => OptionValue::Bool(self.auto_read()),
            OptionId::AutoClose => OptionValue::Bool(self.has(flag::AUTO_CLOSE)),
            OptionId::AllowHalfClosure => OptionValue::Bool(self.has(flag::ALLOW_HALF_CLOSURE)),
            OptionId::CloseOnUnhandledError => {
                OptionValue::Bool(self.has(flag::CLOSE_ON_UNHANDLED))
            }
            OptionId::SingleExecutorPerGroup => {
                OptionValue::Bool(!self.has(flag::SPREAD_EXECUTORS))
            }
            OptionId::ConnectTimeout => OptionValue::Duration(Some(Duration::from_millis(
                self.connect_timeout_ms().into(),
            ))),
            OptionId::WriteSpinCount => OptionValue::Int(self.write_spin.get().into()),
            OptionId::MaxMessagesPerRead => OptionValue::Int(self.reads_max.get().into()),
            OptionId::RecvAllocator => OptionValue::Recv(self.predictor.get().allocator()),
            OptionId::WriteBufferWaterMark => OptionValue::WaterMark(WaterMark::new(
                self.shared.low_mark(),
                self.shared.high_mark(),
            )?),
            _ => return self.transport.borrow().option(id),
        })
    }

    /// Whether the channel keeps this option, if it is one that it keeps for transports that go by it.
    fn is_kept(&self, id: OptionId) -> Result<bool, Error> {
        if !matches!(id, OptionId::RecvAllocator | OptionId::WriteSpinCount) {
            return Ok(true);
        }
        let Ok(transport) = self.transport.try_borrow() else {
            return Err(busy(id));
        };
        if transport.metadata().is_server {
            let text = format!(
                "option {id}: a server reads and writes no data; set it on its children (child_option)"
            );
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Ok(transport.goes_by(id))
    }

    /// A handler on another group's loop: the channel's options are not here, and what was set here would set nothing.
    fn refuse_elsewhere(&self, id: OptionId) -> Result<(), Error> {
        if id == OptionId::AutoRead || !self.shared.serves_another() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "option {id}: on another group's loop use ctx.channel(), whose answer is a future"
            ),
        ))
    }

    fn set_flag(&self, bit: u32, on: bool) {
        if on {
            self.set(bit);
        } else {
            self.clear(bit);
        }
    }
}

#[cold]
fn busy(id: OptionId) -> Error {
    Error::new(
        ErrorKind::Busy,
        format!("option {id}: the transport is busy with a step; set it from a task"),
    )
}
