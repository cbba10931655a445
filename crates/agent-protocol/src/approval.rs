//! Calls of tools that wait for people.
//!
//! A harness says in its transcript that a call waits, by an id of its own, and goes on to do what else there is. The server
//! answers with a line on the harness's stdin, possibly more than once; what is called is what the harness has kept, whatever
//! an answer says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The calls of one step that may wait for people, all in all.
pub const APPROVALS_MAX: u32 = 200;
/// The longest input of a call that people are asked about, as JSON: what they approve is shown to them whole.
pub const INPUT_BYTES_MAX: usize = 16 << 10;
/// The longest text of a decision.
pub const TEXT_BYTES_MAX: usize = 2 << 10;

/// Which calls wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// All of these tools, as the agent knows them.
    #[serde(default)]
    pub tools: Vec<String>,
    /// Programs whose arguments match one of these.
    #[serde(default)]
    pub shell: Vec<String>,
}

/// What people decided about a call; one line on the harness's stdin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The harness's.
    pub id: String,
    pub approved: bool,
    /// Who it was.
    #[serde(default)]
    pub by: String,
    /// What they said. The agent is told it of calls that are denied.
    #[serde(default)]
    pub comment: String,
}

/// A call as people read it: nothing in it that they would not see, and each argument told from the next.
pub fn shown(name: &str, input: &Value) -> String {
    let argv = input.get("argv").and_then(Value::as_array);
    let Some(argv) = argv.filter(|_| name == "shell") else {
        return format!("{} {}", word(name), visible(&format!("{input:#}")));
    };
    let words = argv.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), word));
    let mut text = words.collect::<Vec<_>>().join(" ");
    let others = input.as_object().into_iter().flatten().filter(|(key, _)| *key != "argv");
    for (key, value) in others {
        text.push_str(&format!("\n{}: {}", word(key), visible(&value.to_string())));
    }
    text
}

/// A word as it is where that is plain, else quoted with everything odd escaped.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%^~*?".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

/// With what has no look of its own escaped, but for line ends.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '"' | '\'' | '\\' => c.to_string(),
            other => other.escape_debug().to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_approved_is_seen_as_it_is() {
        let call = |argv: Value| shown("shell", &json!({"argv": argv}));
        assert_eq!(
            call(json!(["git", "push", "origin", "HEAD:main"])),
            "git push origin HEAD:main"
        );
        let odd = json!(["git", "commit", "-m", "a b", "", "x\u{1b}[8m\u{202e}y\n"]);
        assert_eq!(call(odd), "git commit -m \"a b\" \"\" \"x\\u{1b}[8m\\u{202e}y\\n\"");
        let elsewhere = json!({"argv": ["make"], "dir": "out"});
        assert_eq!(shown("shell", &elsewhere), "make\ndir: \"out\"");
        let write = json!({"path": "a", "content": "x\u{200b}\ny"});
        let text = "write {\n  \"content\": \"x\\u{200b}\\ny\",\n  \"path\": \"a\"\n}";
        assert_eq!(shown("write", &write), text);
    }
}
