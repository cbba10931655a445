use super::*;

#[test]
fn what_is_written_can_be_read() {
    let text = || "a b".to_owned();
    let pairs = || vec![(text(), "/x".to_owned()), ("v".to_owned(), "/y".to_owned())];
    let commands = [
        Command::Rest { seconds: 7 },
        Command::Install { target: text(), directory: None },
        Command::Install { target: text(), directory: Some((text(), text())) },
        Command::Prepare { group: 7 },
        Command::Extract { volumes: pairs(), owners: true, image: None, made: vec![] },
        Command::Extract {
            volumes: pairs(),
            owners: true,
            image: Some((text(), text())),
            made: vec![],
        },
        Command::Extract {
            volumes: pairs(),
            owners: false,
            image: Some((text(), text())),
            made: vec![text(), text()],
        },
        Command::Boot { archive: text(), owners: true, command: vec![text(), text()] },
        Command::Boot { archive: text(), owners: false, command: vec![text()] },
        Command::Publish { volumes: pairs() },
        Command::Fetch,
        Command::Store,
        Command::Receive { volume: text(), target: text(), is_file: true },
        Command::Receive { volume: text(), target: text(), is_file: false },
        Command::Send { source: text() },
        Command::Piped(Box::new(Command::Read { volume: text(), path: text(), limit: 5 })),
        Command::List,
        Command::Create { volume: text() },
        Command::Kind { volume: text() },
        Command::Add { volume: text(), path: ".".to_owned(), limit: 5 },
        Command::Archive { volume: text(), path: ".".to_owned() },
        Command::Read { volume: text(), path: "p".to_owned(), limit: 5 },
        Command::PutImage { volume: text() },
        Command::Image { volume: text() },
        Command::Remove { volume: text() },
        Command::MakeCaches { volumes: vec![text(), text()] },
    ];
    for command in commands {
        assert_eq!(Command::parse(&command.to_args()), Ok(command));
    }
    for wrong in [
        vec![],
        vec!["extract", "v"],
        vec!["boot", "f"],
        vec!["add", "v", ".", "x"],
        vec!["nothing"],
    ] {
        let wrong: Vec<String> = wrong.into_iter().map(str::to_owned).collect();
        assert!(Command::parse(&wrong).is_err(), "{wrong:?}");
    }
}
