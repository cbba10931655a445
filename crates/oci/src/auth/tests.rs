use super::*;

fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
    Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
}

#[test]
fn challenges_are_read() {
    let hub = r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull,push""#;
    assert_eq!(
        Challenge::parse(hub),
        bearer("https://auth.example/token", Some("registry.example"))
    );
    assert_eq!(Challenge::parse("bearer  service=x , REALM=y"), bearer("y", Some("x")));
    assert_eq!(Challenge::parse(r#"Bearer realm="a\"b""#), bearer("a\"b", None));
    assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
    assert_eq!(Challenge::parse("Basic"), Some(Challenge::Basic));
    assert_eq!(Challenge::parse("Bearer service=x"), None);
    assert_eq!(Challenge::parse("Negotiate"), None);
    assert_eq!(Challenge::parse(""), None);
}
