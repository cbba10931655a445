//! Over a real ssh server on loopback.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::repository::Repository;
use crate::script::Scripts;

const SERVER: &str = "/usr/sbin/sshd";

struct SshServer {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

fn keygen(path: &Path, passphrase: &str) -> bool {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(path);
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl SshServer {
    /// Lets in whoever has the key whose public half is in `key.pub`. None, said loudly, where there is no server.
    fn start() -> Option<Self> {
        let dir = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir()
            .unwrap();
        let is_root = fs::metadata("/proc/self")
            .is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
        if !Path::new(SERVER).exists() || !is_root {
            eprintln!("SKIPPED: needs root and {SERVER} (Debian package openssh-server)");
            return None;
        }
        // Where the server keeps apart what it does before a login.
        fs::create_dir_all("/run/sshd").unwrap();
        assert!(
            keygen(&dir.path().join("host"), "")
                && keygen(&dir.path().join("key"), "pass phrase's")
        );
        assert!(keygen(&dir.path().join("other"), ""));
        (0..5).find_map(|_| {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let at = dir.path().display();
            let config = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nAuthorizedKeysFile {at}/key.pub\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin yes\n"
            );
            fs::write(dir.path().join("config"), config).unwrap();
            let mut child = Command::new(SERVER)
                .args(["-D", "-e", "-f"])
                .arg(dir.path().join("config"))
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            loop {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some((port, child));
                }
                if child.try_wait().unwrap().is_some() {
                    return None;
                }
                std::thread::yield_now();
            }
        })
        .map(|(port, child)| Self { dir, port, child })
        .or_else(|| panic!("the ssh server did not start"))
    }

    fn private_key(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_key_with_a_passphrase_opens_a_repository() {
    let Some(server) = SshServer::start() else { return };
    let (repository, commits) = Repository::with_commits(2);
    let scripts = Scripts::new();
    let uri = format!("ssh://127.0.0.1:{}{}", server.port, repository.bare().display());
    let source = json!({"uri": uri, "branch": "master", "private_key": server.private_key("key").trim_end(),
        "private_key_passphrase": "pass phrase's", "private_key_user": "root"});
    let versions =
        scripts.check("git", &json!({"source": source, "version": {"ref": commits[0]}})).json();
    assert_eq!(versions, json!([{"ref": commits[0]}, {"ref": commits[1]}]));
    let dest = scripts.path("get");
    let got =
        scripts.fetch("git", &dest, &json!({"source": source, "version": {"ref": commits[1]}}));
    assert_eq!(got.json()["version"]["ref"], commits[1]);

    let mut without = source.clone();
    without.as_object_mut().unwrap().remove("private_key_passphrase");
    let ended = scripts.check("git", &json!({"source": without}));
    assert!(
        !ended.succeeded && ended.stderr.contains("private_key_passphrase has not been set"),
        "{ended:?}"
    );
    let mut stranger = source;
    stranger["private_key"] = json!(server.private_key("other"));
    assert!(!scripts.check("git", &json!({"source": stranger})).succeeded);
}

#[test]
fn a_submodule_has_a_key_of_its_own() {
    let Some(server) = SshServer::start() else { return };
    let (part, _) = Repository::with_commits(1);
    let (top, _) = Repository::with_commits(1);
    let url = format!("ssh://root@127.0.0.1:{}{}", server.port, part.bare().display());
    fs::write(
        top.work().join(".gitmodules"),
        format!("[submodule \"p\"]\n\tpath = part\n\turl = {url}\n"),
    )
    .unwrap();
    let commit = part.git(&["rev-parse", "HEAD"]);
    top.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},part")]);
    fs::create_dir_all(top.work().join("part")).unwrap();
    top.git(&["add", ".gitmodules"]);
    top.git(&["commit", "--quiet", "-m", "add part"]);
    top.publish();
    let scripts = Scripts::new();
    let source = json!({"uri": top.uri(), "submodule_credentials": [
        {"url": url, "private_key": server.private_key("key"), "private_key_passphrase": "pass phrase's"}]});
    let got = scripts.fetch("git", &scripts.path("get"), &json!({"source": source}));
    assert!(got.succeeded, "{}", got.stderr);
    assert!(scripts.path("get/part/some-file").exists());
    let bare = json!({"uri": top.uri(), "private_key": server.private_key("other")});
    assert!(!scripts.fetch("git", &scripts.path("none"), &json!({"source": bare})).succeeded);
}
