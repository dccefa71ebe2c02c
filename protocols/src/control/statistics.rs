//! Session statistics over time: per interval, hour and day, with floating means.
//! Owns the arithmetic of `show relays` and `show redirects`.
//! Must never read a clock: it is told when an interval ends.

use super::extension::{Statistics, Traffic};
use super::record::{StatisticsRecord, TrafficRecord};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

/// Counter of one redirection, or of one relay in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounter {
    total: u64,
    current: u32,
    ticks: u32,
    last: u32,
    average: u32,
    last_hour: u32,
    average_hour: u32,
    last_day: u32,
    average_day: u32,
}

impl SessionCounter {
    /// Counts sessions.
    pub fn add(&mut self, sessions: u64) {
        let few = u32::try_from(sessions).unwrap_or(u32::MAX);
        self.total = self.total.saturating_add(sessions);
        self.current = self.current.saturating_add(few);
        self.last_hour = self.last_hour.saturating_add(few);
        self.last_day = self.last_day.saturating_add(few);
    }

    /// Takes over sessions of an earlier process: they count in the total only.
    pub fn start_from(&mut self, total: u64) {
        self.total = total;
    }

    /// Sessions so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// An interval of `seconds` ended.
    pub fn interval_ended(&mut self, seconds: u64) {
        let passed = |ticks: u32, period: u64| u64::from(ticks) * seconds % period < seconds;
        self.ticks = self.ticks.wrapping_add(1);
        self.last = std::mem::take(&mut self.current);
        self.average = mean(self.average, self.last);
        if passed(self.ticks, HOUR) {
            self.average_hour = mean(self.average_hour, std::mem::take(&mut self.last_hour));
        }
        if passed(self.ticks, DAY) {
            self.average_day = mean(self.average_day, std::mem::take(&mut self.last_day));
        }
    }

    /// For the control socket.
    pub fn record(&self, id: u32, process: i32, interval: u64) -> StatisticsRecord {
        StatisticsRecord {
            id,
            process,
            interval,
            total: self.total,
            tick: self.ticks,
            average: self.average,
            last: self.last,
            average_hour: self.average_hour,
            last_hour: self.last_hour,
            average_day: self.average_day,
            last_day: self.last_day,
        }
    }
}

impl From<StatisticsRecord> for Statistics {
    fn from(s: StatisticsRecord) -> Statistics {
        Statistics {
            total: s.total,
            last: s.last,
            last_hour: s.last_hour,
            last_day: s.last_day,
            average: s.average,
            average_hour: s.average_hour,
            average_day: s.average_day,
            interval: s.interval,
        }
    }
}

/// Packets and bytes of one redirection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounter {
    total: Traffic,
    current: Traffic,
    last: Traffic,
    average: Traffic,
}

impl TrafficCounter {
    /// Counts packets and bytes.
    pub fn add(&mut self, new: Traffic) {
        self.total = self.total.with(new, u64::saturating_add);
        self.current = self.current.with(new, u64::saturating_add);
    }

    /// Takes over what an earlier process counted: it counts in the total only.
    pub fn start_from(&mut self, total: Traffic) {
        self.total = total;
    }

    /// An interval ended.
    pub fn interval_ended(&mut self) {
        self.last = std::mem::take(&mut self.current);
        self.average = self.average.with(self.last, u64::midpoint);
    }

    /// For the control socket.
    pub fn record(&self) -> TrafficRecord {
        TrafficRecord {
            total: self.total,
            last: self.last,
            average: self.average,
        }
    }
}

/// The original's floating mean.
fn mean(old: u32, new: u32) -> u32 {
    u32::midpoint(old, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hours_and_days_roll_over() {
        let mut counter = SessionCounter::default();
        counter.add(10);
        counter.interval_ended(60);
        let record = counter.record(1, 0, 60);
        assert_eq!((record.last, record.average), (10, 5));
        assert_eq!((record.last_hour, record.average_hour), (10, 0));
        for _ in 1..60 {
            counter.interval_ended(60);
        }
        let record = counter.record(1, 0, 60);
        assert_eq!((record.last_hour, record.average_hour), (0, 5));
        assert_eq!(record.last_day, 10);
        for _ in 60..24 * 60 {
            counter.interval_ended(60);
        }
        let record = counter.record(1, 0, 60);
        assert_eq!((record.last_day, record.average_day), (0, 5));
        assert_eq!(record.total, 10);
        assert_eq!(record.tick, 24 * 60);
    }

    #[test]
    fn huge_counts_do_not_overflow() {
        let mut counter = SessionCounter::default();
        counter.add(u64::MAX);
        counter.add(u64::MAX);
        counter.interval_ended(60);
        assert_eq!(counter.total(), u64::MAX);
        assert_eq!(counter.record(1, 0, 60).last, u32::MAX);
    }

    #[test]
    fn traffic_is_counted_per_interval_and_its_mean_floats() {
        let bytes = |bytes_in| Traffic {
            bytes_in,
            ..Traffic::default()
        };
        let mut counter = TrafficCounter::default();
        counter.start_from(bytes(1000));
        counter.add(bytes(40));
        counter.add(bytes(60));
        assert_eq!(counter.record().last, bytes(0));
        counter.interval_ended();
        let record = counter.record();
        assert_eq!((record.total, record.last), (bytes(1100), bytes(100)));
        assert_eq!(record.average, bytes(50));
        counter.interval_ended();
        let record = counter.record();
        assert_eq!((record.last, record.average), (bytes(0), bytes(25)));
    }
}
