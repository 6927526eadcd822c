//! Messages, receive arenas, size prediction, file regions and gather lists.
