//! A place in a JSON text: white space, strings, literals, and skipping what nobody asked for.

use crate::number::{Number, small_integer};

/// Arrays and objects within each other: more is not data but an attack.
const MAX_DEPTH: u32 = 64;

/// What makes a text not JSON; where is where the cursor stopped. Small, so that results stay in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax(pub(crate) &'static str);

/// A string's bytes: as they stand in the text, or unescaped in the scratch space.
pub(crate) enum Text<'a> {
    Plain(&'a [u8]),
    Unescaped,
}

/// A place in a JSON text, which is valid UTF-8.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }
    /// The byte here.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
    /// Where this is.
    #[inline]
    pub(crate) fn at(&self) -> usize {
        self.at
    }
    /// Goes back to an earlier place.
    pub(crate) fn rewind(&mut self, at: usize) {
        self.at = at;
    }
    /// The text from `start` to here.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or_default()
    }
    /// What is not read yet.
    #[inline]
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
    /// The error that `message` is true here.
    #[cold]
    pub(crate) fn error(&self, message: &'static str) -> Syntax {
        Syntax(message)
    }
    /// Steps over `token`, if it stands here.
    #[inline]
    pub(crate) fn eat(&mut self, token: &[u8]) -> bool {
        let here = self.bytes.get(self.at..self.at + token.len());
        let found = here.is_some_and(|here| same(here, token));
        if found {
            self.at += token.len();
        }
        found
    }
    /// Steps over white space.
    #[inline]
    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }
    /// Steps over white space and `byte`, which must stand there.
    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, message: &'static str) -> Result<(), Syntax> {
        self.space();
        if self.peek() != Some(byte) {
            return Err(self.error(message));
        }
        self.at += 1;
        Ok(())
    }
    /// Steps over a literal.
    #[inline]
    pub(crate) fn literal(&mut self, literal: &'static [u8]) -> Result<(), Syntax> {
        if self.eat(literal) { Ok(()) } else { Err(self.error("expected a value")) }
    }
    /// Goes one array or object deeper.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), Syntax> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested more than 64 deep"));
        }
        self.at += 1;
        Ok(())
    }
    /// Comes back from it.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }
    /// Behind an item: steps over a comma and says that there is more, or stands at `close`.
    #[inline]
    pub(crate) fn more(&mut self, close: u8) -> Result<bool, Syntax> {
        self.space();
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(true)
            }
            Some(byte) if byte == close => Ok(false),
            _ => Err(self.error("expected a comma or the end of the array or object")),
        }
    }
    /// Steps over a whole number of at most nine digits, maybe with `.0` behind it: what most integers are. Where
    /// anything else stands here, nothing is read.
    #[inline(always)]
    pub(crate) fn small_integer(&mut self) -> Option<i32> {
        let (value, len) = small_integer(self.bytes, self.at)?;
        let end = self.at + len;
        if !matches!(self.bytes.get(end), Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')) {
            return None;
        }
        self.at = end;
        Some(value)
    }
    /// The same for such a number in quotes.
    #[inline(always)]
    pub(crate) fn small_integer_text(&mut self) -> Option<i32> {
        let (value, len) = small_integer(self.bytes, self.at + 1)?;
        let end = self.at + 1 + len;
        if self.bytes.get(end) != Some(&b'"') {
            return None;
        }
        self.at = end + 1;
        Some(value)
    }
    /// Steps over a number.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Result<Number, Syntax> {
        let Some((number, len)) = Number::of_json(self.rest()) else {
            return Err(self.error("not a JSON number"));
        };
        self.at += len;
        Ok(number)
    }

    /// Steps over the string whose quote is here. Where it has escapes, its text is put into `scratch`.
    #[inline]
    pub(crate) fn text(&mut self, scratch: &mut Vec<u8>) -> Result<Text<'a>, Syntax> {
        let start = self.at + 1;
        let end = string_end(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(Text::Plain(self.bytes.get(start..end).unwrap_or_default()));
        }
        scratch.clear();
        self.unescape(start, end, Some(scratch))?;
        Ok(Text::Unescaped)
    }

    /// Steps over the string whose quote is here and appends its text to `out`.
    #[inline]
    pub(crate) fn text_into(&mut self, out: &mut Vec<u8>) -> Result<(), Syntax> {
        let start = self.at + 1;
        let end = string_end(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            out.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
            return Ok(());
        }
        self.unescape(start, end, Some(out))
    }

    /// Steps over the string whose quote is here.
    #[inline]
    fn skip_text(&mut self) -> Result<(), Syntax> {
        let start = self.at + 1;
        let end = string_end(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(());
        }
        self.unescape(start, end, None)
    }

    /// A string with escapes, from `start` behind its quote; `end` is the first byte that is not plain.
    #[cold]
    fn unescape(&mut self, mut start: usize, mut end: usize, mut out: Option<&mut Vec<u8>>) -> Result<(), Syntax> {
        loop {
            if let Some(out) = out.as_deref_mut() {
                out.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
            }
            self.at = end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    let c = self.escape()?;
                    if let Some(out) = out.as_deref_mut() {
                        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
                Some(_) => return Err(self.error("control character in a string")),
                None => return Err(self.error("the string does not end")),
            }
            start = self.at;
            end = string_end(self.bytes, start);
        }
    }

    /// Steps over the escape here.
    fn escape(&mut self) -> Result<char, Syntax> {
        let simple = match self.bytes.get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 2;
        Ok(simple)
    }

    fn unicode_escape(&mut self) -> Result<char, Syntax> {
        let unit = self.hex(self.at + 2)?;
        let code = match unit {
            0xD800..0xDC00 => {
                let pair = self.bytes.get(self.at + 6..self.at + 8) == Some(b"\\u");
                let low = if pair { self.hex(self.at + 8)? } else { 0 };
                if !(0xDC00..0xE000).contains(&low) {
                    return Err(self.error("lone surrogate"));
                }
                self.at += 6;
                0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
            }
            _ => unit,
        };
        let c = char::from_u32(code).ok_or_else(|| self.error("lone surrogate"))?;
        self.at += 6;
        Ok(c)
    }

    /// The four hexadecimal digits at `at`.
    fn hex(&self, at: usize) -> Result<u32, Syntax> {
        let digits = self.bytes.get(at..at + 4).ok_or_else(|| self.error("unknown escape"))?;
        digits.iter().try_fold(0, |sum, byte| {
            let digit = char::from(*byte).to_digit(16).ok_or_else(|| self.error("unknown escape"))?;
            Ok(sum * 16 + digit)
        })
    }

    /// Steps over the value here, whatever it is.
    pub(crate) fn skip(&mut self) -> Result<(), Syntax> {
        match self.peek() {
            Some(b'"') => self.skip_text(),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'{') => self.skip_object(),
            Some(b'[') => self.skip_array(),
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the record ends too early")),
        }
    }

    fn skip_object(&mut self) -> Result<(), Syntax> {
        self.enter()?;
        self.space();
        if self.peek() != Some(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.error("expected a field's name in quotes"));
                }
                self.skip_text()?;
                self.expect(b':', "expected a colon")?;
                self.space();
                self.skip()?;
                if !self.more(b'}')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(())
    }

    fn skip_array(&mut self) -> Result<(), Syntax> {
        self.enter()?;
        self.space();
        if self.peek() != Some(b']') {
            loop {
                self.skip()?;
                if !self.more(b']')? {
                    break;
                }
            }
        }
        self.leave();
        Ok(())
    }
}

