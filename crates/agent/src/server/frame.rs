//! What passes between the gateway and the program that starts a server, line by line.
//!
//! The gateway says [`HELLO`]; then all it writes is the server's stdin. What comes back is read here: messages of the
//! server begin with `{`, as all of the protocol do, so it cannot say what only the program that starts it says.

/// The gateway wants the server to be started.
pub(crate) const HELLO: &str = "start";
const STARTED: &[u8] = b"+";
const OVER: u8 = b'!';

/// One line to the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Started,
    /// A message of the server.
    Message(&'a [u8]),
    /// The server is no more, and why: the end of a sentence.
    Over(String),
}

impl<'a> Frame<'a> {
    /// Reads a line; none when it is neither.
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        match line {
            STARTED => Some(Self::Started),
            [b'{', ..] => Some(Self::Message(line)),
            [OVER, why @ ..] => Some(Self::Over(String::from_utf8_lossy(why).into_owned())),
            _ => None,
        }
    }

    /// The line, with its end.
    pub(crate) fn line(&self) -> Vec<u8> {
        let mut line = match self {
            Self::Started => STARTED.to_vec(),
            Self::Message(message) => message.to_vec(),
            Self::Over(why) => [&[OVER], why.replace('\n', " ").as_bytes()].concat(),
        };
        line.push(b'\n');
        line
    }
}

/// Why a line is no message, as the end of a sentence.
pub(crate) fn no_message(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    format!("wrote to its stdout what is no message of MCP: {}", crate::output::cut(&text, 200))
}

/// Why a line was not read to its end, as the end of a sentence.
pub(crate) fn too_long(bytes_max: usize) -> String {
    format!("sent a message of more than {bytes_max} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let over = || Frame::Over("ended with\nstatus 1".to_owned());
        for frame in [Frame::Started, Frame::Message(b"{\"id\":1}"), Frame::Over("ended".into())] {
            let line = frame.line();
            assert_eq!(Frame::read(&line[..line.len() - 1]), Some(frame));
        }
        assert_eq!(over().line(), b"!ended with status 1\n");
        assert_eq!(Frame::read(b"listening on stdio"), None);
        assert_eq!(Frame::read(b"[{}]"), None);
    }
}
