#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use jb_oci::Digest;
use serde_json::json;

use super::*;

#[test]
fn a_layer_that_occurs_again_counts_where_it_is_topmost() {
    let layer = |text: &str| Descriptor::new("layer", Digest::of(text.as_bytes()), 1);
    let stacked = topmost_first(&[layer("a"), layer("b"), layer("a"), layer("c")]);
    assert_eq!(stacked, [layer("c"), layer("a"), layer("b")]);
}

#[test]
fn what_is_not_understood_is_left_to_the_script() {
    let version = json!({"digest": format!("sha256:{}", "0".repeat(64)), "tag": "x"});
    assert!(Wanted::parse(&json!({"repository": "a"}), &json!({}), &version).is_ok());
    assert!(Wanted::parse(&json!({}), &json!({}), &version).is_err());
    assert!(
        Wanted::parse(&json!({"repository": "a"}), &json!({"format": "zip"}), &version).is_err()
    );
    assert!(Wanted::parse(&json!({"repository": "a"}), &json!({}), &json!({"tag": "x"})).is_err());
}
