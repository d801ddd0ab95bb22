//! Colours, if the reader wants them: on a terminal, and unless `NO_COLOR` is set (no-color.org).

use std::io::IsTerminal as _;

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For what goes to standard output.
    pub(crate) fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            on: !refused && std::io::stdout().is_terminal(),
        }
    }

    /// Never any colour.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    /// Always colour.
    #[cfg(test)]
    pub(crate) const fn colourful() -> Self {
        Self { on: true }
    }

    /// As it should be.
    pub(crate) fn good(self, text: &str) -> String {
        self.code("32", text)
    }

    /// As it should not be.
    pub(crate) fn bad(self, text: &str) -> String {
        self.code("31;1", text)
    }

    /// A heading.
    pub(crate) fn head(self, text: &str) -> String {
        self.code("1", text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_plain() {
        assert_eq!(Paint::plain().bad("x"), "x");
        assert_eq!(Paint::colourful().good("x"), "\x1b[32mx\x1b[0m");
    }
}
