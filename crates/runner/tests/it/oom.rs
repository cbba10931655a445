//! A process that the kernel kills for memory. Needs a memory cgroup to make another one in.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use jb_runner_protocol::Reply;

use crate::support::{BINARY, Runner, program, sh};

/// A cgroup below this process's own that is removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where none can be made.
    fn limited(bytes: u64) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let (root, path) = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            match (fields.next()?, fields.next()?) {
                ("memory", path) => Some(("/sys/fs/cgroup/memory", path.to_owned())),
                ("", path) => Some(("/sys/fs/cgroup", path.to_owned())),
                _ => None,
            }
        })?;
        let name = format!("jb-runner-oom-{}", std::process::id());
        let dir = PathBuf::from(root).join(path.trim_start_matches('/')).join(name);
        fs::create_dir(&dir).ok()?;
        let cgroup = Self(dir);
        let limits = ["memory.limit_in_bytes", "memory.max"].map(|file| cgroup.0.join(file));
        let limit = limits.iter().find(|file| file.exists())?;
        fs::write(limit, bytes.to_string()).ok()?;
        Some(cgroup)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_process_killed_for_memory_is_told_apart_from_a_killed_one() {
    let Some(cgroup) = Cgroup::limited(64 << 20) else { return };
    let mut command = Command::new("sh");
    let script = format!("echo $$ > {}/cgroup.procs && exec {BINARY} \"$@\"", cgroup.0.display());
    command.args(["-c", &script, "sh"]);
    let runner = Runner::with_command(command, &[]);
    let mut client = runner.client();
    let mut end = |id: &str, spec| {
        client.start(id, spec);
        match client.records(id, 0).pop() {
            Some(Reply::Exited { status, signal, oom, .. }) => (status, signal, oom),
            other => panic!("no exit: {other:?}"),
        }
    };
    assert_eq!(end("greedy", program("tail", &["/dev/zero"])), (137, 9, true));
    assert_eq!(end("killed", sh("kill -9 $$")), (137, 9, false));
    assert_eq!(end("shell", sh("tail /dev/zero; exit $?")), (137, 0, true));
    drop((client, runner));
}
