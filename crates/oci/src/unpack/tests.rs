#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use super::*;

/// A layer as a list of entries.
#[derive(Default)]
pub(crate) struct Layer {
    tar: Vec<u8>,
}

impl Layer {
    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(1_600_000_000);
        header.set_uid(1234);
        header.set_gid(4321);
        header
    }

    /// Writes the name as it is, also when no honest tool would.
    fn append(mut self, name: &str, mut header: tar::Header, link: &str, content: &[u8]) -> Self {
        let raw = header.as_ustar_mut().unwrap();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.tar.extend_from_slice(header.as_bytes());
        self.tar.extend_from_slice(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &str) -> Self {
        self.file_with(name, content, 0o644)
    }

    fn file_with(self, name: &str, content: &str, mode: u32) -> Self {
        let header = Self::header(tar::EntryType::Regular, mode, content.len() as u64);
        self.append(name, header, "", content.as_bytes())
    }

    pub(crate) fn dir(self, name: &str, mode: u32) -> Self {
        self.append(name, Self::header(tar::EntryType::Directory, mode, 0), "", b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.append(name, Self::header(tar::EntryType::Symlink, 0o777, 0), target, b"")
    }

    fn hardlink(self, name: &str, target: &str) -> Self {
        self.append(name, Self::header(tar::EntryType::Link, 0o644, 0), target, b"")
    }

    fn node(self, name: &str, kind: tar::EntryType, major: u32, minor: u32) -> Self {
        let mut header = Self::header(kind, 0o600, 0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.append(name, header, "", b"")
    }

    fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = format!(" {key}={value}\n");
            let mut length = rest.len() + 1;
            while length != rest.len() + length.to_string().len() {
                length += 1;
            }
            write!(content, "{length}{rest}").unwrap();
        }
        let header = Self::header(tar::EntryType::XHeader, 0o644, content.len() as u64);
        self.append("pax", header, "", &content)
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.tar.extend_from_slice(&[0; 1024]);
        self.tar
    }
}

