//! One wait over the selector, dispatched to handles.
