//! Random bytes that outlive the daemon: what cookies are made with, so that clients find their host after a restart.
//! Owns the file in the state directory.
//! Must never keep the daemon from starting: without the file only cookies are lost.

use backends::sys::random;
use conf::Config;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Name of the file.
const FILE: &str = "cookie.seed";

/// The bytes of the state directory, made at the first start; `otherwise` if it cannot be used.
pub fn cookie_seed(directory: &Path, config: &Config, otherwise: [u8; 16]) -> [u8; 16] {
    match keep(directory) {
        Ok(seed) => seed,
        Err(error) => {
            let mut tables = config.relays.iter().flat_map(|relay| &relay.tables);
            if tables.any(|t| t.cookie.as_ref().is_some_and(|c| c.key.is_none())) {
                let file = directory.join(FILE);
                tracing::warn!(
                    "{}: {error}; sticky cookies without a key are void after a restart",
                    file.display()
                );
            }
            otherwise
        }
    }
}

fn keep(directory: &Path) -> io::Result<[u8; 16]> {
    let path = directory.join(FILE);
    match read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // One that was cut short is made anew.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => fs::remove_file(&path)?,
        result => return result,
    }
    fs::create_dir_all(directory)?;
    let mut seed = [0; 16];
    random::fill(&mut seed)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    file.write_all(&seed)?;
    Ok(seed)
}

fn read(path: &Path) -> io::Result<[u8; 16]> {
    let mut seed = [0; 16];
    fs::File::open(path)?.read_exact(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_bytes_are_made_once_and_only_we_may_read_them() {
        let name = format!("relayd-seed-test.{}", std::process::id());
        let directory = std::env::temp_dir().join(name).join("state");
        let config = Config::default();
        let first = cookie_seed(&directory, &config, [1; 16]);
        assert_ne!(first, [1; 16]);
        assert_eq!(cookie_seed(&directory, &config, [2; 16]), first);
        let file = directory.join(FILE);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, b"short").unwrap();
        let second = cookie_seed(&directory, &config, [1; 16]);
        assert!(second != first && second != [1; 16]);
        fs::remove_dir_all(directory.parent().unwrap()).unwrap();
        // A place where nothing can be written.
        let nowhere = Path::new("/dev/null/state");
        assert_eq!(cookie_seed(nowhere, &config, [3; 16]), [3; 16]);
    }
}
