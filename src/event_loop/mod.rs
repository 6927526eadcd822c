//! The event loop: tasks, timers, turns, groups.
