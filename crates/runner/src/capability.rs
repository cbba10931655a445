//! What an unprivileged process can never do.

use std::io;

/// What container engines leave to a process by default, by the kernel's numbers.
const DEFAULT: [u32; 14] = [
    0,  // CHOWN
    1,  // DAC_OVERRIDE
    3,  // FOWNER
    4,  // FSETID
    5,  // KILL
    6,  // SETGID
    7,  // SETUID
    8,  // SETPCAP
    10, // NET_BIND_SERVICE
    13, // NET_RAW
    18, // SYS_CHROOT
    27, // MKNOD
    29, // AUDIT_WRITE
    31, // SETFCAP
];

/// Takes every other capability out of this process's bounding set, so that no program it executes
/// can get one, and makes it pass on none to programs of another user. What it holds itself stays
/// until it executes. A runner that may not change the set leaves it as its container's runtime made it.
#[expect(unsafe_code, reason = "prctl has no safe wrapper for capabilities")]
pub(crate) fn limit() -> io::Result<()> {
    // SAFETY: takes no pointers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    clear_inheritable()?;
    for capability in (0..64_u32).filter(|capability| !DEFAULT.contains(capability)) {
        // SAFETY: takes no pointers.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        match present {
            // The kernel knows no capability of this number or above.
            ..0 => break,
            0 => {}
            // SAFETY: takes no pointers.
            _ if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } == 0 => {}
            _ => {
                let error = io::Error::last_os_error();
                // Without the right to change the set, it is what the runtime decided to give.
                if error.raw_os_error() != Some(libc::EPERM) {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn clear_inheritable() -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable = rustix::thread::CapabilitySet::empty();
    Ok(rustix::thread::set_capabilities(None, sets)?)
}
