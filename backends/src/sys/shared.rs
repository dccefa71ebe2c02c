//! Counters that several processes share: 32-bit words in memory that has no name.
//! Owns the memory's making, its mapping and the bounds of every access.
//! Must never hand out anything but atomic words: another process may change them at any time.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;

/// Makes memory of `count` words, all 0; pages cost nothing until they are used, on Linux also if only read. Processes
/// that get the descriptor cannot change its size.
///
/// # Errors
/// Those of the system.
pub fn create(count: usize) -> io::Result<OwnedFd> {
    let size = u64::try_from(bytes(count)?).map_err(|_| io::ErrorKind::InvalidInput)?;
    let file = anonymous()?;
    file.set_len(size)?;
    seal(&file)?;
    Ok(file.into())
}

fn bytes(count: usize) -> io::Result<usize> {
    let size = count.checked_mul(size_of::<AtomicU32>());
    size.filter(|size| *size > 0)
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(target_os = "linux")]
fn anonymous() -> io::Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    Ok(File::from(memfd_create(c"relayd", flags)?))
}

/// A file that was removed at once.
#[cfg(not(target_os = "linux"))]
fn anonymous() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = [0; 16];
    super::random::fill(&mut name)?;
    let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = std::env::temp_dir().join(format!("relayd.{name}"));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// A process that shrank the memory would end the others with SIGBUS.
#[cfg(target_os = "linux")]
fn seal(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn seal(_: &File) -> io::Result<()> {
    Ok(())
}

/// Such memory, mapped into this process until dropped.
#[derive(Debug)]
pub struct Words {
    start: NonNull<AtomicU32>,
    count: usize,
}

// SAFETY: all access goes through atomics, and the mapping lives as long as the value.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// Maps the memory behind a descriptor that [`create`] has made with the same `count`.
    ///
    /// # Errors
    /// It is smaller than that, or the system refuses.
    pub fn map(descriptor: BorrowedFd<'_>, count: usize) -> io::Result<Words> {
        let size = bytes(count)?;
        let file = File::from(descriptor.try_clone_to_owned()?);
        if usize::try_from(file.metadata()?.len()).is_ok_and(|length| length < size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a new mapping at a place of the system's choice, of memory that was found long enough.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Words { start, count })
    }

    /// Word number `index`, if there are so many.
    pub fn get(&self, index: usize) -> Option<&AtomicU32> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the index is within the mapping, which is aligned to a page and lives as long as `self`.
        Some(unsafe { self.start.add(index).as_ref() })
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping, to which no reference outlives `self`.
        unsafe {
            libc::munmap(
                self.start.as_ptr().cast(),
                self.count * size_of::<AtomicU32>(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    #[test]
    fn two_mappings_are_one_memory_of_zeros() {
        let fd = create(5000).unwrap();
        let one = Words::map(fd.as_fd(), 5000).unwrap();
        let two = Words::map(fd.as_fd(), 5000).unwrap();
        drop(fd);
        assert!((0..5000).all(|i| one.get(i).unwrap().load(SeqCst) == 0));
        one.get(4999).unwrap().store(7, SeqCst);
        drop(one);
        assert_eq!(two.get(4999).unwrap().fetch_add(1, SeqCst), 7);
        assert!(two.get(5000).is_none());
    }

    #[test]
    fn too_small_a_memory_is_refused_and_its_size_is_fixed() {
        let fd = create(16).unwrap();
        assert!(Words::map(fd.as_fd(), 17).is_err());
        assert!(create(0).is_err());
        #[cfg(target_os = "linux")]
        assert!(File::from(fd).set_len(0).is_err());
    }
}
