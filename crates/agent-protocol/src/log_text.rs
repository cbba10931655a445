//! A transcript for people who read the build's log.

use serde_json::Value;

use crate::Dollars;
use crate::network::{ConnectionOutcome, Reach};
use crate::transcript::{Ending, Entry, ToolOutcome};

/// Lines of a tool's answer that the log shows; the transcript has more.
const RESULT_LINES: usize = 12;
/// Characters of a tool's input that the log shows.
const INPUT_CHARACTERS: usize = 300;

const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";
const RED: &str = "\u{1b}[31m";
const END: &str = "\u{1b}[0m";

/// What the build's log says about an entry; empty for what only the transcript has. Ends with a line end.
pub fn log_text(entry: &Entry) -> String {
    match entry {
        Entry::Start { harness, version, model, tools } => {
            let tools = if tools.is_empty() { "no tools".to_owned() } else { tools.join(", ") };
            format!("{BOLD}{harness} {version} on {model}{END} with {tools}\n")
        }
        Entry::Network { reach } => network(reach),
        Entry::Prompt { text } => format!("{DIM}{}{END}\n", text.trim_end()),
        Entry::Text { text } if text.trim().is_empty() => String::new(),
        Entry::Text { text } => format!("{}\n", text.trim_end()),
        Entry::ToolCall { name, input, .. } => format!("{BOLD}> {name}{END} {}\n", call(input)),
        // Where it can be answered is the server's to say.
        Entry::ApprovalAsked { .. } => String::new(),
        Entry::ApprovalAnswered { approved, by, comment, .. } => {
            let word = if *approved { "approved" } else { "denied" };
            let colon = if comment.is_empty() { "" } else { ": " };
            format!("{word} by {by}{colon}{comment}\n")
        }
        Entry::Suspended { .. } => {
            format!("{DIM}nothing of it runs until that is decided{END}\n")
        }
        Entry::SuspendFailed { reason } => {
            format!("{RED}its containers stay while it waits: {reason}{END}\n")
        }
        Entry::Resumed { .. } => format!("{DIM}it goes on{END}\n"),
        Entry::ToolResult { outcome, text, .. } => result(*outcome, text),
        Entry::ModelCall { error: Some(error), .. } => {
            format!("{RED}the model did not answer: {error}{END}\n")
        }
        Entry::ModelCall { .. } | Entry::McpCall { .. } => String::new(),
        Entry::Connection { host, outcome, reason, sent_bytes, received_bytes, .. } => {
            let host = cut(host, INPUT_CHARACTERS);
            match outcome {
                ConnectionOutcome::Allowed => {
                    format!("{DIM}  {host}: {sent_bytes} bytes there, {received_bytes} back{END}\n")
                }
                ConnectionOutcome::Denied => format!("{RED}  denied: {host}: {reason}{END}\n"),
                ConnectionOutcome::Failed => format!("{RED}  {host}: {reason}{END}\n"),
            }
        }
        Entry::Compacted { messages, .. } => {
            format!("{DIM}the conversation got long: {messages} messages were summarised{END}\n")
        }
        Entry::Retry { reason, after_ms } => {
            let seconds = after_ms.div_ceil(1000);
            format!("{DIM}asking the model again in {seconds} s: {reason}{END}\n")
        }
        Entry::BudgetSpent { limit } => format!("{RED}the budget is spent: {limit}{END}\n"),
        Entry::Spent { turns, usage, cost_micros } => format!(
            "{DIM}{turns} turns, {} tokens, {}{END}\n",
            usage.total(),
            Dollars(*cost_micros)
        ),
        Entry::ReplayMismatch { number, difference } => {
            format!("{RED}request {number} is not the recorded one: {difference}{END}\n")
        }
        Entry::ServerText { server, text } => format!("{DIM}[{server}] {}{END}\n", text.trim_end()),
        Entry::ServerEnded { server, message } => {
            format!("{RED}the MCP server `{server}` {message}{END}\n")
        }
        Entry::ResultRefused { errors, .. } => {
            format!("{RED}the result was handed back:{END}\n{}\n", indent(&errors.join("\n")))
        }
        Entry::End { ending: Ending::Completed, result, .. } => match result {
            Some(result) => format!("{BOLD}result{END} {}\n", cut(&result.to_string(), 2000)),
            None => String::new(),
        },
        Entry::End { message, .. } => format!("{RED}{message}{END}\n"),
    }
}

fn network(reach: &Reach) -> String {
    match reach {
        Reach::Gateway => String::new(),
        Reach::Hosts { hosts, .. } => {
            format!("{DIM}its programs reach {}{END}\n", hosts.join(", "))
        }
        Reach::Full => format!("{BOLD}its programs have the network of tasks{END}\n"),
    }
}

fn call(input: &Value) -> String {
    if let Some(argv) = input.get("argv").and_then(Value::as_array) {
        let words: Vec<&str> = argv.iter().filter_map(Value::as_str).collect();
        return cut(&words.join(" "), INPUT_CHARACTERS);
    }
    if let Some(path) = input.get("path").and_then(Value::as_str) {
        return cut(path, INPUT_CHARACTERS);
    }
    cut(&input.to_string(), INPUT_CHARACTERS)
}

fn result(outcome: ToolOutcome, text: &str) -> String {
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    let hidden = lines.len().saturating_sub(RESULT_LINES);
    lines.truncate(RESULT_LINES);
    let mut shown = lines.join("\n");
    if hidden > 0 {
        shown.push_str(&format!("\n… {hidden} more lines"));
    }
    let color = match outcome {
        ToolOutcome::Ok => DIM,
        ToolOutcome::Failed | ToolOutcome::Denied => RED,
    };
    let label = if outcome == ToolOutcome::Denied { "denied: " } else { "" };
    format!("{color}{}{END}\n", indent(&format!("{label}{shown}")))
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
