//! The tokens file: who may say what, by a secret that is compared in constant time.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

use super::{Role, SecurityError, read_secret};
use crate::protocol::SiteName;

/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;

/// Whom a token names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Identity {
    pub(crate) role: Role,
    pub(crate) name: Arc<str>,
    /// The one site for which it may speak.
    pub(crate) site: Option<SiteName>,
}

struct Entry {
    token: Vec<u8>,
    identity: Arc<Identity>,
}

/// All tokens that are in force.
pub(crate) struct Tokens {
    entries: Vec<Entry>,
}

impl Tokens {
    /// Reads a tokens file, which only its owner may be able to read.
    pub(super) fn read(path: &Path) -> Result<Self, SecurityError> {
        let text = read_secret(path)?;
        let wrong = |line, problem| SecurityError::Tokens {
            path: path.to_owned(),
            line,
            problem,
        };
        let text = std::str::from_utf8(&text).map_err(|_| wrong(1, "the file is not UTF-8"))?;
        let mut entries: Vec<Entry> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let entry = entry(text).map_err(|problem| wrong(line, problem))?;
            if entries.iter().any(|before| before.token == entry.token) {
                return Err(wrong(line, "the token is another line's; make a new one"));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(wrong(1, "there is no token; add `ROLE NAME TOKEN` lines"));
        }
        Ok(Self { entries })
    }

    /// Whom the token names. Compares with every entry, each in a time that does not depend on where the
    /// two differ.
    pub(crate) fn identity(&self, token: &[u8]) -> Option<Arc<Identity>> {
        let mut found = None;
        for entry in &self.entries {
            if bool::from(entry.token.ct_eq(token)) {
                found = Some(&entry.identity);
            }
        }
        found.map(Arc::clone)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.entries.iter().map(|entry| &*entry.identity);
        f.debug_list().entries(names).finish()
    }
}

/// One line: `ROLE NAME TOKEN [site=SITE]`.
fn entry(line: &str) -> Result<Entry, &'static str> {
    let mut words = line.split_whitespace();
    let (role, name, token) = (words.next(), words.next(), words.next());
    let (Some(role), Some(name), Some(token)) = (role, name, token) else {
        return Err("write `ROLE NAME TOKEN`, or `participant NAME TOKEN site=SITE`");
    };
    let role = match role {
        "client" => Role::Client,
        "participant" => Role::Participant,
        "coordinator" => Role::Coordinator,
        "operator" => Role::Operator,
        _ => return Err("the role is none of client, participant, coordinator, operator"),
    };
    let site = match words.next() {
        None => None,
        Some(word) => match (role, word.strip_prefix("site=")) {
            (Role::Participant, Some(site)) if !site.is_empty() => Some(SiteName::new(site)),
            _ => return Err("after the token only a participant has more: `site=SITE`"),
        },
    };
    if words.next().is_some() {
        return Err("there is more than `ROLE NAME TOKEN site=SITE`");
    }
    if token.len() < SHORTEST {
        return Err("the token is shorter than 16 characters; `openssl rand -hex 32` makes one");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token has characters that no header can carry");
    }
    let identity = Identity {
        role,
        name: name.into(),
        site,
    };
    Ok(Entry {
        token: token.as_bytes().to_vec(),
        identity: Arc::new(identity),
    })
}
