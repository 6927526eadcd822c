//! The rules of the pipeline, one test or more for each: how events travel, edits, errors, panics, coming back.
//!
//! Each test names what it pins in a line `Rules: ...`: `6.2` is rule 2 of the pipeline in ARCHITECTURE.md, `B10`,
//! `C3`, `D7`, `F5` are Netty's rules.

#[path = "common/mod.rs"]
mod common;

#[path = "pipeline/actors.rs"]
mod actors;
#[path = "pipeline/back.rs"]
mod back;
#[path = "pipeline/caught.rs"]
mod caught;
#[path = "pipeline/edits.rs"]
mod edits;
#[path = "pipeline/edits_on_the_stack.rs"]
mod edits_on_the_stack;
#[path = "pipeline/errors.rs"]
mod errors;
#[path = "pipeline/masks.rs"]
mod masks;
#[path = "pipeline/model.rs"]
mod model;
#[path = "pipeline/outbound.rs"]
mod outbound;
#[path = "pipeline/overtaking.rs"]
mod overtaking;
#[path = "pipeline/panics.rs"]
mod panics;
#[path = "pipeline/resume.rs"]
mod resume;
#[path = "pipeline/resume_at_the_end.rs"]
mod resume_at_the_end;
#[path = "pipeline/roots.rs"]
mod roots;
#[path = "pipeline/travel.rs"]
mod travel;
#[path = "pipeline/walks.rs"]
mod walks;
#[path = "pipeline/writability.rs"]
mod writability;
