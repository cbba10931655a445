//! Text inside HTML and XML.

/// Escapes text for an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&#34;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// A whole page around its main part, which is HTML already.
pub(crate) fn page(title: &str, main: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{main}\n</main>\n</body>\n</html>\n"
    )
}

/// Readable in light and dark, and without a font from elsewhere.
const STYLE: &str = ":root{color-scheme:light dark}\
body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:44rem;padding:2rem 1rem}\
label{display:block;margin-top:1rem}\
input,button{font:inherit;padding:.5rem;min-height:2.75rem;box-sizing:border-box}\
input{width:100%}\
button{margin-top:1.5rem;padding:.5rem 1.5rem}\
:focus-visible{outline:3px solid;outline-offset:2px}\
[role=alert]{border-inline-start:.25rem solid;padding-inline-start:1rem}\
code,textarea{font-family:ui-monospace,monospace;overflow-wrap:anywhere}\
textarea{width:100%;box-sizing:border-box}\
table{border-collapse:collapse;width:100%}\
th,td{border-bottom:1px solid;padding:.5rem;text-align:start}";
