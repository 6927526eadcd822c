//! Handlers that name the type of the messages they take.
