//! The way of an agent's programs to the hosts of its step: a listener on loopback that leads to the gateway, and the variables
//! that tell programs of it. What is let through is decided by the gateway alone.

use jb_agent_protocol::LoopSpec;
use jb_agent_protocol::network::Reach;

use crate::link::{End, Listener};

/// By these names programs look for a proxy. Most programs know some of them.
const PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
/// By these, for what they need none.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Listens where the step's programs look for their proxy, as long as this program runs.
///
/// # Errors
/// When it cannot; the text says where and why.
pub(crate) async fn listen(spec: &LoopSpec) -> Result<(), String> {
    let Reach::Hosts { listen, .. } = &spec.network else { return Ok(()) };
    let listener = Listener::bind(&listen.parse()?).await?;
    tokio::spawn(listener.forward(End::Unix(spec.socket.clone())));
    Ok(())
}

/// What programs are told of it.
pub(crate) fn env(spec: &LoopSpec) -> Vec<(String, String)> {
    let Reach::Hosts { listen, .. } = &spec.network else { return Vec::new() };
    let url = format!("http://{listen}");
    let proxy = PROXY.iter().map(|name| ((*name).to_owned(), url.clone()));
    let none =
        NO_PROXY.iter().map(|name| ((*name).to_owned(), "localhost,127.0.0.1,::1".to_owned()));
    // Node's own client looks for the variables only when it is told to.
    let node = ("NODE_USE_ENV_PROXY".to_owned(), "1".to_owned());
    proxy.chain(none).chain([node]).collect()
}

/// What the model is told of it; empty where there is nothing to tell.
pub(crate) fn told(spec: &LoopSpec) -> String {
    match &spec.network {
        Reach::Gateway => String::new(),
        Reach::Hosts { hosts, .. } => format!(
            "Programs reach these hosts by HTTPS, through the proxy in their environment, and no others: {}.\n",
            hosts.join(", ")
        ),
        Reach::Full => "Programs have a network.\n".to_owned(),
    }
}
