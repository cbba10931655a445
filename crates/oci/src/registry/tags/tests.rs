#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn the_next_page_is_one_of_the_same_registry() {
    let current = Url::parse("https://r.example/v2/a/tags/list?n=2").unwrap();
    let next = |link: &str| next_page(link, &current).map(|url| url.to_string());
    let expected = "https://r.example/v2/a/tags/list?last=b&n=2";
    assert_eq!(next("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").as_deref(), Some(expected));
    assert_eq!(next(&format!("<{expected}>; rel=next")).as_deref(), Some(expected));
    assert_eq!(next("<https://other.example/v2/>; rel=\"next\""), None);
    assert_eq!(next("</x>; rel=\"prev\""), None);
    assert_eq!(next("garbage"), None);
}
