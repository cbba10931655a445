//! Other ways to write a secret, which a program may choose by chance or on purpose.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter ones are not sought: what they become is found everywhere.
const BYTES_MIN: usize = 8;

/// A secret in hexadecimal, base64 wherever it begins in what is encoded, percent signs and JSON.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    if bytes.len() < BYTES_MIN {
        return Vec::new();
    }
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![hex.to_uppercase(), hex];
    for before in 0..3 {
        let padded = [&[0; 2][..before], bytes].concat();
        // Only the characters that no neighbour has a part in.
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            forms.push(engine.encode(&padded)[from..to].to_owned());
        }
    }
    let percent = |keep: fn(&u8) -> bool| -> String {
        let write = |byte: &u8| {
            if keep(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }
        };
        bytes.iter().map(write).collect()
    };
    forms.push(percent(|byte| byte.is_ascii_alphanumeric()));
    forms.push(percent(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte)));
    forms.push(url::form_urlencoded::byte_serialize(bytes).collect());
    forms.push(serde_json::Value::from(secret).to_string().trim_matches('"').to_owned());
    forms.retain(|form| form != secret);
    forms.sort();
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "p@ss/w\"ord+1";

    #[test]
    fn a_secret_is_found_in_each_form_wherever_it_stands() {
        let forms = forms(SECRET);
        let found = |text: &str| forms.iter().any(|form| text.contains(form.as_str()));
        for around in ["", "x", "xy", "xyz"] {
            let text = format!("{around}{SECRET}{around}");
            let written = [
                STANDARD_NO_PAD.encode(&text),
                URL_SAFE_NO_PAD.encode(&text),
                text.bytes().map(|byte| format!("{byte:02x}")).collect(),
                text.bytes().map(|byte| format!("{byte:02X}")).collect(),
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
                serde_json::Value::from(text.as_str()).to_string(),
            ];
            for text in written {
                assert!(found(&text), "{text}");
            }
        }
        assert!(!found("nothing of it"));
    }

    #[test]
    fn short_ones_have_no_other_forms() {
        assert!(super::forms("hunter2").is_empty());
    }
}
