//! What a container's processes may not do.

use std::io;

use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::launch::{Attempt, Failure};

/// What root keeps in an ordinary container: the set container engines have settled on.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Open files a process may have unless it raises the number itself. Some programs touch every
/// possible descriptor, so it is not as high as it could be.
const OPEN_FILES: u64 = 65_536;

pub(super) fn limit_resources() {
    let files = rustix::process::getrlimit(Resource::Nofile);
    let current = files.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    // Lowering a soft limit, or raising it up to the hard one, is always allowed.
    rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: Some(current), maximum: files.maximum },
    )
    .ok();
    let core = rustix::process::getrlimit(Resource::Core);
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: core.maximum })
        .ok();
}

/// Drops capabilities and forbids system calls, for good.
pub(super) fn restrict() -> Result<(), Failure> {
    install_filter(&filter()).attempt(|| "cannot restrict system calls (seccomp)")?;
    rustix::thread::clear_ambient_capability_set().attempt(|| "cannot drop capabilities")?;
    for number in 0..64u32 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(Failure::io("cannot drop capabilities", &error.into())),
        }
    }
    let sets =
        CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).attempt(|| "cannot drop capabilities")
}

/// System calls by number in one instruction set.
struct Calls {
    architecture: u32,
    /// Answered with "operation not permitted".
    denied: &'static [u32],
    /// Answered with "not implemented", so that programs fall back to older calls.
    absent: &'static [u32],
    /// Denied when their first argument asks for new namespaces.
    namespaces: &'static [u32],
    /// Numbers from here on belong to an instruction set that is not supported.
    beyond: Option<u32>,
}

/// The same everywhere: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr,
/// quotactl_fd, open_tree_attr.
const NEW_MOUNT_CALLS: [u32; 9] = [428, 429, 430, 431, 432, 433, 442, 443, 467];
/// io_uring_setup, io_uring_enter, io_uring_register (a way around such filters), clone3 (whose
/// flags a filter cannot see).
const ABSENT: &[u32] = &[425, 426, 427, 435];

#[cfg(target_arch = "x86_64")]
const TABLES: &[Calls] = &[
    Calls {
        architecture: 0xC000_003E,
        denied: &[
            163, // acct
            248, // add_key
            321, // bpf
            227, // clock_settime
            176, // delete_module
            313, // finit_module
            175, // init_module
            173, // ioperm
            172, // iopl
            312, // kcmp
            320, // kexec_file_load
            246, // kexec_load
            250, // keyctl
            212, // lookup_dcookie
            165, // mount
            304, // open_by_handle_at
            298, // perf_event_open
            155, // pivot_root
            179, // quotactl
            169, // reboot
            249, // request_key
            308, // setns
            164, // settimeofday
            167, // swapon
            168, // swapoff
            103, // syslog
            166, // umount2
            323, // userfaultfd
            153, // vhangup
        ],
        absent: ABSENT,
        namespaces: &[56, 272], // clone, unshare
        beyond: Some(0x4000_0000),
    },
    // 32-bit programs.
    Calls {
        architecture: 0x4000_0003,
        denied: &[
            51, 286, 357, 264, 129, 350, 128, 101, 110, 349, 283, 288, 253, 21, 342, 336, 217, 131,
            88, 287, 346, 79, 87, 115, 103, 52, 374, 111, // as above
            22,  // umount
            25,  // stime
            113, // vm86old
            166, // vm86
            404, // clock_settime64
        ],
        absent: ABSENT,
        namespaces: &[120, 310],
        beyond: None,
    },
];

#[cfg(target_arch = "aarch64")]
const TABLES: &[Calls] = &[Calls {
    architecture: 0xC000_00B7,
    denied: &[
        89,  // acct
        217, // add_key
        280, // bpf
        112, // clock_settime
        106, // delete_module
        273, // finit_module
        105, // init_module
        272, // kcmp
        294, // kexec_file_load
        104, // kexec_load
        219, // keyctl
        18,  // lookup_dcookie
        40,  // mount
        265, // open_by_handle_at
        241, // perf_event_open
        41,  // pivot_root
        60,  // quotactl
        142, // reboot
        218, // request_key
        268, // setns
        170, // settimeofday
        224, // swapon
        225, // swapoff
        116, // syslog
        39,  // umount2
        282, // userfaultfd
        58,  // vhangup
    ],
    absent: ABSENT,
    namespaces: &[220, 97],
    beyond: None,
}];

// One classic BPF program over `struct seccomp_data`: number at 0, architecture at 4, the low half
// of the first argument at 16 (both supported machines are little-endian).
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
/// CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}. The bit for time is a signal number to `clone`,
/// of which it can only be a part that is never asked for.
const NAMESPACES: u32 = 0x7e02_0000;

fn step(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// The filter for all instruction sets this machine can run.
fn filter() -> Vec<libc::sock_filter> {
    let denied = ERRNO | libc::EPERM.unsigned_abs();
    let absent = ERRNO | libc::ENOSYS.unsigned_abs();
    let mut program = vec![step(LOAD, 4, 0, 0)];
    for table in TABLES {
        let mut body = vec![step(LOAD, 0, 0, 0)];
        let mut on = |code: u16, number: u32, result: u32| {
            body.push(step(code, number, 0, 1));
            body.push(step(RETURN, result, 0, 0));
        };
        if let Some(beyond) = table.beyond {
            on(AT_LEAST, beyond, absent);
        }
        for number in table.denied.iter().chain(&NEW_MOUNT_CALLS) {
            on(EQUAL, *number, denied);
        }
        for number in table.absent {
            on(EQUAL, *number, absent);
        }
        for number in table.namespaces {
            body.push(step(EQUAL, *number, 0, 4));
            body.push(step(LOAD, 16, 0, 0));
            body.push(step(ANY_BIT, NAMESPACES, 0, 1));
            body.push(step(RETURN, denied, 0, 0));
            body.push(step(RETURN, ALLOW, 0, 0));
        }
        body.push(step(RETURN, ALLOW, 0, 0));
        // Conditional jumps reach 255 steps, so a table is skipped by an unconditional one.
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        program.push(step(EQUAL, table.architecture, 1, 0));
        program.push(step(0x05, length, 0, 0));
        program.extend(body);
    }
    program.push(step(RETURN, absent, 0, 0));
    program
}

#[expect(unsafe_code, reason = "the call has no safe wrapper")]
fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    let description = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the description points to a program that outlives the call, which only reads it.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &raw const description)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests;