/// A root with a neighbour that nothing may reach.
struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn unpack(&self, layers: Vec<Layer>, options: UnpackOptions) -> Result<Unpacked, UnpackError> {
        let mut unpacker = Unpacker::new(&self.root(), options)?;
        for layer in layers {
            unpacker.layer(layer.bytes().as_slice())?;
        }
        unpacker.finish()
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.root().join(name)).ok()
    }

    /// Nothing outside the root has changed.
    fn assert_contained(&self) {
        let outside: Vec<_> = fs::read_dir(self.dir.path().join("outside"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(outside, ["secret"]);
        assert_eq!(fs::read_to_string(self.dir.path().join("outside/secret")).unwrap(), "secret");
        let beside = fs::read_dir(self.dir.path()).unwrap().count();
        assert_eq!(beside, 2);
    }
}

fn unpacked(layers: Vec<Layer>) -> (Sandbox, Result<Unpacked, UnpackError>) {
    let sandbox = Sandbox::new();
    let outcome = sandbox.unpack(layers, UnpackOptions::default());
    sandbox.assert_contained();
    (sandbox, outcome)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn files_get_their_content_modes_owners_and_times() {
    let layer = Layer::default()
        .dir("./", 0o755)
        .dir("./sealed", 0o500)
        .file_with("./sealed/file", "content", 0o4711)
        .symlink("./link", "sealed/file")
        .hardlink("./hard", "./sealed/file")
        .node("./pipe", tar::EntryType::Fifo, 0, 0);
    let (sandbox, outcome) = unpacked(vec![layer]);
    assert_eq!(outcome.unwrap(), Unpacked { entries: 6, bytes: 7, skipped: 0 });
    let metadata = |name: &str| fs::symlink_metadata(sandbox.root().join(name)).unwrap();
    assert_eq!(sandbox.read("link").as_deref(), Some("content"));
    assert_eq!(metadata("sealed/file").mode() & 0o7777, 0o4711);
    assert_eq!(metadata("sealed").mode() & 0o7777, 0o500);
    assert_eq!(metadata("hard").ino(), metadata("sealed/file").ino());
    assert!(metadata("pipe").file_type().is_fifo());
    for name in ["sealed", "sealed/file", "link"] {
        assert_eq!(metadata(name).mtime(), 1_600_000_000, "{name}");
        if is_root() {
            assert_eq!((metadata(name).uid(), metadata(name).gid()), (1234, 4321), "{name}");
        }
    }
}

#[test]
fn every_compression_is_recognized_by_its_content() {
    let tar = Layer::default().file("a", "content").bytes();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar[..600]).unwrap();
    let mut members = gzip.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(members, flate2::Compression::fast());
    gzip.write_all(&tar[600..]).unwrap();
    members = gzip.finish().unwrap();
    let zstd = zstd::stream::encode_all(tar.as_slice(), 1).unwrap();
    let mut framed = vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    framed.extend_from_slice(&zstd);
    for bytes in [tar, members, zstd, framed] {
        let sandbox = Sandbox::new();
        let mut unpacker = Unpacker::new(&sandbox.root(), UnpackOptions::default()).unwrap();
        unpacker.layer(bytes.as_slice()).unwrap();
        unpacker.finish().unwrap();
        assert_eq!(sandbox.read("a").as_deref(), Some("content"));
    }
}

#[test]
fn upper_layers_replace_and_remove() {
    let lower = Layer::default()
        .dir("kept", 0o755)
        .file("kept/a", "lower")
        .file("kept/b", "lower")
        .dir("gone", 0o755)
        .file("gone/x", "lower")
        .dir("cleared", 0o755)
        .file("cleared/old", "lower")
        .dir("was-dir", 0o755)
        .file("was-dir/x", "lower")
        .file("was-file", "lower")
        .symlink("was-link", "kept");
    let upper = Layer::default()
        .file("kept/.wh.a", "")
        .file("kept/b", "upper")
        .file(".wh.gone", "")
        .file("cleared/new", "upper")
        .file("cleared/.wh..wh..opq", "")
        .file("was-dir", "upper")
        .dir("was-file", 0o755)
        .file("was-file/x", "upper")
        .dir("was-link", 0o755)
        .file("was-link/x", "upper")
        .file(".wh..wh.plnk", "")
        .file(".wh.never-was", "");
    let (sandbox, outcome) = unpacked(vec![lower, upper]);
    outcome.unwrap();
    let read = |name: &str| sandbox.read(name);
    assert_eq!(read("kept/a"), None);
    assert_eq!(read("kept/b").as_deref(), Some("upper"));
    assert!(!sandbox.root().join("gone").exists());
    assert_eq!(read("cleared/old"), None);
    assert_eq!(read("cleared/new").as_deref(), Some("upper"));
    assert_eq!(read("was-dir").as_deref(), Some("upper"));
    assert_eq!(read("was-file/x").as_deref(), Some("upper"));
    assert_eq!(read("was-link/x").as_deref(), Some("upper"));
    assert_eq!(read("kept/x"), None);
    assert!(!sandbox.root().join(".wh..wh.plnk").exists());
}

#[test]
fn a_whiteout_does_not_remove_what_its_own_layer_made() {
    let lower = Layer::default().file("dir/old", "lower").file("file", "lower");
    let upper = Layer::default()
        .file("dir/new", "upper")
        .file(".wh.dir", "")
        .file("file", "upper")
        .file(".wh.file", "");
    let (sandbox, outcome) = unpacked(vec![lower, upper]);
    outcome.unwrap();
    assert_eq!(sandbox.read("dir/new").as_deref(), Some("upper"));
    assert_eq!(sandbox.read("file").as_deref(), Some("upper"));
}

#[test]
fn names_that_climb_are_refused() {
    for layer in [
        Layer::default().file("../outside/planted", "x"),
        Layer::default().file("a/../../outside/planted", "x"),
        Layer::default().file("/../outside/planted", "x"),
        Layer::default().dir("..", 0o777),
        Layer::default().file("../outside/.wh.secret", ""),
        Layer::default().file(".wh...", ""),
        Layer::default().hardlink("a", "../outside/secret"),
    ] {
        let (_, outcome) = unpacked(vec![layer]);
        assert!(matches!(outcome, Err(UnpackError::Refused { .. })), "{outcome:?}");
    }
}

#[test]
fn absolute_names_and_links_mean_the_root() {
    let layer = Layer::default()
        .file("/etc/passwd", "inner")
        .symlink("abs", "/etc")
        .file("abs/group", "inner")
        .symlink("up", "../../../../../../../../etc")
        .file("up/shadow", "inner")
        .symlink("deep/rel", "../../../etc")
        .file("deep/rel/hosts", "inner")
        .hardlink("linked", "/abs/passwd");
    let (sandbox, outcome) = unpacked(vec![layer]);
    outcome.unwrap();
    for name in ["etc/passwd", "etc/group", "etc/shadow", "etc/hosts", "linked"] {
        assert_eq!(sandbox.read(name).as_deref(), Some("inner"), "{name}");
    }
}

#[test]
fn links_to_the_outside_are_not_followed() {
    let sandbox = Sandbox::new();
    let outside = sandbox.dir.path().join("outside");
    let outside = outside.to_str().unwrap();
    let layers = vec![
        Layer::default()
            .symlink("out", outside)
            .symlink("secret-link", &format!("{outside}/secret")),
        Layer::default()
            .file("out/planted", "x")
            .file("out/.wh.secret", "")
            .file("out/.wh..wh..opq", "")
            .file("secret-link", "replaced")
            .hardlink("stolen", "secret-link")
            .dir("out/sub", 0o777),
    ];
    sandbox.unpack(layers, UnpackOptions::default()).unwrap();
    sandbox.assert_contained();
    // The link's target was made below the root instead.
    assert!(sandbox.root().join(&outside[1..]).join("sub").is_dir());
    assert_eq!(sandbox.read("stolen").as_deref(), Some("replaced"));
    // A hard link to a link is a link, not what it leads to.
    let layer =
        Layer::default().symlink("again", &format!("{outside}/secret")).hardlink("copy", "again");
    sandbox.unpack(vec![layer], UnpackOptions::default()).unwrap();
    assert!(fs::symlink_metadata(sandbox.root().join("copy")).unwrap().is_symlink());
}

#[test]
fn loops_and_missing_targets_are_errors() {
    let looped = Layer::default().symlink("a", "b").symlink("b", "a").file("a/x", "x");
    assert!(matches!(unpacked(vec![looped]).1, Err(UnpackError::Entry { .. })));
    let missing = Layer::default().hardlink("a", "nosuch");
    assert!(matches!(unpacked(vec![missing]).1, Err(UnpackError::Entry { .. })));
    let through_file = Layer::default().file("a", "x").file("a/b", "x");
    assert!(matches!(unpacked(vec![through_file]).1, Err(UnpackError::Entry { .. })));
    let itself = Layer::default().file("a", "x").hardlink("a", "./a");
    let (sandbox, outcome) = unpacked(vec![itself]);
    outcome.unwrap();
    assert_eq!(sandbox.read("a").as_deref(), Some("x"));
}

#[test]
fn devices_are_left_out_unless_allowed() {
    let layer = || Layer::default().node("null", tar::EntryType::Char, 1, 3).file("a", "x");
    let (sandbox, outcome) = unpacked(vec![layer()]);
    assert_eq!(outcome.unwrap().skipped, 1);
    assert!(!sandbox.root().join("null").exists());
    let allowed = UnpackOptions { devices: true, ..UnpackOptions::default() };
    let sandbox = Sandbox::new();
    match sandbox.unpack(vec![layer()], allowed) {
        Ok(_) => {
            assert!(fs::metadata(sandbox.root().join("null")).unwrap().file_type().is_char_device())
        }
        Err(error) => eprintln_skip(&error.to_string()),
    }
    let hiding = Layer::default().node("etc", tar::EntryType::Char, 0, 0);
    assert!(matches!(
        Sandbox::new().unpack(vec![hiding], allowed),
        Err(UnpackError::Refused { .. })
    ));
}

fn eprintln_skip(why: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {why}\n").as_bytes()).unwrap();
}

#[test]
fn overlay_whiteouts_are_the_kernels_own() {
    let sandbox = Sandbox::new();
    let options = UnpackOptions {
        whiteouts: Whiteouts::Overlay { user: !is_root() },
        ..UnpackOptions::default()
    };
    let layer = Layer::default()
        .dir("dir", 0o755)
        .file("dir/.wh..wh..opq", "")
        .file("dir/.wh.a", "")
        .file("b", "new")
        .file(".wh.b", "")
        .file(".wh.c", "")
        .file("c", "after");
    if let Err(error) = sandbox.unpack(vec![layer], options) {
        eprintln_skip(&format!("no overlay marks on this file system: {error}"));
        return;
    }
    let hidden = fs::symlink_metadata(sandbox.root().join("dir/a")).unwrap();
    assert!(hidden.file_type().is_char_device());
    assert_eq!(hidden.rdev(), 0);
    assert_eq!(sandbox.read("b").as_deref(), Some("new"));
    assert_eq!(sandbox.read("c").as_deref(), Some("after"));
    let name = if is_root() { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
    let mut value = [0; 4];
    let length = rustix::fs::getxattr(sandbox.root().join("dir"), name, &mut value).unwrap();
    assert_eq!(&value[..length], b"y");
}

#[test]
fn extended_attributes_and_exact_times_come_from_pax_headers() {
    let layer = Layer::default()
        .pax(&[
            ("SCHILY.xattr.user.note", "hello"),
            ("SCHILY.xattr.trusted.overlay.opaque", "y"),
            ("mtime", "1500000000.25"),
        ])
        .file("a", "x");
    let (sandbox, outcome) = unpacked(vec![layer]);
    outcome.unwrap();
    let path = sandbox.root().join("a");
    assert_eq!(fs::metadata(&path).unwrap().mtime_nsec(), 250_000_000);
    let mut value = [0; 16];
    match rustix::fs::getxattr(&path, "user.note", &mut value) {
        Ok(length) => assert_eq!(&value[..length], b"hello"),
        Err(error) => eprintln_skip(&format!("no user attributes here: {error}")),
    }
    assert!(rustix::fs::getxattr(&path, "trusted.overlay.opaque", &mut value).is_err());
}

#[test]
fn bounds_stop_bombs() {
    let options = UnpackOptions { max_bytes: 10, max_entries: 3, ..UnpackOptions::default() };
    let large = Layer::default().file("a", "12345").file("b", "123456");
    let outcome = Sandbox::new().unpack(vec![large], options);
    assert!(matches!(outcome, Err(UnpackError::TooLarge { what: "bytes", .. })), "{outcome:?}");
    let exact = Layer::default().file("a", "12345").file("b", "12345").file("c", "");
    Sandbox::new().unpack(vec![exact], options).unwrap();
    let many = Layer::default().file("a", "").file("b", "").file("c", "").file("d", "");
    let outcome = Sandbox::new().unpack(vec![many], options);
    assert!(matches!(outcome, Err(UnpackError::TooLarge { what: "entries", .. })), "{outcome:?}");
    let name = "x".repeat(5 << 20);
    let header = Layer::default().pax(&[("path", &name)]).file("a", "x");
    let outcome = Sandbox::new().unpack(vec![header], options);
    assert!(matches!(outcome, Err(UnpackError::Read(_))), "{outcome:?}");
}

#[test]
fn a_cut_off_layer_is_an_error() {
    let whole = Layer::default().file("a", &"x".repeat(2000)).bytes();
    for length in [100, 512, 600, 1500] {
        let sandbox = Sandbox::new();
        let mut unpacker = Unpacker::new(&sandbox.root(), UnpackOptions::default()).unwrap();
        assert!(unpacker.layer(&whole[..length]).is_err(), "{length}");
    }
}
