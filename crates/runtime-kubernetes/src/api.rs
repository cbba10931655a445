//! Calls to the API server, repeated while that may help.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use http::Uri;
use jb_metrics::Calls;
use jb_runtime::{Error, Result};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::Instant;

use crate::calls::Counting;
use crate::failure::{Answer, answer_of};
use crate::settings::Access;

/// How calls are repeated.
#[derive(Clone, Copy)]
struct Pace {
    /// How long a server that is busy or away is waited for.
    patience: Duration,
    /// One call may take this long.
    call: Duration,
    /// Between two calls, doubled each time.
    first_pause: Duration,
    longest_pause: Duration,
}

const PACE: Pace = Pace {
    patience: Duration::from_secs(150),
    call: Duration::from_secs(30),
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_secs(5),
};

/// The longest that nothing comes on a connection that is whole: on those of executed commands the API server answers
/// pings, once a minute, and it ends watches after 290 seconds.
const SILENCE: Duration = Duration::from_secs(310);

/// A client, and where it finds the API server.
pub(crate) async fn client(access: &Access, calls: Calls) -> Result<(Client, Uri)> {
    let options =
        KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let unusable = |error: String| {
        Error::Unsupported(format!(
            "no Kubernetes cluster can be used: {error}; name one with --kubernetes-kubeconfig"
        ))
    };
    let mut config = match &access.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .map_err(|error| unusable(format!("{}: {error}", path.display())))?;
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(|e| unusable(e.to_string()))?
        }
        None if access.context.is_some() => {
            Config::from_kubeconfig(&options).await.map_err(|error| unusable(error.to_string()))?
        }
        None => Config::infer().await.map_err(|error| unusable(error.to_string()))?,
    };
    config.read_timeout = Some(SILENCE);
    let url = config.cluster_url.clone();
    let builder = ClientBuilder::try_from(config).map_err(|error| unusable(error.to_string()))?;
    Ok((builder.with_layer(&Counting(calls)).build(), url))
}

/// The API server's addresses, as `host:port`: where this server and where pods find it. Those that cannot be found out
/// are left out.
pub(crate) async fn addresses(client: &Client, url: &Uri) -> Vec<String> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port =
        url.port_u16().unwrap_or_else(|| if url.scheme_str() == Some("http") { 80 } else { 443 });
    let mut all = BTreeSet::new();
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => all.extend(found.map(|address| address.to_string())),
        Err(error) => tracing::warn!(host, %error, "the API server's address cannot be looked up"),
    }
    match call("ask for the API server's address", || client.list_core_api_versions()).await {
        Ok(versions) => {
            let told = versions.server_address_by_client_cidrs;
            all.extend(told.into_iter().map(|told| told.server_address));
        }
        Err(error) => tracing::warn!(%error, "the API server does not tell its address"),
    }
    all.into_iter().collect()
}

/// An error in the words of the port.
pub(crate) fn failed(context: impl Into<String>, error: kube::Error) -> Error {
    let context = context.into();
    let what = answer_of(&error);
    let text = text_of(&error);
    let source = io::Error::other(match what {
        Answer::Forbidden => {
            format!("{text}; give the server's account this right in the namespace's Role")
        }
        Answer::Ending => format!(
            "{text}; create it anew once it is gone, or name another with --kubernetes-namespace"
        ),
        Answer::Missing if text.starts_with("namespaces ") => {
            format!("{text}; create it, or name another with --kubernetes-namespace")
        }
        _ => text,
    });
    match what {
        Answer::Busy | Answer::Full => Error::Transient { context, source },
        _ => Error::Io { context, source },
    }
}

pub(crate) fn text_of(error: &kube::Error) -> String {
    let kube::Error::Api(status) = error else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if !text.contains(&cause.to_string()) {
                text.push_str(&format!(": {cause}"));
            }
            source = cause.source();
        }
        return text;
    };
    status.message.clone()
}

/// Repeats a call while the API server is busy or away. `what` is in the words of an error message.
pub(crate) async fn call<T, F: Future<Output = kube::Result<T>>>(
    what: &str,
    call: impl FnMut() -> F,
) -> kube::Result<T> {
    repeat(what, PACE, call, is_passing).await
}

/// As [`call`], also while there is no room, for as long as `patience`; each time, `full` is told what is used up.
pub(crate) async fn call_until_room<T, F: Future<Output = kube::Result<T>>>(
    what: &str,
    patience: Duration,
    call: impl FnMut() -> F,
    full: impl Fn(&str),
) -> kube::Result<T> {
    let again = |error: &kube::Error| {
        if answer_of(error) == Answer::Full {
            full(&text_of(error));
        }
        may_make_room(error)
    };
    repeat(what, Pace { patience, ..PACE }, call, again).await
}

fn is_passing(error: &kube::Error) -> bool {
    answer_of(error) == Answer::Busy
}

fn may_make_room(error: &kube::Error) -> bool {
    matches!(answer_of(error), Answer::Busy | Answer::Full)
}

async fn repeat<T, F: Future<Output = kube::Result<T>>>(
    what: &str,
    pace: Pace,
    mut call: impl FnMut() -> F,
    again: impl Fn(&kube::Error) -> bool,
) -> kube::Result<T> {
    let until = Instant::now() + pace.patience;
    let mut pause = pace.first_pause;
    loop {
        let result = match tokio::time::timeout(pace.call, call()).await {
            Ok(result) => result,
            Err(_) => {
                let waited = format!("no answer in {:?}", pace.call);
                Err(kube::Error::Service(waited.into()))
            }
        };
        match result {
            Err(error) if again(&error) && Instant::now() + pause < until => {
                tracing::warn!(error = text_of(&error), "failed to {what}; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(pace.longest_pause);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
