//! What no agent may reach.

use jb_runtime::Runtime as _;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_off_limits() {
    let Some(cluster) = Cluster::find("restricted") else { return };
    let url = ["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"];
    let url = cluster.kubectl(&url);
    let address = url.trim_start_matches("https://").trim_end_matches('/');
    let runtime = cluster.runtime(|_| {}).await;
    let off_limits = runtime.off_limits();
    // Where the server's name stands for several addresses, all of them are.
    let is_named = !address.starts_with(|c: char| c.is_ascii_digit());
    assert!(is_named || off_limits.iter().any(|known| known == address), "{off_limits:?}");
    assert!(!off_limits.is_empty());
    cluster.clear();
}
