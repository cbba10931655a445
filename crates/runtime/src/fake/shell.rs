//! A shell small enough to be sure of, for the programs of tasks.
//!
//! Words with quotes and `$variables`; commands joined by `;`, line ends, `&&` and `||`; `while`; `name=value`; output to
//! a file (`> f`, `>> f`) or to the other stream (`>&2`, `2>&1`). The commands are those of [`COMMANDS`].

mod words;

use std::collections::BTreeMap;

use jb_runner_protocol::{ProcessSpec, Stream};

use super::files::absolute;
use super::process::{Exit, Program, Stop};
use words::{Command, Joint, What};

/// `sleep x` waits until `x` is released. `flood n` prints `n` numbered lines. `bytes 68 69` prints bytes by their
/// hex numbers. `crash` dies of a bad access, `oom` of too little memory, `lose` takes the container with it.
const COMMANDS: &[&str] = &[
    "bash", "bytes", "cat", "cp", "crash", "echo", "env", "exit", "false", "flood", "lose", "ls",
    "mkdir", "oom", "printf", "pwd", "rm", "sh", "sleep", "test", "trap", "true", "wait",
];

pub(super) fn knows(path: &str) -> bool {
    COMMANDS.contains(&path.rsplit('/').next().unwrap_or(path))
}

/// Runs a task's program to its end.
pub(super) async fn run(program: &Program, spec: &ProcessSpec) -> Result<Exit, Stop> {
    let mut shell = Shell {
        program,
        dir: spec.dir.clone(),
        env: spec.env.iter().cloned().collect(),
        trap: None,
    };
    let name = spec.path.rsplit('/').next().unwrap_or_default();
    let ended = match (name, spec.args.as_slice()) {
        ("sh" | "bash", [flags, script, ..]) if flags.starts_with('-') && flags.ends_with('c') => {
            let strict = flags.contains('e');
            shell.script(script, strict).await
        }
        _ => {
            let argv = std::iter::once(name.to_owned()).chain(spec.args.iter().cloned()).collect();
            shell.argv(argv, Target::Stream(Stream::Stdout)).await
        }
    };
    match ended {
        Ok(status) => Ok(Exit::status(status)),
        Err(Ended::Exit(exit)) => Ok(exit),
        Err(Ended::Stop(stop)) => Err(stop),
    }
}

struct Shell<'a> {
    program: &'a Program,
    dir: String,
    env: BTreeMap<String, String>,
    /// What to do when asked to end.
    trap: Option<String>,
}

/// Where a command's output goes.
#[derive(Clone)]
enum Target {
    Stream(Stream),
    File { path: String, append: bool },
}

enum Ended {
    Exit(Exit),
    Stop(Stop),
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Shell<'_> {
    async fn script(&mut self, text: &str, strict: bool) -> Result<i32, Ended> {
        self.commands(&words::parse(text), strict).await
    }

    async fn commands(&mut self, commands: &[Command], strict: bool) -> Result<i32, Ended> {
        let mut status = 0;
        for command in commands {
            let wanted = match command.joint {
                Joint::Always => true,
                Joint::IfDone => status == 0,
                Joint::IfFailed => status != 0,
            };
            if !wanted {
                continue;
            }
            status = match &command.what {
                What::Words(words) => Box::pin(self.command(words)).await?,
                What::While { condition, body } => {
                    while Box::pin(self.commands(condition, false)).await? == 0 {
                        Box::pin(self.commands(body, strict)).await?;
                        // A loop that never waits must not keep others from running.
                        tokio::task::yield_now().await;
                    }
                    0
                }
            };
            if strict && status != 0 {
                break;
            }
        }
        Ok(status)
    }

    async fn command(&mut self, words: &[words::Word]) -> Result<i32, Ended> {
        let mut argv: Vec<String> = Vec::new();
        let mut target = Target::Stream(Stream::Stdout);
        let mut expanded = Vec::with_capacity(words.len());
        for word in words {
            expanded.push((word.is_bare(), word.expand(&self.env)));
        }
        let mut words = expanded.into_iter();
        while let Some((bare, word)) = words.next() {
            match word.as_str() {
                ">&2" | "1>&2" if bare => target = Target::Stream(Stream::Stderr),
                "2>&1" if bare => {}
                ">" | ">>" if bare => {
                    let (_, path) = words.next().unwrap_or_default();
                    let path = absolute(&self.dir, &path);
                    target = Target::File { path, append: word == ">>" };
                }
                _ => argv.push(word),
            }
        }
        if let [only] = argv.as_slice()
            && let Some((name, value)) = only.split_once('=')
        {
            self.env.insert(name.to_owned(), value.to_owned());
            return Ok(0);
        }
        self.argv(argv, target).await
    }

