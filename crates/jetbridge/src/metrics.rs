//! Serves metrics to Prometheus.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jb_http::Engine;
use jb_metrics::Metrics;
use jb_store::Store;
use tokio::net::TcpListener;

use crate::cli::MetricsOptions;

#[derive(Clone)]
struct Sources {
    metrics: Metrics,
    store: Store,
    engine: Arc<dyn Engine>,
}

/// Serves for as long as the process lives, if anybody asked for it.
pub(crate) async fn serve(
    options: &MetricsOptions,
    metrics: Metrics,
    store: Store,
    engine: Arc<dyn Engine>,
) -> anyhow::Result<()> {
    let (Some(ip), Some(port)) = (options.prometheus_bind_ip, options.prometheus_bind_port) else {
        return Ok(());
    };
    let listener = TcpListener::bind((ip, port)).await.with_context(|| {
        format!("serve metrics on {ip}:{port}; choose another with --prometheus-bind-port")
    })?;
    let address = listener.local_addr()?;
    tracing::info!("metrics are at http://{address}/metrics");
    let sources = Sources { metrics, store, engine };
    let router = Router::new().route("/metrics", get(scrape)).with_state(sources);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    Ok(())
}

async fn scrape(State(sources): State<Sources>) -> Response {
    let Sources { metrics, store, engine } = sources;
    store.count_connections();
    // What cannot be counted now is missing from the answer; all else is there.
    match engine.workers().await {
        Ok(workers) => {
            metrics.workers.clear();
            for worker in workers {
                let (containers, volumes) = (worker.active_containers, worker.active_volumes);
                let tags = worker.tags.join("/");
                metrics.workers.holds(&worker.name, &worker.team, &tags, containers, volumes);
            }
        }
        Err(error) => tracing::warn!(%error, "counting what workers hold"),
    }
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], metrics.text()).into_response()
}
