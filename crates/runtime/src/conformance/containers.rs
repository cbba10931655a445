//! Checks of containers and what runs in them.

use super::{Finished, Outcome, Subject, follow, output, same, shell};
use crate::{Error, Image, Network};

/// Output comes by its stream, and the exit status as the process gave it.
pub async fn output_and_exit_status_arrive(subject: Subject<'_>) -> Outcome {
    subject.create(&subject.spec("one", Vec::new())).await?;
    let finished = subject.sh("one", "echo out; echo err >&2; exit 42").await?;
    let expected = Finished { status: 42, stdout: "out\n".into(), stderr: "err\n".into() };
    same("a process", finished, expected)?;
    subject.destroy("one").await
}

/// The working directory exists and is where processes are; the host name is the one asked for.
pub async fn working_directory_is_there(subject: Subject<'_>) -> Outcome {
    let volume = subject.volume("deep");
    let mut spec = subject.spec("dir", vec![output("far/away", &volume)]);
    spec.working_dir = "/tmp/build/conformance".into();
    subject.create(&spec).await?;
    let found = subject.ok("dir", "pwd; ls; cat /etc/hostname").await?;
    same("directory, content, name", found, "/tmp/build/conformance\nfar\nconformance\n".into())?;
    subject.destroy("dir").await?;
    subject.remove_volumes(&["deep"]).await
}

/// Creating twice, also at the same time, gives one container with its processes undisturbed.
pub async fn asking_twice_is_harmless(subject: Subject<'_>) -> Outcome {
    let spec = subject.spec("twice", Vec::new());
    let (one, two) = tokio::join!(subject.create(&spec), subject.create(&spec));
    one.and(two)?;
    subject.ok("twice", "echo kept > /tmp/mark").await?;
    let mut other = spec.clone();
    other.hostname = "changed".into();
    subject.create(&other).await?;
    let found = subject.ok("twice", "cat /tmp/mark /etc/hostname").await?;
    same("the first container", found, "kept\nconformance\n".into())?;
    let list = subject.runtime.list().await.map_err(|error| error.to_string())?;
    let running: Vec<bool> = list
        .iter()
        .filter(|info| info.handle == subject.container("twice"))
        .map(|info| info.running)
        .collect();
    same("the list", running, vec![true])?;
    subject.destroy("twice").await
}

/// Destroying ends processes, takes the container from the list, and can be repeated.
pub async fn destroying_ends_everything(subject: Subject<'_>) -> Outcome {
    subject.create(&subject.spec("end", Vec::new())).await?;
    let client = subject.connect("end").await?;
    let started = client.start("forever", shell("while :; do sleep 1; done", None)).await;
    started.map_err(|error| error.to_string())?;
    subject.destroy("end").await?;
    subject.destroy("end").await?;
    let list = subject.runtime.list().await.map_err(|error| error.to_string())?;
    if list.iter().any(|info| info.handle == subject.container("end") && info.running) {
        return Err("a destroyed container is still listed as running".into());
    }
    match subject.runtime.connect(&subject.container("end")).await {
        Err(Error::NoContainer(handle)) => same("handle", handle, subject.container("end")),
        Err(other) => Err(format!("connecting failed otherwise: {other}")),
        Ok(_) => Err("a destroyed container can be connected to".into()),
    }
}

/// A process goes on when its connection ends, and all it said can be had over another.
pub async fn processes_outlive_their_connection(subject: Subject<'_>) -> Outcome {
    subject.create(&subject.spec("live", Vec::new())).await?;
    let script = "echo first; while test ! -e /tmp/go; do sleep 0.1; done; echo last";
    let client = subject.connect("live").await?;
    let started = client.start("long", shell(script, None)).await;
    started.map_err(|error| error.to_string())?;
    drop(client);
    let client = subject.connect("live").await?;
    let again = client.start("long", shell("echo other", None)).await;
    same("existing", again.map_err(|error| error.to_string())?.existing, true)?;
    subject.ok("live", "echo > /tmp/go").await?;
    let finished = follow(&client, "long", 0).await?;
    same("output", finished.stdout, "first\nlast\n".into())?;
    subject.destroy("live").await
}

/// Without a network a container works all the same.
pub async fn hermetic_containers_run(subject: Subject<'_>) -> Outcome {
    let mut spec = subject.spec("alone", Vec::new());
    spec.network = Network::Hermetic;
    match subject.runtime.create(&spec).await {
        // Where it cannot be had it must be refused, not ignored.
        Err(Error::Unsupported(_)) => return Ok(()),
        created => created.map_err(|error| format!("create failed: {error}"))?,
    }
    same("output", subject.ok("alone", "echo fine").await?, "fine\n".into())?;
    subject.destroy("alone").await
}

/// An image that is not there is an error of its kind and leaves no container.
pub async fn unknown_images_are_refused(subject: Subject<'_>) -> Outcome {
    let mut spec = subject.spec("none", Vec::new());
    spec.image = Image::BaseType("no-such-type".into());
    match subject.runtime.create(&spec).await {
        Err(Error::Image(_)) => {}
        other => return Err(format!("an unknown resource type gave {other:?}")),
    }
    spec.image = Image::Volume(subject.volume("no-such-volume"));
    match subject.runtime.create(&spec).await {
        Err(Error::Image(_) | Error::NoVolume(_)) => {}
        other => return Err(format!("a missing image volume gave {other:?}")),
    }
    let list = subject.runtime.list().await.map_err(|error| error.to_string())?;
    let left = list.iter().any(|info| info.handle == subject.container("none"));
    same("a container is left", left, false)
}
