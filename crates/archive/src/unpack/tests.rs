#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::MetadataExt;

use tar::Header;

use super::*;

fn root(dir: &tempfile::TempDir) -> OwnedFd {
    fs::open(dir.path(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn header(kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(5);
    header
}

const WIDE: Bounds = Bounds { entries: 100, bytes: 1 << 30 };

fn try_unpack(
    dir: &tempfile::TempDir,
    bounds: Bounds,
    fill: impl FnOnce(&mut tar::Builder<Vec<u8>>),
) -> io::Result<()> {
    let mut builder = tar::Builder::new(Vec::new());
    fill(&mut builder);
    unpack(builder.into_inner().unwrap().as_slice(), &root(dir), bounds, false)
}

#[test]
fn bounds_hold() {
    let dir = tempfile::tempdir().unwrap();
    let many = |builder: &mut tar::Builder<Vec<u8>>| {
        for name in ["a", "b", "c"] {
            builder
                .append_data(&mut header(EntryType::Regular, 4), name, b"1234".as_slice())
                .unwrap();
        }
    };
    let error = try_unpack(&dir, Bounds { entries: 2, ..WIDE }, many).unwrap_err();
    assert!(error.to_string().contains("more than 2 entries"), "{error}");
    let error = try_unpack(&dir, Bounds { bytes: 11, ..WIDE }, many).unwrap_err();
    assert!(error.to_string().contains("more bytes"), "{error}");
    try_unpack(&dir, Bounds { entries: 3, bytes: 12 }, many).unwrap();
}

#[test]
fn zeros_become_holes_and_lengths_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut content = vec![0u8; 1 << 20];
    content[500_000] = 7;
    try_unpack(&dir, WIDE, |builder| {
        let mut header = header(EntryType::Regular, content.len());
        builder.append_data(&mut header, "sparse", content.as_slice()).unwrap();
        let zeros = [0u8; 10_000];
        let mut header = self::header(EntryType::Regular, zeros.len());
        builder.append_data(&mut header, "zeros", zeros.as_slice()).unwrap();
    })
    .unwrap();
    assert_eq!(std::fs::read(dir.path().join("sparse")).unwrap(), content);
    assert!(std::fs::metadata(dir.path().join("sparse")).unwrap().blocks() * 512 < 100_000);
    assert_eq!(std::fs::read(dir.path().join("zeros")).unwrap(), [0u8; 10_000]);
}

#[test]
fn links_within_are_followed_and_overlay_attributes_dropped() {
    let dir = tempfile::tempdir().unwrap();
    try_unpack(&dir, WIDE, |builder| {
        builder.append_data(&mut header(EntryType::Directory, 0), "lib64/", io::empty()).unwrap();
        builder.append_link(&mut header(EntryType::Symlink, 0), "lib", "lib64").unwrap();
        builder
            .append_pax_extensions([
                ("SCHILY.xattr.user.overlay.opaque", b"y".as_slice()),
                ("SCHILY.xattr.user.note", b"kept"),
            ])
            .unwrap();
        builder.append_data(&mut header(EntryType::Regular, 1), "lib/f", b"x".as_slice()).unwrap();
    })
    .unwrap();
    let file = dir.path().join("lib64/f");
    assert_eq!(std::fs::read(&file).unwrap(), b"x");
    let mut value = [0u8; 16];
    assert!(fs::getxattr(&file, "user.overlay.opaque", &mut value[..]).is_err());
    if let Ok(length) = fs::getxattr(&file, "user.note", &mut value[..]) {
        assert_eq!(&value[..length], b"kept");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().mtime(), 5);
}

#[test]
fn truncated_archives_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = header(EntryType::Regular, 4096);
    builder.append_data(&mut header, "f", [1u8; 4096].as_slice()).unwrap();
    let bytes = builder.into_inner().unwrap();
    assert!(unpack(&bytes[..2048], &root(&dir), WIDE, false).is_err());
}
