#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

#[test]
fn a_login_is_given_to_its_own_host_only() {
    let login =
        |name: &str| Login { username: name.to_owned(), password: format!("{name}-secret") };
    let credentials = Credentials {
        logins: vec![
            HostLogin::new("git.example", &login("main")),
            HostLogin::new("Sub.example:8443", &login("sub")),
        ],
        passphrase: None,
    };
    let ask = |prompt: &str| choose(&credentials, prompt).map_err(|error| error.to_string());
    assert_eq!(ask("Username for 'https://git.example': "), Ok("main"));
    assert_eq!(ask("Password for 'https://someone@git.example': "), Ok("main-secret"));
    assert_eq!(ask("Password for 'https://sub.example:8443': "), Ok("sub-secret"));
    assert!(ask("Password for 'https://git.example.evil': ").is_err());
    assert!(ask("Password for 'https://git.example:444': ").is_err());
    assert!(ask("git@host's password: ").is_err());
    assert!(ask("Enter passphrase for key '/x': ").unwrap_err().contains("private_key_passphrase"));
}

#[test]
fn only_web_addresses_have_a_login_host() {
    assert_eq!(host_of("https://u:p@Host.example/x").as_deref(), Some("host.example"));
    assert_eq!(host_of("http://127.0.0.1:8080/x").as_deref(), Some("127.0.0.1:8080"));
    assert_eq!(host_of("git@host:x"), None);
    assert_eq!(host_of("/srv/x"), None);
}
