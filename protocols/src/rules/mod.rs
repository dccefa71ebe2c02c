//! Filter rules of `http` protocols: compiled once at load, evaluated once per message.
//! Owns what relayd.conf(5) FILTER RULES promises, and the older actions with their own meaning.
//! Must never walk rules that cannot match: an index over what messages carry picks the others.

mod action;
mod compile;
mod evaluate;
mod find;
mod index;
mod legacy;
mod list;
mod text;

pub use compile::Ruleset;
pub use evaluate::{Memory, Subject, Verdict, Work};
pub use text::Macros;

#[cfg(test)]
mod tests;
