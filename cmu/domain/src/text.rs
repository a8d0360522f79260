//! Texts that people or devices choose, and that others will see.

/// Whether `text` can be shown and stored as a name: 1 to `max` characters, none of them a control
/// character (which could forge log lines, headers or terminal output), no white space around it.
#[must_use]
pub fn is_name(text: &str, max: usize) -> bool {
    let count = text.chars().take(max + 1).count();
    (1..=max).contains(&count) && text.trim() == text && !text.chars().any(is_hidden)
}

/// Whether a person may choose `text` as a name. Beyond [`is_name`] it must not be what a shell or
/// a file system would act on: nothing here hands names to either, but names travel on, to scripts
/// and systems of others (CVE-2021-36260).
#[must_use]
pub fn is_chosen_name(text: &str, max: usize) -> bool {
    const ACTED_ON: [&str; 7] = ["$(", "${", "`", ";", "|", "../", "..\\"];
    is_name(text, max) && !ACTED_ON.iter().any(|trick| text.contains(trick))
}

/// Control characters, and those that reorder or hide the text around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_pass_and_tricks_do_not() {
        for good in ["Yard", "车库 2", "Küche & Flur", "$(reboot); ../x"] {
            assert!(is_name(good, 64), "{good:?} was refused");
        }
        for bad in ["", " ", " x", "x ", "a\r\nb", "a\0b", "a\u{202E}b", &"x".repeat(65)] {
            assert!(!is_name(bad, 64), "{bad:?} was taken");
        }
        for bad in ["$(reboot)", "a;b", "../x", "..\\x", "`id`", "a | b", "${HOME}", "a\nb"] {
            assert!(!is_chosen_name(bad, 64), "{bad:?} was taken");
        }
        assert!(is_chosen_name("Küche & Flur (2. Stock), $5", 64));
    }
}
