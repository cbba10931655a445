//! Checks of volumes, in containers and as archives.

use super::archive::{self, Entry, Kind, file, symlink};
use super::{Outcome, Subject, cache, follow, input, output, read_all, same, shell};
use crate::{Error, Mount, MountSource, User};

fn copied(path: &str, from: &jb_model::VolumeHandle, to: &jb_model::VolumeHandle) -> Mount {
    let source = MountSource::Input { volume: from.clone(), copy: Some(to.clone()) };
    Mount { path: path.into(), source }
}

/// An input shows the volume; what is written to it, or removed, does not reach the volume.
pub async fn inputs_are_copies(subject: Subject<'_>) -> Outcome {
    let volume = subject.make_volume("in", &[file("a", "1"), file("dir/b", "2")]).await?;
    subject.create(&subject.spec("reader", vec![input("in", &volume)])).await?;
    let script = "cat in/a in/dir/b; echo changed > in/a; rm -r in/dir; echo new > in/c";
    same("content", subject.ok("reader", script).await?, "12".into())?;
    same("listing", subject.ok("reader", "ls in").await?, "a\nc\n".into())?;
    subject.destroy("reader").await?;
    same("a", subject.file(&volume, "a").await?, "1".into())?;
    same("dir/b", subject.file(&volume, "dir/b").await?, "2".into())?;
    subject.remove_volumes(&["in"]).await
}

/// An output is a volume of its own, empty at first, that stays and can be another's input.
pub async fn outputs_stay(subject: Subject<'_>) -> Outcome {
    let volume = subject.volume("out");
    subject.create(&subject.spec("writer", vec![output("out", &volume)])).await?;
    subject.ok("writer", "ls out && mkdir out/d && echo made > out/d/f").await?;
    subject.finish("writer").await?;
    same("content", subject.file(&volume, "d/f").await?, "made\n".into())?;
    subject.create(&subject.spec("next", vec![input("in", &volume)])).await?;
    same("content", subject.ok("next", "cat in/d/f").await?, "made\n".into())?;
    subject.destroy("next").await?;
    subject.remove_volumes(&["out"]).await
}

/// A cache shows the next container what the last one left.
pub async fn caches_stay(subject: Subject<'_>) -> Outcome {
    let volume = subject.volume("cache");
    for (name, before) in [("first", ""), ("second", "x\n")] {
        subject.create(&subject.spec(name, vec![cache("cache", &volume)])).await?;
        let found = subject.ok(name, "test -e cache/f && cat cache/f; echo x > cache/f").await?;
        same(name, found, before.into())?;
        subject.destroy(name).await?;
    }
    subject.remove_volumes(&["cache"]).await
}

/// Where an input is also an output, the copy is kept as a volume of its own, also over several
/// steps and when the first volume is gone.
pub async fn copies_become_outputs(subject: Subject<'_>) -> Outcome {
    let first = subject.make_volume("v0", &[file("keep", "k"), file("drop", "d")]).await?;
    let (second, third) = (subject.volume("v1"), subject.volume("v2"));
    subject.create(&subject.spec("one", vec![copied("io", &first, &second)])).await?;
    subject.ok("one", "rm io/drop; echo one > io/one").await?;
    subject.finish("one").await?;
    same("the first", subject.file(&first, "drop").await?, "d".into())?;
    subject.create(&subject.spec("two", vec![copied("io", &second, &third)])).await?;
    same("listing", subject.ok("two", "ls io; echo two > io/two").await?, "keep\none\n".into())?;
    subject.finish("two").await?;
    subject.remove_volumes(&["v0", "v1"]).await?;
    let packed =
        subject.runtime.stream_out(&third, ".").await.map_err(|error| error.to_string())?;
    let names: Vec<String> =
        archive::list(&read_all(packed).await?)?.into_iter().map(|entry| entry.0).collect();
    same("the last", names, ["keep", "one", "two"].map(str::to_owned).to_vec())?;
    subject.remove_volumes(&["v2"]).await
}

/// Mounts may lie in each other, whatever their order.
pub async fn mounts_nest(subject: Subject<'_>) -> Outcome {
    let volume = subject.make_volume("in", &[file("x", "1")]).await?;
    let (inner, innermost) = (subject.volume("inner"), subject.volume("innermost"));
    let mut mounts = vec![input("a", &volume), output("a/b", &inner), cache("a/b/c", &innermost)];
    for name in ["down", "up"] {
        subject.create(&subject.spec(name, mounts.clone())).await?;
        let script = format!("cat a/x; echo {name} > a/b/f; echo {name} > a/b/c/g");
        same(name, subject.ok(name, &script).await?, "1".into())?;
        subject.finish(name).await?;
        same("inner", subject.file(&inner, "f").await?, format!("{name}\n"))?;
        same("innermost", subject.file(&innermost, "g").await?, format!("{name}\n"))?;
        mounts.reverse();
    }
    subject.remove_volumes(&["in", "inner", "innermost"]).await
}

