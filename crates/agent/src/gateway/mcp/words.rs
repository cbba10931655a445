//! What MCP servers say, as text for a model or a person.

use jb_agent_protocol::mcp::{Answer, MESSAGE_BYTES_MAX, TEXT_BYTES_MAX};
use jb_agent_protocol::transcript::ToolOutcome;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use crate::message::root_cause;
use crate::output::cut;

/// What stands for content of a kind that nobody knew when this was made.
const UNKNOWN: &str = "[something of an unknown kind, which is not shown]";
/// Bytes of what a server says of an error.
const LINE_BYTES: usize = 500;

/// A result as a model reads it: its texts, and what it has beside them by name.
pub(super) fn answer(result: &CallToolResult) -> Answer {
    let mut texts: Vec<String> = result.content.iter().map(block).collect();
    if let (true, Some(structured)) = (texts.is_empty(), &result.structured_content) {
        texts.push(structured.to_string());
    }
    let failed = result.is_error == Some(true);
    let outcome = if failed { ToolOutcome::Failed } else { ToolOutcome::Ok };
    Answer { outcome, text: cut(&texts.join("\n"), TEXT_BYTES_MAX) }
}

fn block(block: &ContentBlock) -> String {
    let hidden = |what: &str, kind: &str| format!("[{what} of type {kind}, which is not shown]");
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => hidden("an image", &image.mime_type),
        ContentBlock::Audio(audio) => hidden("a sound", &audio.mime_type),
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("{uri}:\n{text}"),
            ResourceContents::BlobResourceContents { mime_type, .. } => {
                hidden("a file", mime_type.as_deref().unwrap_or("application/octet-stream"))
            }
            _ => UNKNOWN.to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("{}: {}", link.name, link.uri),
        _ => UNKNOWN.to_owned(),
    }
}

/// Why no session began, in one line.
pub(super) fn not_begun(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::TransportError { error, .. } => transport(error),
        ClientInitializeError::JsonRpcError(error) => line(&error.message),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => not_begun(fallback),
        other => line(&other.to_string()),
    }
}

/// Why a request was not answered, in one line.
pub(super) fn not_done(error: &ServiceError) -> String {
    match error {
        ServiceError::McpError(error) => line(&error.message),
        ServiceError::TransportSend(error) => transport(error),
        // The SDK does not say why.
        ServiceError::TransportClosed => format!(
            "the connection broke off, as it does at a message of more than {MESSAGE_BYTES_MAX} bytes"
        ),
        other => line(&other.to_string()),
    }
}

fn transport(error: &DynamicTransportError) -> String {
    match error.error.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(error)) => root_cause(error),
        Some(StreamableHttpError::AuthRequired(_)) => {
            "it wants other credentials than the `headers:` it is sent (HTTP 401)".to_owned()
        }
        Some(StreamableHttpError::InsufficientScope(_)) => {
            "the credentials in its `headers:` do not reach so far (HTTP 403)".to_owned()
        }
        Some(other) => line(&other.to_string()),
        None => line(&error.error.to_string()),
    }
}

/// Servers write what they like.
pub(super) fn line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    cut(&words.join(" "), LINE_BYTES)
}
