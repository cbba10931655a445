//! Process ids as directory names: everything but plain characters becomes `%XX`.

/// File systems take names of 255 bytes.
const MAX_NAME: usize = 255;

/// `None` when the name would be too long.
pub(crate) fn directory_name(id: &str) -> Option<String> {
    let mut name = String::with_capacity(id.len());
    for (index, byte) in id.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_:@+".contains(&byte);
        // A leading dot would be `.`, `..` or a hidden file.
        if plain || (byte == b'.' && index > 0) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    (!name.is_empty() && name.len() <= MAX_NAME).then_some(name)
}

/// The id that has this directory name.
pub(crate) fn process_id(name: &str) -> Option<String> {
    let mut id = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            id.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            id.push(byte);
        }
    }
    String::from_utf8(id).ok()
}
