//! JSON as Go's encoder writes it: compact, keys of free-form data sorted, `<`, `>` and `&` escaped.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

/// A response body: the value and a newline.
pub fn to_body(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(256);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut body, HtmlSafe))?;
    body.push(b'\n');
    Ok(body)
}

/// The value alone.
pub fn to_text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, HtmlSafe))?;
    String::from_utf8(text)
        .map_err(|error| serde_json::Error::io(io::Error::new(io::ErrorKind::InvalidData, error)))
}

fn escape(letter: char) -> Option<&'static str> {
    match letter {
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    }
}

struct HtmlSafe;

impl Formatter for HtmlSafe {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(writer, fragment)
    }

    // Outside of strings JSON has none of the escaped letters.
    fn write_raw_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        write_escaped(writer, fragment)
    }
}

fn write_escaped<W: ?Sized + io::Write>(writer: &mut W, fragment: &str) -> io::Result<()> {
    let mut plain = 0;
    for (at, letter) in fragment.char_indices() {
        if let Some(escape) = escape(letter) {
            writer.write_all(&fragment.as_bytes()[plain..at])?;
            writer.write_all(escape.as_bytes())?;
            plain = at + letter.len_utf8();
        }
    }
    writer.write_all(&fragment.as_bytes()[plain..])
}