/// A user who is not root can write in its volumes and working directory, and they are its own, for which git asks:
/// whether it is known by its number or by a name that the image's files have.
pub async fn volumes_of_users(subject: Subject<'_>) -> Outcome {
    for (name, user) in [("number", "65534"), ("name", "nobody")] {
        volumes_of(subject, name, user).await.map_err(|failure| format!("{user}: {failure}"))?;
    }
    Ok(())
}

async fn volumes_of(subject: Subject<'_>, name: &str, user: &str) -> Outcome {
    let (from, to) = (format!("in-{name}"), format!("out-{name}"));
    let volume = subject.make_volume(&from, &[file("dir/f", "1")]).await?;
    let made = subject.volume(&to);
    let mut spec = subject.spec(name, vec![input("in", &volume), output("out", &made)]);
    spec.user = User::Named(user.into());
    match subject.runtime.create(&spec).await {
        Err(Error::Unsupported(_)) => return subject.remove_volumes(&[&from]).await,
        created => created.map_err(|error| format!("create failed: {error}"))?,
    }
    let client = subject.connect(name).await?;
    let script = "echo 2 > in/dir/f && echo 3 > in/dir/g && echo 4 > out/h && echo 5 > here && \
                  test -O . && test -O in && test -O in/dir && test -O in/dir/f && test -O out";
    let started = client.start("write", shell(script, Some(user))).await;
    started.map_err(|error| error.to_string())?;
    let finished = follow(&client, "write", 0).await?;
    same("status and errors", (finished.status, finished.stderr), (0, String::new()))?;
    subject.finish(name).await?;
    same("what it made", subject.file(&made, "h").await?, "4\n".into())?;
    subject.remove_volumes(&[&from, &to]).await
}

/// A volume destroyed while a container uses it stays usable there, and is gone afterwards.
pub async fn volumes_in_use_are_kept(subject: Subject<'_>) -> Outcome {
    let volume = subject.make_volume("used", &[file("a", "1")]).await?;
    subject.create(&subject.spec("user", vec![input("in", &volume)])).await?;
    subject.remove_volumes(&["used", "used"]).await?;
    same("content", subject.ok("user", "cat in/a").await?, "1".into())?;
    subject.destroy("user").await?;
    subject.remove_volumes(&["used"]).await?;
    let volumes = subject.runtime.list_volumes().await.map_err(|error| error.to_string())?;
    same("still listed", volumes.contains(&volume), false)
}

/// What concerns a volume that is not there says so.
pub async fn missing_volumes_are_told(subject: Subject<'_>) -> Outcome {
    let missing = subject.volume("missing");
    let told = |result: Result<(), Error>, what: &str| match result {
        Err(Error::NoVolume(volume)) => same(what, volume, missing.clone()),
        other => Err(format!("{what} of a missing volume gave {other:?}")),
    };
    let runtime = subject.runtime;
    told(runtime.read_file(&missing, "f", 1).await.map(drop), "read_file")?;
    told(runtime.stream_out(&missing, ".").await.map(drop), "stream_out")?;
    told(runtime.stream_in(&missing, ".", archive::stream(&[])).await, "stream_in")?;
    let spec = subject.spec("none", vec![input("in", &missing)]);
    told(runtime.create(&spec).await, "create")?;
    subject.remove_volumes(&["missing"]).await
}

