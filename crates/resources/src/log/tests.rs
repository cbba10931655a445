use super::*;

#[test]
fn lines_equal_those_a_real_worker_printed() {
    assert_eq!(
        formatted("INFO", BLUE, 0, "fetching version: mock", &[]),
        "\u{1b}[36mINFO\u{1b}[0m[0000] fetching version: mock                       \n"
    );
    assert_eq!(
        formatted("INFO", BLUE, 0, "mirroring self image", &[("via_params", "false")]),
        "\u{1b}[36mINFO\u{1b}[0m[0000] mirroring self image                          \u{1b}[36mvia_params\u{1b}[0m=false\n"
    );
}
