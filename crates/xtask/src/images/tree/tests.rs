use super::*;

fn bytes(tree: &Tree) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.write(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_order_of_making_does_not_show() {
    let mut one = Tree::default();
    one.file("etc/a", 0o644, "a");
    one.file("etc/b", 0o644, "b");
    let mut other = Tree::default();
    other.file("etc/b", 0o644, "b");
    other.file("/etc/a", 0o644, "a");
    assert_eq!(bytes(&one), bytes(&other));
}

#[test]
fn what_a_package_puts_into_bin_lands_in_usr_bin() {
    let mut package = Tree::default();
    package.directory("bin", 0o755);
    package.file("bin/sh", 0o755, "shell");
    let mut root = Tree::root();
    root.unpack(bytes(&package).as_slice()).unwrap();
    assert_eq!(root.content("usr/bin/sh"), Some("shell".as_bytes()));
    assert_eq!(root.content("/bin/sh"), Some("shell".as_bytes()));
}

#[test]
fn links_and_modes_survive_a_round_trip() {
    let mut tree = Tree::default();
    tree.file("opt/tool", 0o4755, "tool");
    tree.owned("opt/tool", 7, 8);
    tree.link("opt/link", "tool");
    let mut back = Tree::default();
    back.unpack(bytes(&tree).as_slice()).unwrap();
    assert_eq!(back.entries, tree.entries);
}

#[test]
fn a_hard_link_has_the_content_of_its_target() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, "./usr/bin/one", "x".as_bytes()).unwrap();
    header.set_entry_type(tar::EntryType::Link);
    header.set_size(0);
    tar.append_link(&mut header, "./usr/bin/two", "./usr/bin/one").unwrap();
    let mut tree = Tree::default();
    tree.unpack(tar.into_inner().unwrap().as_slice()).unwrap();
    assert_eq!(tree.content("usr/bin/two"), Some("x".as_bytes()));
}

#[test]
fn a_path_that_leads_out_is_refused() {
    let error = plain(Path::new("usr/../../etc/passwd")).unwrap_err();
    assert_eq!(error.to_string(), "the path usr/../../etc/passwd leads out of its package");
}

#[test]
fn a_file_at_two_paths_is_in_the_layer_once() {
    let mut tree = Tree::default();
    tree.file("opt/one", 0o755, vec![7; 10_000]);
    tree.same("opt/one", "opt/two");
    let layer = bytes(&tree);
    assert!(layer.len() < 15_000, "{} bytes", layer.len());
    let mut back = Tree::default();
    back.unpack(layer.as_slice()).unwrap();
    assert_eq!(back.content("opt/two"), tree.content("opt/one"));
}
