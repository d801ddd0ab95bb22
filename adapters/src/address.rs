//! Addresses of databases, as they may be shown.

/// An address without what may be a password: of a URL what stands behind the @, without its options. Where it is not
/// plain which @ that is, and of an address in words (`host=... password=...`), nothing.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "...".to_owned();
    };
    match rest.rsplit_once('@') {
        Some((before, place)) if !before.contains('?') => {
            let place = place.split('?').next().unwrap_or(place);
            format!("{scheme}://...@{place}")
        }
        _ => format!("{scheme}://..."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_read_is_shown_without_what_may_be_a_password() {
        for (url, expected) in [
            ("postgres://u:secret@h:x/d", "postgres://...@h:x/d"),
            ("postgres://u:sec@ret@h:x/d", "postgres://...@h:x/d"),
            ("postgres://u@h:x/d?password=secret", "postgres://...@h:x/d"),
            ("postgres://u@h/d?password=sec@ret", "postgres://..."),
            ("postgres://u:se?cr@et@h:x/d", "postgres://..."),
            ("postgres://u:secret/d", "postgres://..."),
            ("host=h port=x password=secret", "..."),
            ("mysql://u:secret@h:1", "mysql://...@h:1"),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }
}
