#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use crate::digest::Digest;

fn index(platforms: &[Option<Platform>]) -> Index {
    let descriptor = |(size, platform): (usize, &Option<Platform>)| Descriptor {
        platform: platform.clone(),
        ..Descriptor::new("x", Digest::of(b""), size as u64)
    };
    Index { manifests: platforms.iter().enumerate().map(descriptor).collect(), ..Index::default() }
}

fn chosen(wanted: &Platform, platforms: &[Option<Platform>]) -> Option<u64> {
    wanted.choose(&index(platforms)).map(|descriptor| descriptor.size)
}

#[test]
fn the_first_match_is_chosen() {
    let (amd, v7, v8) = (
        Platform::new("linux", "amd64"),
        Platform::new("linux", "arm/v7"),
        Platform::new("linux", "arm/v8"),
    );
    let all = [Some(v7), Some(v8.clone()), Some(amd.clone())];
    assert_eq!(chosen(&amd, &all), Some(2));
    assert_eq!(chosen(&v8, &all), Some(1));
    assert_eq!(chosen(&Platform::new("linux", "arm"), &all), Some(0));
    assert_eq!(chosen(&Platform::new("windows", "amd64"), &all), None);
    assert_eq!(chosen(&amd, &[None]), Some(0));
    assert_eq!(chosen(&amd, &[None, None]), None);
    assert_eq!(v8.to_string(), "linux/arm/v8");
}
