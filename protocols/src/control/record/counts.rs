//! Session statistics on the control socket.
//! Owns their memory images and their sum.
//! Must never lose a process: what does not fit is added up.

use super::{EMPTY_ID, Image, put_i32, put_u32, put_u64};
use crate::control::ControlError;
use crate::control::bytes::{get_i32, get_u32, get_u64};
use crate::control::extension::Traffic;
use crate::control::layout::P77;

/// Session statistics of a redirection, or of a relay in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatisticsRecord {
    /// Redirection or relay; [`EMPTY_ID`] ends a list.
    pub id: u32,
    /// Process.
    pub process: i32,
    /// Seconds of the shortest period.
    pub interval: u64,
    /// Sessions since start.
    pub total: u64,
    /// Periods counted.
    pub tick: u32,
    /// Mean per period.
    pub average: u32,
    /// In the last period.
    pub last: u32,
    /// Mean per hour.
    pub average_hour: u32,
    /// In this hour.
    pub last_hour: u32,
    /// Mean per day.
    pub average_day: u32,
    /// In this day.
    pub last_day: u32,
}

impl Image for StatisticsRecord {
    const SIZE: usize = P77.statistics.size;
    const NEEDED: usize = P77.statistics.last_day + 4;

    fn fill(&self, image: &mut [u8]) {
        let at = &P77.statistics;
        put_u32(image, at.id, self.id);
        put_i32(image, at.process, self.process);
        put_u64(image, at.interval, self.interval);
        put_u64(image, at.total, self.total);
        put_u32(image, at.tick, self.tick);
        put_u32(image, at.average, self.average);
        put_u32(image, at.last, self.last);
        put_u32(image, at.average_hour, self.average_hour);
        put_u32(image, at.last_hour, self.last_hour);
        put_u32(image, at.average_day, self.average_day);
        put_u32(image, at.last_day, self.last_day);
    }

    fn read(_kind: u32, image: &[u8]) -> Result<Self, ControlError> {
        let at = &P77.statistics;
        Ok(StatisticsRecord {
            id: get_u32(image, at.id),
            process: get_i32(image, at.process),
            interval: get_u64(image, at.interval),
            total: get_u64(image, at.total),
            tick: get_u32(image, at.tick),
            average: get_u32(image, at.average),
            last: get_u32(image, at.last),
            average_hour: get_u32(image, at.average_hour),
            last_hour: get_u32(image, at.last_hour),
            average_day: get_u32(image, at.average_day),
            last_day: get_u32(image, at.last_day),
        })
    }
}

/// Packets and bytes of a redirection, where they are counted: follows its [`StatisticsRecord`] in the same message. The
/// original's relayctl does not look behind the image it knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficRecord {
    /// Since start.
    pub total: Traffic,
    /// In the last period.
    pub last: Traffic,
    /// Mean per period.
    pub average: Traffic,
}

impl TrafficRecord {
    const NUMBERS: usize = 12;

    /// The bytes behind the statistics.
    pub fn to_image(self) -> Vec<u8> {
        let numbers = |t: Traffic| [t.packets_in, t.bytes_in, t.packets_out, t.bytes_out];
        let all = [self.total, self.last, self.average].map(numbers);
        let all = all.into_iter().flatten();
        all.flat_map(u64::to_ne_bytes).collect()
    }

    /// Reads what follows the statistics in `payload`, if anything does.
    pub fn behind(payload: &[u8]) -> Option<TrafficRecord> {
        let image = payload.get(P77.statistics.size..)?;
        let image = image.get(..TrafficRecord::NUMBERS * 8)?;
        let traffic = |at: usize| Traffic {
            packets_in: get_u64(image, at),
            bytes_in: get_u64(image, at + 8),
            packets_out: get_u64(image, at + 16),
            bytes_out: get_u64(image, at + 24),
        };
        Some(TrafficRecord {
            total: traffic(0),
            last: traffic(32),
            average: traffic(64),
        })
    }
}

impl StatisticsRecord {
    /// The sum of several, as relayctl shows it for a relay.
    pub fn sum(all: &[StatisticsRecord]) -> StatisticsRecord {
        let mut sum = StatisticsRecord::default();
        for one in all {
            sum.id = one.id;
            sum.interval = one.interval;
            sum.total = sum.total.saturating_add(one.total);
            sum.average = sum.average.saturating_add(one.average);
            sum.last = sum.last.saturating_add(one.last);
            sum.average_hour = sum.average_hour.saturating_add(one.average_hour);
            sum.last_hour = sum.last_hour.saturating_add(one.last_hour);
            sum.average_day = sum.average_day.saturating_add(one.average_day);
            sum.last_day = sum.last_day.saturating_add(one.last_day);
        }
        sum
    }

    /// A list with its end mark, in the fixed number of entries; what does not fit is added to the last entry,
    /// so that the sum is right.
    pub fn list_to_image(list: &[StatisticsRecord]) -> Vec<u8> {
        let room = P77.statistics_entries - 1;
        let mut entries: Vec<StatisticsRecord> = list.to_vec();
        if entries.len() > room {
            let rest = entries.split_off(room - 1);
            entries.push(StatisticsRecord::sum(&rest));
        }
        let mut image: Vec<u8> = entries.iter().flat_map(Image::to_image).collect();
        let end = StatisticsRecord {
            id: EMPTY_ID,
            ..StatisticsRecord::default()
        };
        image.extend(end.to_image());
        image.resize(P77.statistics_entries * Self::SIZE, 0);
        image
    }

    /// The entries of such a list.
    ///
    /// # Errors
    /// Not even one entry is there.
    pub fn list_from_payload(
        kind: u32,
        payload: &[u8],
    ) -> Result<Vec<StatisticsRecord>, ControlError> {
        if payload.len() < Self::SIZE {
            return Err(ControlError::Size {
                kind,
                length: payload.len(),
                expected: P77.statistics_entries * Self::SIZE,
            });
        }
        payload
            .chunks_exact(Self::SIZE)
            .map(|entry| Self::read(kind, entry))
            .take_while(|entry| !matches!(entry, Ok(entry) if entry.id == EMPTY_ID))
            .collect()
    }
}
