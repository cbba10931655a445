//! MCP servers that are reached by HTTP.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use jb_agent_protocol::mcp::MESSAGE_BYTES_MAX;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The way to one.
pub(super) struct Http {
    url: String,
    http: reqwest::Client,
    headers: HashMap<HeaderName, HeaderValue>,
}

impl Http {
    /// # Errors
    /// When a header cannot be sent, or no HTTP client can be made.
    pub(super) fn new(
        name: &str,
        url: String,
        headers: BTreeMap<String, String>,
        idle: Duration,
    ) -> Result<Self, String> {
        let headers = headers.iter().map(|(key, value)| {
            let wrong = || format!("the MCP server `{name}`: the header `{key}` cannot be sent");
            let key = HeaderName::try_from(key).map_err(|_| wrong())?;
            let mut value = HeaderValue::try_from(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            Ok((key, value))
        });
        let headers = headers.collect::<Result<_, String>>()?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT.min(idle))
            // The headers go to the server that was named, and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("set up the way to the MCP server `{name}`: {error}"))?;
        Ok(Self { url, http, headers })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A connection, which reads no event longer than [`MESSAGE_BYTES_MAX`]. Of documents that are answered as a whole, the
    /// SDK has its own limit; both are kept while they are read.
    pub(super) fn transport(&self) -> StreamableHttpClientTransport<reqwest::Client> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str())
            .custom_headers(self.headers.clone());
        config.max_sse_event_size = MESSAGE_BYTES_MAX;
        StreamableHttpClientTransport::with_client(self.http.clone(), config)
    }
}
