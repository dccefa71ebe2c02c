//! The objects on the control socket: redirections, tables, hosts, relays, routers, routes, sessions, statistics.
//! Owns their content and their memory images by [`super::layout`].
//! Must never put an address of our memory into an image: pointers are zeros.

mod counts;
mod hosts;
mod routers;
mod services;

pub use counts::{StatisticsRecord, TrafficRecord};
pub use hosts::{HostRecord, StatusRecord, TableRecord};
pub use routers::{RouteRecord, RouterRecord};
pub use services::{RedirectRecord, RelayRecord, SessionRecord};

use super::ControlError;
use super::bytes::{get_i64, put};
use std::time::Duration;

/// "No id": the object is named by its name.
pub const EMPTY_ID: u32 = u32::MAX;

/// Something with a memory image.
pub trait Image: Sized {
    /// Bytes of the image.
    const SIZE: usize;
    /// Bytes that must be there to read it.
    const NEEDED: usize;
    /// Writes the image into zeroed memory of [`Image::SIZE`] bytes.
    fn fill(&self, image: &mut [u8]);
    /// Reads an image of at least [`Image::NEEDED`] bytes.
    ///
    /// # Errors
    /// A field has an impossible value.
    fn read(kind: u32, image: &[u8]) -> Result<Self, ControlError>;

    /// The image.
    fn to_image(&self) -> Vec<u8> {
        let mut image = vec![0; Self::SIZE];
        self.fill(&mut image);
        image
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// It is too short, or a field has an impossible value.
    fn from_payload(kind: u32, payload: &[u8]) -> Result<Self, ControlError> {
        if payload.len() < Self::NEEDED {
            return Err(ControlError::Size {
                kind,
                length: payload.len(),
                expected: Self::SIZE,
            });
        }
        Self::read(kind, payload)
    }
}

fn put_u32(image: &mut [u8], offset: usize, value: u32) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_i32(image: &mut [u8], offset: usize, value: i32) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_u64(image: &mut [u8], offset: usize, value: u64) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_u16(image: &mut [u8], offset: usize, value: u16) {
    put(image, offset, &value.to_ne_bytes());
}

fn put_port(image: &mut [u8], offset: usize, value: u16) {
    put(image, offset, &value.to_be_bytes());
}

/// A `struct timeval` of two 64-bit numbers.
fn put_time(image: &mut [u8], offset: usize, value: Duration) {
    put_u64(image, offset, value.as_secs());
    put_u64(image, offset + 8, u64::from(value.subsec_micros()));
}

fn get_time(image: &[u8], offset: usize) -> Duration {
    let seconds = u64::try_from(get_i64(image, offset)).unwrap_or(0);
    let micros = u32::try_from(get_i64(image, offset + 8)).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::from(micros.min(999_999)))
}

fn state(kind: u32, number: i32) -> Result<i32, ControlError> {
    if (-1..=1).contains(&number) {
        Ok(number)
    } else {
        Err(ControlError::Value {
            kind,
            field: "status",
            value: number,
        })
    }
}
