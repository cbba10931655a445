//! Texts of strangers, without what people who read them do not see.

/// A text that people see as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cleaned {
    pub(super) text: String,
    /// Characters without a look of their own that were removed.
    pub(super) hidden_characters: usize,
    /// HTML comments that were removed.
    pub(super) comments: usize,
}

/// Removes hidden characters and then comments, which may have been hidden among them.
pub(super) fn clean(text: &str) -> Cleaned {
    let visible: String = text.chars().filter(|&character| !is_hidden(character)).collect();
    let hidden_characters = text.chars().count() - visible.chars().count();
    let (text, comments) = without_comments(&visible);
    Cleaned { text, hidden_characters, comments }
}

/// Zero-width and bidirectional marks, variation selectors and tags, and controls but those of lines.
fn is_hidden(character: char) -> bool {
    match character {
        '\n' | '\r' | '\t' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            true
        }
        '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}' => true,
        '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => true,
        '\u{e0000}'..='\u{e0fff}' => true,
        other => other.is_control(),
    }
}

/// One that is not closed hides the rest, as it does where HTML is shown.
fn without_comments(text: &str) -> (String, usize) {
    let (mut kept, mut rest, mut comments) = (String::with_capacity(text.len()), text, 0);
    while let Some(start) = rest.find("<!--") {
        kept.push_str(&rest[..start]);
        comments += 1;
        rest = rest[start..].split_once("-->").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    (kept, comments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_removed_and_counted() {
        let cleaned = |text: &str| {
            let Cleaned { text, hidden_characters, comments } = clean(text);
            (text, hidden_characters, comments)
        };
        assert_eq!(cleaned("plain ü\n\ttext"), ("plain ü\n\ttext".to_owned(), 0, 0));
        let tags = "a\u{e0049}\u{e0067}b\u{202e}c\u{1b}[8md";
        assert_eq!(cleaned(tags), ("abc[8md".to_owned(), 4, 0));
        assert_eq!(cleaned("a<!-- x -->b<!---->c"), ("abc".to_owned(), 0, 2));
        assert_eq!(cleaned("a<!-- never closed"), ("a".to_owned(), 0, 1));
        assert_eq!(cleaned("a<\u{200b}!-- x -->b"), ("ab".to_owned(), 1, 1));
    }
}
