//! Names of branches as XA identifiers.
//!
//! An identifier has two parts of at most 64 bytes each: the first is the site's, the second the transaction's. So the
//! longest name fits. The format's number tells the adapters' branches from those of other transaction managers.

use crate::branch::{BranchName, Site};

/// `co`, as a number.
const FORMAT: i64 = 0x636f;

/// The identifier of a branch, as it stands in a statement. Its characters need no escapes.
pub(super) fn literal(site: &Site, branch: BranchName) -> String {
    let identifier = site.identifier(branch);
    let (first, second) = identifier
        .rsplit_once(':')
        .expect("a branch's name follows the last colon");
    format!("'{first}','{second}',{FORMAT}")
}

/// What adapters call the branch that a row of `XA RECOVER` is; nothing if it is not an adapter's.
pub(crate) fn identifier_of_row(row: (i64, usize, usize, &[u8])) -> Option<String> {
    let (format, first, second, data) = row;
    if format != FORMAT || data.len() != first.checked_add(second)? {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?;
    let (first, second) = text.split_at_checked(first)?;
    Some(format!("{first}:{second}"))
}

/// Which branch of the site such a row is.
pub(super) fn parse(site: &Site, row: (i64, usize, usize, &[u8])) -> Option<BranchName> {
    site.parse(&identifier_of_row(row)?)
}

#[cfg(test)]
mod tests {
    use co_core::Gtid;

    use super::*;

    #[test]
    fn the_longest_names_fit_and_are_found_again() {
        let site = Site::new(&"s".repeat(Site::MAX_BYTES)).unwrap();
        let local = BranchName::Local {
            life: u64::MAX,
            number: u64::MAX,
        };
        for branch in [BranchName::Global(Gtid(u64::MAX)), local] {
            let literal = literal(&site, branch);
            let parts: Vec<&str> = literal.split('\'').collect();
            let (first, second) = (parts[1], parts[3]);
            assert!(first.len() <= 64 && second.len() <= 64, "{literal}");
            let data = format!("{first}{second}");
            let row = (FORMAT, first.len(), second.len(), data.as_bytes());
            assert_eq!(parse(&site, row), Some(branch));
        }
    }

    #[test]
    fn what_others_have_prepared_is_left_alone() {
        let site = Site::new("a").unwrap();
        for row in [
            (1, 4, 2, &b"co:ag1"[..]),
            (FORMAT, 4, 2, b"co:bg1"),
            (FORMAT, 3, 3, b"co:ag1"),
            (FORMAT, 4, 3, b"co:ag1"),
            (FORMAT, 1, 1, b"\xff\xfe"),
            (FORMAT, usize::MAX, 1, b"co:ag1"),
        ] {
            assert_eq!(parse(&site, row), None, "{row:?}");
        }
        let own = parse(&site, (FORMAT, 4, 2, b"co:ag1"));
        assert_eq!(own, Some(BranchName::Global(Gtid(1))));
    }
}
