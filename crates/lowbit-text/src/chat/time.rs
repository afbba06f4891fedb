//! The time that templates may ask for, handed in by the caller so that rendering is repeatable.

use minijinja::{Error, ErrorKind, Value};

/// A local date and time of day in the Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// For example 2026.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl LocalTime {
    /// The time that is `seconds` after the beginning of 1970, in UTC.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u32);
        // Years that begin in March put the leap day last, which makes the months regular.
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = (if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 }) as u8;
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
            month,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (second / 3_600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }

    /// 0 for Sunday. By Sakamoto's method.
    fn weekday(self) -> usize {
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = self.year - i32::from(self.month < 3);
        let days = year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
        (days + SHIFT[self.month as usize - 1] + i32::from(self.day)).rem_euclid(7) as usize
    }

    fn day_of_year(self) -> u32 {
        const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        BEFORE[self.month as usize - 1] + u32::from(self.day) + u32::from(leap && self.month > 2)
    }

    /// `strftime` of the C locale; `None` for a directive that is not known.
    fn format(self, directive: char) -> Option<String> {
        let month = MONTHS[self.month as usize - 1];
        let weekday = WEEKDAYS[self.weekday()];
        let hour12 = (self.hour + 11) % 12 + 1;
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{hour12:02}"),
            'M' => format!("{:02}", self.minute),
            'S' => format!("{:02}", self.second),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.into(),
            'B' => month.into(),
            'b' | 'h' => month[..3].into(),
            'A' => weekday.into(),
            'a' => weekday[..3].into(),
            'j' => format!("{:03}", self.day_of_year()),
            'w' => self.weekday().to_string(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second),
            'R' => format!("{:02}:{:02}", self.hour, self.minute),
            'D' => format!("{:02}/{:02}/{:02}", self.month, self.day, self.year.rem_euclid(100)),
            '%' => "%".into(),
            _ => return None,
        })
    }

    fn is_valid(self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60
    }
}

/// The function `strftime_now` for a template.
pub(super) fn strftime_function(now: Option<LocalTime>) -> Value {
    Value::from_function(move |format: String| strftime(now, &format))
}

fn strftime(now: Option<LocalTime>, format: &str) -> Result<String, Error> {
    let refuse = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    let now = now.ok_or_else(|| refuse("the template asks for the time, but none was given".into()))?;
    if !now.is_valid() {
        return Err(refuse(format!("the time given is not valid: {now:?}")));
    }
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut directive = chars.next();
        let unpadded = directive == Some('-');
        if unpadded {
            directive = chars.next();
        }
        let text = directive.and_then(|directive| now.format(directive));
        let text = text.ok_or_else(|| refuse(format!("strftime_now does not know the format '{format}'")))?;
        let stripped = text.trim_start_matches(['0', ' ']);
        out.push_str(match (unpadded, stripped) {
            (false, _) => &text,
            (true, "") => "0",
            (true, stripped) => stripped,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_c_does() {
        let now = LocalTime { year: 2024, month: 7, day: 6, hour: 13, minute: 5, second: 9 };
        let cases = [
            ("%d %b %Y", "06 Jul 2024"),
            ("%-d %B %y", "6 July 24"),
            ("%A, %F %T", "Saturday, 2024-07-06 13:05:09"),
            ("%I:%M %p", "01:05 PM"),
            ("%j %a 100%%", "188 Sat 100%"),
        ];
        for (format, expected) in cases {
            assert_eq!(strftime(Some(now), format).unwrap(), expected);
        }
        assert!(strftime(Some(now), "%Q").is_err() && strftime(Some(now), "%").is_err());
        assert!(strftime(None, "%Y").unwrap_err().to_string().contains("none was given"));
    }

    #[test]
    fn unix_seconds_become_dates() {
        let date = |seconds| {
            let time = LocalTime::from_unix_seconds(seconds);
            (time.year, time.month, time.day, time.hour, time.minute, time.second)
        };
        assert_eq!(date(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(date(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(date(951_868_800), (2000, 3, 1, 0, 0, 0));
        assert_eq!(date(-1), (1969, 12, 31, 23, 59, 59));
    }
}
