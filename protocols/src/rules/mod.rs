//! Filter rules, compiled once and evaluated per message.
