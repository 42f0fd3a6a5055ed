//! Instants and days as text.

use std::fmt::Write as _;

use chrono::DateTime;
use chrono::format::Item;

use super::civil::{DAY, SECOND, civil_from_days};

/// Appends an instant as RFC 3339 in UTC, with as many digits of the fraction as it needs. An instant beyond the
/// calendar is written as its number of microseconds.
pub(crate) fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    let days = micros.div_euclid(DAY);
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        write_beyond(micros, out);
        return;
    }
    write_civil(year, month, day, out);
    let of_day = micros.rem_euclid(DAY);
    let seconds = of_day / SECOND;
    out.push(b'T');
    write_two(seconds / 3600, out);
    out.push(b':');
    write_two(seconds / 60 % 60, out);
    out.push(b':');
    write_two(seconds % 60, out);
    let fraction = of_day % SECOND;
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
    out.push(b'Z');
}

#[cold]
fn write_beyond(micros: i64, out: &mut Vec<u8>) {
    let text = match DateTime::from_timestamp_micros(micros) {
        Some(t) => t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        None => micros.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Appends a day as `YYYY-MM-DD`; beyond the calendar of four-digit years with a sign.
pub(crate) fn write_date(days: i32, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(i64::from(days));
    if (0..=9999).contains(&year) {
        write_civil(year, month, day, out);
    } else {
        out.extend_from_slice(format!("{year:+05}-{month:02}-{day:02}").as_bytes());
    }
}

fn write_civil(year: i64, month: u32, day: u32, out: &mut Vec<u8>) {
    write_two(year / 100, out);
    write_two(year % 100, out);
    out.push(b'-');
    write_two(i64::from(month), out);
    out.push(b'-');
    write_two(i64::from(day), out);
}

fn write_two(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
}

/// Appends an instant by strftime items; by RFC 3339 where the format cannot say it (a year of five digits in an
/// RFC 2822 date).
pub(crate) fn write_strftime(micros: i64, items: &[Item<'static>], out: &mut String) {
    let before = out.len();
    let written = DateTime::from_timestamp_micros(micros)
        .is_some_and(|t| write!(out, "{}", t.format_with_items(items.iter())).is_ok());
    if !written {
        out.truncate(before);
        let mut text = Vec::new();
        write_timestamp(micros, &mut text);
        out.push_str(&String::from_utf8_lossy(&text));
    }
}

/// The first instant of a day, in microseconds; saturates.
pub(crate) fn midnight(days: i32) -> i64 {
    i64::from(days).saturating_mul(DAY)
}
