//! Memory structures that need unsafe: inline closures, erased values, the task queue.
