use serde_json::json;

use super::*;

fn plain(text: &str) -> String {
    let text = text.replace("\u{8}\u{8}", "");
    [YELLOW, GREEN, RED, PLAIN].iter().fold(text, |text, colour| text.replace(colour, ""))
}

#[test]
fn equal_configurations_show_nothing() {
    let config = json!({"jobs": [{"name": "a", "plan": []}]});
    assert_eq!(render(&config, &config), "");
}

#[test]
fn shows_added_changed_and_removed_items() {
    let before = json!({"jobs": [
        {"name": "kept", "plan": [{"get": "x"}], "serial": true},
        {"name": "old", "plan": []},
    ]});
    let after = json!({"jobs": [
        {"name": "kept", "plan": [{"get": "y", "params": {"a": "1"}}], "serial": true},
        {"name": "new", "plan": [{"task": "t", "config": {"run": {"path": "x"}}}]},
    ]});
    assert_eq!(
        plain(&render(&before, &after)),
        "jobs:
  job kept has changed:
  name: kept
  plan:
  - - get: x
  + - get: y
  +   params:
  +     a: \"1\"
  serial: true
  
  job old has been removed:
  - name: old
  - plan: []
  
  job new has been added:
  + name: new
  + plan:
  + - config:
  +     run:
  +       path: x
  +   task: t
  
"
    );
}
