#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn settings_are_written_so_that_git_reads_them_back() {
    let settings = [
        ("push.recurseSubmodules", "no"),
        ("http.https://example.com/a.b/.extraHeader", "X: \"1\" \\ # ; y"),
        ("user.name", "someone"),
        ("alias.multi", "a\n\tb "),
    ];
    let owned: Vec<_> = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    fs::write(&file, config_text(&owned)).unwrap();
    for (name, value) in settings {
        let output = std::process::Command::new("git")
            .args(["config", "-z", "--file"])
            .arg(&file)
            .args(["--get", name])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{value}\0"), "{name}");
    }
}