/// Whether two texts of one length are equal. Keys are short: words that overlap at the end are cheaper than a call.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    let word = |text: &[u8], at: usize| {
        text.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()).map_or(0, u64::from_le_bytes)
    };
    let len = b.len();
    if len < 8 {
        return a == b;
    }
    let mut at = 0;
    while at + 8 < len {
        if word(a, at) != word(b, at) {
            return false;
        }
        at += 8;
    }
    word(a, len - 8) == word(b, len - 8)
}

/// The first byte from `at` on that is not plain text of a string: a quote, a backslash, a control character; or the
/// end. Eight bytes at a time: in each word the lowest hit is exact.
#[inline]
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()) {
        let word = u64::from_le_bytes(chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let backslash = word ^ (ONES * b'\\' as u64);
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hits = hits & HIGHS;
        if hits != 0 {
            return at + hits.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_json(text: &str) -> bool {
        let mut cursor = Cursor::new(text.as_bytes());
        cursor.space();
        cursor.skip().is_ok() && {
            cursor.space();
            cursor.peek().is_none()
        }
    }

    #[test]
    fn strings_and_escapes() {
        let read = |text: &str| {
            let mut out = Vec::new();
            Cursor::new(text.as_bytes()).text_into(&mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(read(r#""plain""#).unwrap(), "plain");
        assert_eq!(read(r#""a\"b\\c\/d\n\u0041\ud83d\ude00 and more text""#).unwrap(), "a\"b\\c/d\nA😀 and more text");
        assert_eq!(read(r#""\ud83d""#).unwrap_err().0, "lone surrogate");
        assert_eq!(read(r#""\ud83d\u0041""#).unwrap_err().0, "lone surrogate");
        assert_eq!(read(r#""\ude00""#).unwrap_err().0, "lone surrogate");
        assert_eq!(read(r#""\x""#).unwrap_err().0, "unknown escape");
        assert_eq!(read(r#""\u00g0""#).unwrap_err().0, "unknown escape");
        assert_eq!(read("\"a\nb\"").unwrap_err().0, "control character in a string");
        assert_eq!(read("\"abc").unwrap_err().0, "the string does not end");
    }

    #[test]
    fn bombs_are_refused() {
        assert!(is_json(&format!("{}{}", "[".repeat(64), "]".repeat(64))));
        assert!(!is_json(&format!("{}{}", "[".repeat(65), "]".repeat(65))));
        assert!(!is_json(&"[".repeat(1_000_000)));
        assert!(!is_json(&"{\"a\":".repeat(1_000_000)));
    }

    proptest! {
        /// What is JSON is exactly what serde_json says.
        #[test]
        fn json_is_what_everyone_calls_json(text in r#"[\[\]{}",:0-9eE.+\-tfn \\au]{0,24}"#) {
            prop_assert_eq!(is_json(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
        #[test]
        fn string_ends_are_found(text in "[a-zäöü\"\\\\\\x00-\\x20]{0,40}") {
            let expected = text.bytes().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(text.len());
            prop_assert_eq!(string_end(text.as_bytes(), 0), expected);
        }
    }
}
