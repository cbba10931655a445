//! The built-in type `git`: its checks, gets and puts, as whoever they run as.

use super::Place;
use crate::git::pushes_are_built_tagged_and_passed_on;

#[tokio::test(flavor = "multi_thread")]
async fn git_works_at_every_level() {
    let Ok(host) = std::env::var("JETBRIDGE_CLUSTER_HOST") else {
        eprintln!("SKIPPED: only a cluster of the tests' own is known to reach this machine");
        return;
    };
    let at = async |level: &str| {
        let Some(place) = Place::start(level).await else { return };
        let api = place.login().await;
        pushes_are_built_tagged_and_passed_on(&api, host.parse().unwrap()).await;
    };
    // Checks as a user for each source and all else as root; everything as root of a user namespace.
    tokio::join!(at("baseline"), at("restricted"));
}
