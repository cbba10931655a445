//! Commands that say that they are alive while they have nothing else to say: whoever listens over a stream that may break
//! without a word knows by that whether it did. They say it on stderr, with a byte that is in no message.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// The byte.
pub const ALIVE: u8 = 0;
const FLAG: &str = "--alive";
const SHORTEST: Duration = Duration::from_millis(100);

/// The arguments that come before a command's own. It says that it is alive after each `every`, a tenth of a second at
/// least.
pub fn args(every: Duration) -> [String; 2] {
    [FLAG.to_owned(), every.max(SHORTEST).as_millis().to_string()]
}

/// How often to say it, if at all, and the command's own arguments.
pub fn split(args: &[String]) -> (Option<Duration>, &[String]) {
    match args {
        [flag, every, rest @ ..] if flag == FLAG => match every.parse() {
            Ok(every) => (Some(Duration::from_millis(every)), rest),
            Err(_) => (None, args),
        },
        _ => (None, args),
    }
}

/// Says it until this process ends.
pub fn say(every: Duration) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(every);
            crate::rest::disturb(Path::new(crate::rest::FILE));
            // Nobody listens any more.
            if std::io::stderr().write_all(&[ALIVE]).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let command = ["list".to_owned()];
        let args: Vec<String> =
            args(Duration::from_secs(15)).into_iter().chain(command.clone()).collect();
        assert_eq!(split(&args), (Some(Duration::from_secs(15)), command.as_slice()));
        assert_eq!(split(&command), (None, command.as_slice()));
    }
}
