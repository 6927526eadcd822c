//! What passes, as a capture for Wireshark.
