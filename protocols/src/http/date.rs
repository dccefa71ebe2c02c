//! The dates of HTTP answers and of access logs.
//! Owns their forms (RFC 9110 §5.6.7; the common log format).
//! Must never read a clock: seconds come in.

/// A point in time by the calendar.
struct Civil {
    weekday: &'static str,
    day: u64,
    month: &'static str,
    year: u64,
    /// Second of the day.
    time: u64,
}

impl Civil {
    /// From seconds since 1970.
    fn new(seconds: u64) -> Civil {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let days = seconds / 86400;
        // Civil date from days, counting years from March so that leap days come last.
        let shifted = days + 719_468;
        let era_day = shifted % 146_097;
        let era_year = (era_day - era_day / 1460 + era_day / 36524 - era_day / 146_096) / 365;
        let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
        let month_index = (5 * year_day + 2) / 153;
        let month = (month_index + 2) % 12;
        let name = |list: &[&'static str], index: u64| {
            list.get(index as usize).copied().unwrap_or_default()
        };
        Civil {
            weekday: name(&DAYS, days % 7),
            day: year_day - (153 * month_index + 2) / 5 + 1,
            month: name(&MONTHS, month),
            year: shifted / 146_097 * 400 + era_year + u64::from(month < 2),
            time: seconds % 86400,
        }
    }

    /// `08:49:37`
    fn clock(&self) -> String {
        let time = self.time;
        format!("{:02}:{:02}:{:02}", time / 3600, time / 60 % 60, time % 60)
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` of seconds since 1970.
pub fn http_date(seconds: u64) -> String {
    let civil = Civil::new(seconds);
    let (weekday, day, month, year) = (civil.weekday, civil.day, civil.month, civil.year);
    format!(
        "{weekday}, {day:02} {month} {year:04} {} GMT",
        civil.clock()
    )
}

/// Writes `06/Nov/1994:08:49:37 +0000` of seconds since 1970; each line of an access log has one.
pub fn clf_date(seconds: u64, out: &mut Vec<u8>) {
    let civil = Civil::new(seconds);
    two_digits(civil.day, out);
    out.push(b'/');
    out.extend_from_slice(civil.month.as_bytes());
    out.push(b'/');
    two_digits(civil.year / 100, out);
    two_digits(civil.year, out);
    for part in [civil.time / 3600, civil.time / 60 % 60, civil.time % 60] {
        out.push(b':');
        two_digits(part, out);
    }
    out.extend_from_slice(b" +0000");
}

/// Writes the last two digits of a number.
fn two_digits(number: u64, out: &mut Vec<u8>) {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(number / 10), digit(number)]);
}

#[cfg(test)]
mod tests {
    use super::{clf_date, http_date};

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut out = Vec::new();
        clf_date(784_111_777, &mut out);
        assert_eq!(out, b"06/Nov/1994:08:49:37 +0000");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(1_709_251_199), "Thu, 29 Feb 2024 23:59:59 GMT");
        assert_eq!(http_date(4_102_444_800), "Fri, 01 Jan 2100 00:00:00 GMT");
    }
}
