//! Every method of the store is called by this suite, so that every statement runs on every engine.

use std::path::Path;

fn sources(dir: &Path, into: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_method_is_called() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut code, mut tests) = (String::new(), String::new());
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut tests);
    let methods = code.split("pub async fn ").skip(1).filter_map(|rest| rest.split('(').next());
    let missing: Vec<&str> = methods.filter(|name| !tests.contains(&format!("{name}("))).collect();
    assert_eq!(missing, [] as [&str; 0], "not called by the conformance suite");
}
