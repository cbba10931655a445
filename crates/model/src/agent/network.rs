//! What an agent's programs reach.

use std::net::IpAddr;

/// The most hosts of one step.
pub const HOSTS_MAX: usize = 64;
/// The longest name of a host, and the longest part of one between dots.
const NAME_CHARACTERS_MAX: usize = 253;
const LABEL_CHARACTERS_MAX: usize = 63;

/// What an agent's programs reach. The model is reached through the gateway whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AgentNetwork {
    /// Nothing.
    #[default]
    Gateway,
    /// These hosts by HTTPS, through the gateway's proxy.
    Hosts(Vec<HostPattern>),
    /// What tasks reach.
    Full,
}

impl AgentNetwork {
    /// Reads hosts, as plans that were posted have them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn hosts(written: &[String]) -> Result<Self, String> {
        if written.len() > HOSTS_MAX {
            return Err(too_many());
        }
        let mut hosts: Vec<HostPattern> = Vec::with_capacity(written.len());
        for text in written {
            let host = HostPattern::parse(text)?;
            if hosts.contains(&host) {
                return Err(twice(&host));
            }
            hosts.push(host);
        }
        if hosts.is_empty() {
            return Err(NO_HOSTS.to_owned());
        }
        Ok(Self::Hosts(hosts))
    }
}

/// What is said of an empty list.
pub const NO_HOSTS: &str =
    "the list of hosts is empty: say 'gateway' when nothing is to be reached";

/// What is said of a list that is too long.
pub fn too_many() -> String {
    format!("an agent reaches at most {HOSTS_MAX} hosts by name")
}

/// What is said of a host that is listed before.
pub fn twice(host: &HostPattern) -> String {
    format!("the host '{host}' is named twice")
}

/// A host by its name, or all hosts below one: `example.com`, `*.example.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    /// As [`host_name`] returns it.
    name: String,
    /// Whether those below it are meant, and not itself.
    below: bool,
}

impl HostPattern {
    /// # Errors
    /// When it is no name of a host; the text says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("'{text}' is no host that can be reached: {what}"));
        if text.contains("((") {
            return wrong("hosts are written out, as who reads the pipeline must see them");
        }
        if text.contains("://") || text.contains('/') {
            return wrong("write its name alone, without scheme and path");
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.contains('*') {
            return wrong("a '*' stands only before the first dot, as in '*.example.com'");
        }
        match host_name(name) {
            Ok(name) => Ok(Self { name, below }),
            Err(what) => wrong(&what.to_string()),
        }
    }

    /// Whether it means the host, whose name [`host_name`] returned.
    pub fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host == self.name;
        }
        let before = host.strip_suffix(self.name.as_str());
        before.and_then(|before| before.strip_suffix('.')).is_some_and(|below| !below.is_empty())
    }
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.below { "*." } else { "" })?;
        f.write_str(&self.name)
    }
}

/// Why a text is no name of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHostName {
    /// It is an address, in whatever spelling.
    Address,
    Port,
    OtherScript,
    Form,
    /// Such names mean something else on every network.
    OneLabel,
}

impl std::fmt::Display for NoHostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "it is an address, and hosts are reached by their names",
            Self::Port => "write its name alone; port 443 is what is reached",
            Self::OtherScript => "write names in other scripts as they are in DNS, beginning with 'xn--'",
            Self::Form => {
                "a name has parts of 1 to 63 letters, digits, '-' and '_' between dots, and at most 253 characters"
            }
            Self::OneLabel => "write its whole name, with a dot in it",
        })
    }
}

/// A host's name as names are compared: in lower case, without the dot of the root.
///
/// # Errors
/// When it is none. An address is none however it is spelled: whatever ends in a number or is in brackets.
pub fn host_name(text: &str) -> Result<String, NoHostName> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.split('%').next().unwrap_or_default();
    if bare.parse::<IpAddr>().is_ok() || name.contains(['[', ']']) {
        return Err(NoHostName::Address);
    }
    if let Some((_, port)) = name.split_once(':') {
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        return Err(if is_port { NoHostName::Port } else { NoHostName::Form });
    }
    if !name.is_ascii() {
        return Err(NoHostName::OtherScript);
    }
    let last = name.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    if is_number(last) {
        return Err(NoHostName::Address);
    }
    if name.len() > NAME_CHARACTERS_MAX || !name.split('.').all(is_label) {
        return Err(NoHostName::Form);
    }
    if !name.contains('.') {
        return Err(NoHostName::OneLabel);
    }
    Ok(name)
}

/// Resolvers take names that end in a number for addresses, and read them in many ways.
fn is_number(label: &str) -> bool {
    if let Some(digits) = label.strip_prefix("0x") {
        return digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    }
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_label(label: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL_CHARACTERS_MAX).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(&host_name(host).unwrap())
    }

    #[test]
    fn a_host_is_meant_by_its_name_or_by_one_above_it() {
        assert!(matches("example.com", "example.com"));
        assert!(matches("Example.COM", "eXample.com."));
        assert!(!matches("example.com", "www.example.com"));
        assert!(!matches("example.com", "example.com.evil.test"));
        assert!(!matches("example.com", "notexample.com"));
        assert!(matches("*.example.com", "www.example.com"));
        assert!(matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(!matches("*.example.com", "notexample.com"));
        assert!(!matches("*.example.com", "example.com.evil.test"));
    }

    #[test]
    fn addresses_are_no_names_in_any_spelling() {
        for text in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.0.0.1..",
            "127.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "0X7F.1",
            "2130706433",
            "017700000001",
            "1.2.3.4.5",
            "example.1",
            "example.0x",
            "[::1]",
            "[::1]:443",
            "::1",
            "fe80::1%eth0",
            "[fe80::1%25eth0]",
            "::ffff:127.0.0.1",
            "2606:4700::1111",
            "[v1.x]",
        ] {
            assert_eq!(host_name(text), Err(NoHostName::Address), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_told_what_to_write() {
        for (text, expected) in [
            ("", "a name has parts"),
            (".", "a name has parts"),
            ("a..b", "a name has parts"),
            ("-a.example", "a name has parts"),
            ("a-.example", "a name has parts"),
            ("a b.example", "a name has parts"),
            ("user@example.com", "a name has parts"),
            ("exam\0ple.com", "a name has parts"),
            ("localhost", "with a dot in it"),
            ("example.com:443", "write its name alone; port 443"),
            ("https://example.com", "without scheme and path"),
            ("example.com/x", "without scheme and path"),
            ("*", "only before the first dot"),
            ("a.*.example.com", "only before the first dot"),
            ("*.*.example.com", "only before the first dot"),
            ("*.com", "with a dot in it"),
            ("bücher.example", "xn--"),
            ("((host))", "written out"),
            ("10.0.0.1", "it is an address"),
        ] {
            let error = HostPattern::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = format!("{}.example", "a".repeat(64));
        assert!(HostPattern::parse(&long).is_err());
        let long = vec!["a".repeat(60); 5].join(".");
        assert!(HostPattern::parse(&long).is_err());
    }

    #[test]
    fn lists_are_neither_empty_nor_endless() {
        let error = |hosts: &[String]| AgentNetwork::hosts(hosts).unwrap_err();
        assert!(error(&[]).contains("is empty"));
        let many: Vec<String> = (0..65).map(|n| format!("h{n}.example")).collect();
        assert!(error(&many).contains("at most 64"));
        assert!(AgentNetwork::hosts(&many[..64]).is_ok());
        assert!(error(&["a.example".into(), "A.example.".into()]).contains("twice"));
    }
}
