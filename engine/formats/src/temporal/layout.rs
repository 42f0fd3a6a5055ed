//! Timestamp formats of fixed width, read by place: where each field and each literal byte stands.

use chrono::format::{Item, Numeric, Pad};

use super::civil::{days_from_civil, local_micros, two};

/// The places of a format's fields. Every text it reads is `width` bytes long.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    width: usize,
    year: usize,
    month: usize,
    day: usize,
    hour: Option<usize>,
    minute: Option<usize>,
    second: Option<usize>,
    literals: Vec<(usize, u8)>,
}

impl Layout {
    /// The layout of a format, where it has year, month and day, and all its items have one width.
    pub(super) fn new(items: &[Item<'_>]) -> Option<Self> {
        let (mut year, mut month, mut day) = (None, None, None);
        let (mut hour, mut minute, mut second) = (None, None, None);
        let mut literals = Vec::new();
        let mut width = 0;
        for item in items {
            let (field, digits) = match item {
                Item::Literal(text) | Item::Space(text) => {
                    literals.extend(text.bytes().enumerate().map(|(i, b)| (width + i, b)));
                    width += text.len();
                    continue;
                }
                Item::OwnedLiteral(text) | Item::OwnedSpace(text) => {
                    literals.extend(text.bytes().enumerate().map(|(i, b)| (width + i, b)));
                    width += text.len();
                    continue;
                }
                Item::Numeric(Numeric::Year, Pad::Zero) => (&mut year, 4),
                Item::Numeric(Numeric::Month, Pad::Zero) => (&mut month, 2),
                Item::Numeric(Numeric::Day, Pad::Zero) => (&mut day, 2),
                Item::Numeric(Numeric::Hour, Pad::Zero) => (&mut hour, 2),
                Item::Numeric(Numeric::Minute, Pad::Zero) => (&mut minute, 2),
                Item::Numeric(Numeric::Second, Pad::Zero) => (&mut second, 2),
                _ => return None,
            };
            if field.replace(width).is_some() {
                return None;
            }
            width += digits;
        }
        // Chrono asks for an hour where there are minutes, and for minutes where there are seconds.
        let gap = (hour.is_none() && minute.is_some()) || (minute.is_none() && second.is_some());
        let hour_alone = hour.is_some() && minute.is_none();
        if gap || hour_alone {
            return None;
        }
        Some(Self { width, year: year?, month: month?, day: day?, hour, minute, second, literals })
    }

    /// Microseconds of the local time since 1970, where the text has this width and is such a time.
    #[inline]
    pub(super) fn micros(&self, text: &[u8]) -> Option<i64> {
        if text.len() != self.width || self.literals.iter().any(|(at, byte)| text.get(*at) != Some(byte)) {
            return None;
        }
        let field = |at: Option<usize>| at.map_or(Some(0), |at| two(text, at));
        let year = two(text, self.year)? * 100 + two(text, self.year + 2)?;
        let days = days_from_civil(year, two(text, self.month)?, two(text, self.day)?)?;
        local_micros(days, field(self.hour)?, field(self.minute)?, field(self.second)?)
    }
}
