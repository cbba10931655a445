//! `short_ref_format`: a `printf` format with one string.

use anyhow::bail;

/// Applies `%s` (with an optional `-`, width and precision) and `%%`; nothing else has a meaning here.
pub(super) fn format(pattern: &str, value: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            text.push('%');
            continue;
        }
        let left = rest.next_if_eq(&'-').is_some();
        let mut number = || {
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse::<usize>().ok().filter(|number| *number <= 256)
        };
        let width = number().unwrap_or(0);
        let precision = if rest.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits.parse().unwrap_or(0)
        } else {
            usize::MAX
        };
        if rest.next() != Some('s') {
            bail!("params.short_ref_format: {pattern:?} has a directive other than %s and %%");
        }
        let shown: String = value.chars().take(precision).collect();
        let padded = if left { format!("{shown:<width$}") } else { format!("{shown:>width$}") };
        text.push_str(&padded);
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
