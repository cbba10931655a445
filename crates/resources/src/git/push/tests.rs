use super::*;

#[test]
fn a_moved_branch_is_told_from_a_refused_push() {
    assert!(is_overtaken("To x\n ! [rejected]        HEAD -> main (fetch first)\n"));
    assert!(is_overtaken(" ! [rejected]        HEAD -> main (non-fast-forward)"));
    assert!(is_overtaken(
        " ! [remote rejected] HEAD -> main (cannot lock ref 'refs/heads/main': is at a but expected b)"
    ));
    assert!(!is_overtaken(" ! [remote rejected] HEAD -> main (pre-receive hook declined)"));
    assert!(!is_overtaken(" ! [rejected]        v1 -> v1 (already exists)"));
    assert!(!is_overtaken("fatal: could not read from remote repository"));
}
