//! Demotion: telling the failover software that this machine serves less well.
//! Owns the level of each interface group and how it is published.
//! Must never touch a group no table names.
//!
//! Linux: one file per group, `demote-GROUP`, whose content keepalived(8) reads through a `track_file`.
//! The carp(4) calls of the BSDs are not there yet; the file is written on every system.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Levels of all groups, published under a directory.
#[derive(Debug)]
pub struct Demotion {
    directory: PathBuf,
    levels: BTreeMap<String, i32>,
}

impl Demotion {
    /// Publishes under `directory`, which is made when it is first needed.
    pub fn new(directory: &Path) -> Demotion {
        Demotion {
            directory: directory.to_owned(),
            levels: BTreeMap::new(),
        }
    }

    /// Changes the level of a group by `difference`; answers the new level, never below 0.
    ///
    /// # Errors
    /// The file could not be written; the level is kept and written with the next change.
    pub fn change(&mut self, group: &str, difference: i32) -> io::Result<i32> {
        let level = self.levels.entry(group.to_owned()).or_default();
        *level = level.saturating_add(difference).max(0);
        let level = *level;
        self.publish(group, level)?;
        Ok(level)
    }

    /// Sets every level back to 0: the daemon ends, its peers decide on their own.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub fn release(&mut self) -> io::Result<()> {
        let groups: Vec<String> = self.levels.keys().cloned().collect();
        for group in groups {
            self.levels.insert(group.clone(), 0);
            self.publish(&group, 0)?;
        }
        Ok(())
    }

    fn publish(&self, group: &str, level: i32) -> io::Result<()> {
        if group.is_empty() || group.contains(['/', '\0']) || group.starts_with('.') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a group name",
            ));
        }
        fs::create_dir_all(&self.directory)?;
        let path = self.directory.join(format!("demote-{group}"));
        let new = self.directory.join(format!(".demote-{group}.new"));
        fs::write(&new, format!("{level}\n"))?;
        fs::rename(new, path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn levels_add_up_and_end_at_zero() {
        let directory =
            std::env::temp_dir().join(format!("relayd-demotion-{}", std::process::id()));
        let mut demotion = Demotion::new(&directory);
        assert_eq!(demotion.change("carp", 1).unwrap(), 1);
        assert_eq!(demotion.change("carp", 1).unwrap(), 2);
        assert_eq!(demotion.change("carp", -5).unwrap(), 0);
        assert_eq!(demotion.change("carp", 3).unwrap(), 3);
        let file = directory.join("demote-carp");
        assert_eq!(fs::read_to_string(&file).unwrap(), "3\n");
        assert!(demotion.change("../x", 1).is_err());
        demotion.levels.remove("../x");
        demotion.release().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "0\n");
        fs::remove_dir_all(directory).unwrap();
    }
}
