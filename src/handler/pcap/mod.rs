//! What passes, as a capture for Wireshark.
//!
//! - `format`: pcap records with IP, TCP and UDP headers made up around bytes. Pure.
//! - `stream`: one connection as both of its ends would number it. Pure.
//! - `file`: [`PcapFile`], where many channels write; it survives a writer that fails.
//! - `capture`: [`PcapCapture`], the handler.

mod capture;
mod file;
mod format;
mod stream;

pub use capture::PcapCapture;
pub use file::PcapFile;
