//! What is found of a text in all that a server has kept: its database, logs, volumes and images.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use memchr::memmem;

/// How a frame of zstd begins.
const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Of one frame; more than any segment of a log has.
const MAX_FRAME: u64 = 64 << 20;

/// The files below a directory that hold one of these texts, as they are or compressed, with the texts that each holds.
pub fn found_in(dir: &Path, texts: &[Vec<u8>]) -> BTreeMap<String, Vec<String>> {
    let finders: Vec<memmem::Finder<'_>> = texts.iter().map(memmem::Finder::new).collect();
    let mut found = BTreeMap::new();
    search(dir, &finders, &mut found);
    found
}

fn search(dir: &Path, texts: &[memmem::Finder<'_>], found: &mut BTreeMap<String, Vec<String>>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            search(&entry.path(), texts, found);
        } else if kind.is_file()
            && let Ok(content) = std::fs::read(entry.path())
        {
            let frames = frames(&content);
            let held = texts.iter().filter(|text| {
                text.find(&content).is_some()
                    || frames.iter().any(|frame| text.find(frame).is_some())
            });
            let held: Vec<String> =
                held.map(|text| String::from_utf8_lossy(text.needle()).into_owned()).collect();
            if !held.is_empty() {
                found.insert(entry.path().display().to_string(), held);
            }
        }
    }
}

/// What can be read of the compressed parts of a file, wherever in it they are: databases hold some between their own bytes.
fn frames(content: &[u8]) -> Vec<Vec<u8>> {
    let begins = memmem::find_iter(content, &FRAME);
    let read = begins.filter_map(|begin| {
        let mut frame = Vec::new();
        let decoder = zstd::Decoder::new(&content[begin..]).ok()?.single_frame();
        // What comes before a break was read.
        let _ = decoder.take(MAX_FRAME).read_to_end(&mut frame);
        Some(frame)
    });
    read.collect()
}

#[test]
fn a_text_is_found_as_it_is_and_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let text = b"needle-in-here".repeat(50);
    let compressed = zstd::encode_all(text.as_slice(), 3).unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("sub/blob"), [b"page", compressed.as_slice(), b"page"].concat())
        .unwrap();
    std::fs::write(dir.path().join("plain"), b"a needle").unwrap();
    std::fs::write(dir.path().join("other"), b"hay").unwrap();
    let found = found_in(dir.path(), &[b"needle".to_vec(), b"here".to_vec()]);
    let held: Vec<&[String]> = found.values().map(Vec::as_slice).collect();
    assert_eq!(held, [&["needle".to_owned()][..], &["needle".to_owned(), "here".to_owned()]]);
}
