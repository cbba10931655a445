#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

/// Runs the program as the kernel would.
fn verdict(architecture: u32, number: u32, argument: u32) -> u32 {
    let program = filter();
    let mut accumulator = 0;
    let mut at = 0;
    for _ in 0..program.len() {
        let libc::sock_filter { code, jt, jf, k } = program[at];
        let taken = match code {
            LOAD => {
                accumulator = match k {
                    0 => number,
                    4 => architecture,
                    16 => argument,
                    other => panic!("load from {other}"),
                };
                at += 1;
                continue;
            }
            RETURN => return k,
            0x05 => {
                at += 1 + k as usize;
                continue;
            }
            EQUAL => accumulator == k,
            AT_LEAST => accumulator >= k,
            ANY_BIT => accumulator & k != 0,
            other => panic!("instruction {other:#x}"),
        };
        at += 1 + usize::from(if taken { jt } else { jf });
    }
    panic!("the program does not end");
}

#[test]
fn the_filter_denies_what_it_should() {
    let (denied, absent) =
        (ERRNO | libc::EPERM.unsigned_abs(), ERRNO | libc::ENOSYS.unsigned_abs());
    for table in TABLES {
        let call = |number, argument| verdict(table.architecture, number, argument);
        for number in table.denied.iter().chain(&NEW_MOUNT_CALLS) {
            assert_eq!(call(*number, 0), denied, "{number}");
        }
        for number in table.absent {
            assert_eq!(call(*number, 0), absent, "{number}");
        }
        for number in table.namespaces {
            assert_eq!(call(*number, libc::CLONE_NEWUSER.unsigned_abs()), denied);
            assert_eq!(call(*number, libc::CLONE_NEWNET.unsigned_abs() | 17), denied);
            assert_eq!(call(*number, 0x0120_0011), ALLOW, "an ordinary fork");
        }
        if let Some(beyond) = table.beyond {
            assert_eq!(call(beyond, 0), absent);
            assert_eq!(call(beyond | 165, 0), absent);
        }
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9] {
            assert_eq!(call(number, 0), ALLOW, "{number}");
        }
    }
    assert_eq!(verdict(0x1234, 0, 0), absent, "an unknown instruction set");
}
