use super::*;

fn info(message: &str, fields: &[(&str, &str)]) -> String {
    Line { level: Level::Info, seconds: 0, message, fields }.rendered()
}

#[test]
fn lines_equal_those_a_real_worker_printed() {
    assert_eq!(
        info("fetching version: mock", &[]),
        "\u{1b}[36mINFO\u{1b}[0m[0000] fetching version: mock                       \n"
    );
    assert_eq!(
        info("mirroring self image", &[("via_params", "false")]),
        "\u{1b}[36mINFO\u{1b}[0m[0000] mirroring self image                          \u{1b}[36mvia_params\u{1b}[0m=false\n"
    );
}