    async fn argv(&mut self, argv: Vec<String>, target: Target) -> Result<i32, Ended> {
        if let Some(signal) = self.program.take_signal(self.trap.is_some())? {
            return self.trapped(signal).await;
        }
        let Some((name, args)) = argv.split_first() else { return Ok(0) };
        let arg = |index: usize| args.get(index).map_or("", String::as_str);
        match name.as_str() {
            "trap" => self.trap = Some(arg(0).to_owned()),
            "sleep" => {
                if let Some(signal) = self.program.sleep(arg(0), self.trap.is_some()).await? {
                    return self.trapped(signal).await;
                }
            }
            "sh" | "bash" => return self.script(arg(1), false).await,
            "cat" if args.is_empty() => {
                let input = self.program.input().await?;
                self.print(&target, input);
            }
            "exit" => return Err(Ended::Exit(Exit::status(arg(0).parse().unwrap_or(0)))),
            "crash" => return Err(Ended::Exit(Exit::signalled(11))),
            "oom" => return Err(Ended::Exit(Exit { oom: true, ..Exit::signalled(9) })),
            "lose" => {
                self.program.lose_container();
                return Err(Ended::Stop(Stop::Gone));
            }
            _ => {
                let printed = self.text_of(name, args);
                return Ok(match printed {
                    Some(bytes) => self.print(&target, bytes),
                    None => self.with_files(name, args, &target),
                });
            }
        }
        Ok(0)
    }

    /// What a command prints that does nothing else.
    fn text_of(&self, name: &str, args: &[String]) -> Option<Vec<u8>> {
        let text = match name {
            "echo" => format!("{}\n", args.join(" ")),
            "printf" => formatted(args),
            "pwd" => format!("{}\n", self.dir),
            "flood" => {
                let n_lines = args.first().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
                (0..n_lines).map(|line| format!("line {line:08}\n")).collect()
            }
            "env" => self.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect(),
            "bytes" => {
                let bytes = args.iter().filter_map(|hex| u8::from_str_radix(hex, 16).ok());
                return Some(bytes.collect());
            }
            _ => return None,
        };
        Some(text.into_bytes())
    }

    /// Commands that read or change files.
    fn with_files(&self, name: &str, args: &[String], target: &Target) -> i32 {
        let path = |index: usize| absolute(&self.dir, args.get(index).map_or("", String::as_str));
        match name {
            "true" | ":" | "wait" => 0,
            "false" => 1,
            "test" => i32::from(!self.test(args)),
            "mkdir" => {
                args.iter().for_each(|dir| self.program.make_dir(&absolute(&self.dir, dir)));
                0
            }
            "rm" => {
                let paths = args.iter().filter(|arg| !arg.starts_with('-'));
                let missing = paths.filter(|path| !self.program.remove(&absolute(&self.dir, path)));
                i32::from(missing.count() > 0)
            }
            "cat" => self.cat(target, args),
            "cp" => match self.program.read(&path(0)) {
                Some(content) => {
                    self.program.write_file(&path(1), content);
                    0
                }
                None => self.complain(&format!("cp: {}: no such file", path(0))),
            },
            "ls" => match self.program.list_dir(&path(0)) {
                Some(names) => {
                    let lines = names.iter().map(|name| format!("{name}\n"));
                    self.print(target, lines.collect::<String>().into_bytes())
                }
                None => self.complain(&format!("ls: {}: no such directory", path(0))),
            },
            unknown => {
                self.complain(&format!("sh: {unknown}: not found"));
                127
            }
        }
    }

    /// An empty trap ignores the signal: whatever was waited for is over then, as in a real shell.
    async fn trapped(&mut self, signal: i32) -> Result<i32, Ended> {
        let trap = self.trap.clone().unwrap_or_default();
        if !trap.is_empty() {
            // Its own commands are not to be trapped again.
            self.trap = Some(String::new());
            Box::pin(self.script(&trap, false)).await?;
            self.trap = Some(trap);
        }
        Ok(128 + signal)
    }

    fn print(&self, target: &Target, bytes: Vec<u8>) -> i32 {
        match target {
            Target::Stream(stream) => self.program.write(*stream, &bytes),
            Target::File { path, append } => {
                let before = append.then(|| self.program.read(path)).flatten();
                let content = before.unwrap_or_default().into_iter().chain(bytes).collect();
                self.program.write_file(path, content);
            }
        }
        0
    }

    /// `test [!] -e path`, `test [!] a = b`.
    fn test(&self, args: &[String]) -> bool {
        match args {
            [not, rest @ ..] if not == "!" => !self.test(rest),
            [exists, path] if exists == "-e" => self.program.exists(&absolute(&self.dir, path)),
            // Files here are whoever's that looks.
            [own, path] if own == "-O" => self.program.exists(&absolute(&self.dir, path)),
            [left, same, right] if same == "=" => left == right,
            _ => false,
        }
    }

    fn cat(&self, target: &Target, paths: &[String]) -> i32 {
        for path in paths {
            match self.program.read(&absolute(&self.dir, path)) {
                Some(content) => drop(self.print(target, content)),
                None => return self.complain(&format!("cat: {path}: no such file")),
            }
        }
        0
    }

    fn complain(&self, text: &str) -> i32 {
        self.program.write(Stream::Stderr, format!("{text}\n").as_bytes());
        1
    }
}

/// `printf`'s format with `%s` and `\n`.
fn formatted(args: &[String]) -> String {
    let Some((format, values)) = args.split_first() else { return String::new() };
    let mut text = format.replace("\\n", "\n");
    for value in values {
        text = text.replacen("%s", value, 1);
    }
    text
}
