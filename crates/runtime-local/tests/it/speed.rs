//! How long containers take to start; printed, not judged.

use std::time::{Duration, Instant};

use jb_runtime::{Image, Network, Runtime};

use crate::machine::{Machine, handle, input, output, root, spec};

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    eprintln!("{what}: p50 {:?}, p90 {:?}, worst {:?}", at(50), at(90), at(100));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test -p jb-runtime-local --test it speed -- --ignored --nocapture"]
async fn speed_of_starting() {
    if !root() {
        return;
    }
    let machine = Machine::new();
    let image = machine.busybox("image", "{}").await;
    let source = machine.volume("source", &[("a", "1")]).await;
    for (what, image, network) in [
        ("image, bridge", Image::Volume(image.clone()), Network::Outbound),
        ("image, hermetic", Image::Volume(image.clone()), Network::Hermetic),
        ("host, bridge", Image::Host, Network::Outbound),
        ("host, hermetic", Image::Host, Network::Hermetic),
    ] {
        let (mut created, mut answered, mut destroyed) = (Vec::new(), Vec::new(), Vec::new());
        for n in 0..50 {
            let name = format!("speed-{n}");
            let made = jb_model::VolumeHandle::new(format!("made-{n}"));
            let mut wanted = spec(&name, image.clone());
            wanted.network = network;
            wanted.mounts = vec![input("in", &source), output("out", &made)];
            let start = Instant::now();
            machine.create(&wanted).await;
            drop(machine.runtime().connect(&handle(&name)).await.unwrap());
            created.push(start.elapsed());
            machine.ok(&name, ":").await;
            answered.push(start.elapsed());
            let start = Instant::now();
            machine.runtime().destroy(&handle(&name)).await.unwrap();
            destroyed.push(start.elapsed());
        }
        report(&format!("{what}: create and connect"), created);
        report(&format!("{what}: until a shell has run"), answered);
        report(&format!("{what}: destroy"), destroyed);
    }
}