/// What goes in comes out: content, modes, links; whole or a part.
pub async fn archives_keep_what_they_hold(subject: Subject<'_>) -> Outcome {
    let entries = [
        Entry { path: "bin/tool", mode: 0o755, kind: Kind::File("#!/bin/sh\n") },
        Entry { path: "empty", mode: 0o750, kind: Kind::Directory },
        file("plain", "text"),
        symlink("to/absolute", "/etc/passwd"),
        symlink("to/relative", "../plain"),
        Entry { path: "twin", mode: 0o644, kind: Kind::HardLink("plain") },
    ];
    let volume = subject.make_volume("kept", &entries).await?;
    let pack = async |path: &str| -> Result<_, String> {
        let stream = subject.runtime.stream_out(&volume, path).await;
        archive::list(&read_all(stream.map_err(|error| error.to_string())?).await?)
    };
    let entry = |path: &str, kind: char, mode: u32, content: &str| {
        (path.to_owned(), kind, mode, content.to_owned())
    };
    let mut found = pack(".").await?;
    // Links have no mode of their own, and directories that had no entry any.
    found.retain(|(path, ..)| path != "bin" && path != "to");
    for (_, kind, mode, _) in &mut found {
        if *kind == 'l' {
            *mode = 0o777;
        }
    }
    let expected = vec![
        entry("bin/tool", '-', 0o755, "#!/bin/sh\n"),
        entry("empty", 'd', 0o750, ""),
        entry("plain", '-', 0o644, "text"),
        entry("to/absolute", 'l', 0o777, "/etc/passwd"),
        entry("to/relative", 'l', 0o777, "../plain"),
        entry("twin", 'h', 0o644, "plain"),
    ];
    same("everything", found, expected)?;
    same("a directory", pack("bin").await?, vec![entry("tool", '-', 0o755, "#!/bin/sh\n")])?;
    same("a file", pack("plain").await?, vec![entry("plain", '-', 0o644, "text")])?;
    if subject.runtime.stream_out(&volume, "nothing").await.is_ok() {
        return Err("a path that is not there can be packed".into());
    }
    let more = subject.runtime.stream_in(&volume, "a/b", archive::stream(&[file("c", "3")])).await;
    more.map_err(|error| format!("extracting into a new directory failed: {error}"))?;
    same("a/b/c", subject.file(&volume, "a/b/c").await?, "3".into())?;
    subject.remove_volumes(&["kept"]).await
}

/// Entries that would leave the volume, and devices, are refused.
pub async fn archives_cannot_leave(subject: Subject<'_>) -> Outcome {
    let hostile: [&[Entry<'_>]; 8] = [
        &[file("../outside", "x")],
        &[file("a/../../outside", "x")],
        &[file("/tmp/outside", "x")],
        &[symlink("out", "/tmp"), file("out/file", "x")],
        &[symlink("up", "../.."), file("up/file", "x")],
        &[Entry { path: "hard", mode: 0o644, kind: Kind::HardLink("../../secret") }],
        &[Entry { path: "hard", mode: 0o644, kind: Kind::HardLink("/etc/passwd") }],
        &[Entry { path: "disk", mode: 0o644, kind: Kind::Device }],
    ];
    for (n, entries) in hostile.iter().enumerate() {
        let name = format!("hostile-{n}");
        let volume = subject.volume(&name);
        let made = subject.runtime.create_volume(&volume).await;
        made.map_err(|error| error.to_string())?;
        if subject.runtime.stream_in(&volume, ".", archive::stream(entries)).await.is_ok() {
            return Err(format!("archive {n} with `{}` was accepted", entries[0].path));
        }
        subject.remove_volumes(&[&name]).await?;
    }
    Ok(())
}

/// Files are read whole or not at all, and never through links that lead out.
pub async fn files_are_read_with_bounds(subject: Subject<'_>) -> Outcome {
    let entries = [
        file("dir/f", "12345"),
        symlink("inside", "dir/f"),
        symlink("dir/up", "../dir/f"),
        symlink("outside", "/etc/passwd"),
        symlink("above", "../../../../../../../../etc/passwd"),
        symlink("loop", "loop"),
    ];
    let volume = subject.make_volume("read", &entries).await?;
    let read = async |path: &str, limit| subject.runtime.read_file(&volume, path, limit).await;
    for path in ["dir/f", "inside", "dir/up"] {
        match read(path, 5).await {
            Ok(found) => same(path, found, Some(b"12345".to_vec()))?,
            Err(error) => return Err(format!("`{path}` cannot be read: {error}")),
        }
    }
    for path in ["none", "dir/none", "dir", "dir/f/none"] {
        match read(path, 5).await {
            Ok(found) => same(path, found, None)?,
            Err(error) => return Err(format!("`{path}` gave an error: {error}")),
        }
    }
    for (path, limit) in [("dir/f", 4), ("outside", 4096), ("above", 4096), ("../x", 4096)] {
        if let Ok(Some(found)) = read(path, limit).await {
            return Err(format!("`{path}` gave {} bytes", found.len()));
        }
    }
    if let Ok(Some(_)) = read("loop", 5).await {
        return Err("a link to itself was read".into());
    }
    subject.remove_volumes(&["read"]).await
}
