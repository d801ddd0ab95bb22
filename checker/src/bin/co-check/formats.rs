//! `co-check formats`: what is read, and what each format takes for what.

use checker::formats::Format;

use crate::output::{Failure, STATUS_VALID, push, show};

#[derive(Debug, clap::Args)]
pub(crate) struct FormatsArguments {
    /// The format to describe; all of them otherwise
    #[arg(value_name = "FORMAT")]
    format: Option<Format>,
}

const HEAD: &str = "\
Formats are found out from the content, also when compressed with gzip or zstd;
--format names one. `co-check formats native` and `co-check formats sites` show
how these two look, and docs/history-format.md of the repository has the latter
in full.
";

const NATIVE: &str = r#"
co-observed 1
c 0 0..3 w:x=10 r:y=~
c 1 4..7 r:x=10 a:list=7
a 1 8..9 w:x=11
u 0 5.. l:list=[7,8] u:z
end 4

Each line is a transaction: c committed, a aborted, u nobody was told; its
session, or -; when it began and ended, in any unit, or - (without an end it was
never told); and its operations:

  r:KEY=VALUE   read a register (~ is the initial state)
  w:KEY=VALUE   wrote one
  l:KEY=[V,V]   read a list, all of it
  a:KEY=VALUE   appended to a list
  u:KEY         read, and nobody saw what

White space, control characters and % = , [ ] ~ in names are written %HH, and
the empty name is %. The last line counts the transactions. # begins a comment.
"#;

const SITES: &str = "
co-history 1 A
c G1 5 1 r:x@0 w:y
c L7 6 2 x:y i:n
a G2 conflict
u G3 w:x
end 4

What one site recorded, a line for each transaction that ended there: c
committed, with its name (G global, L local to the site), the stamp of its
decision, the position at which it installed; a aborted, and why; u voted, and
the decision is not known. Operations: r:KEY@VERSION read, w: wrote, x: deleted,
i: incremented, s:LOW..HIGH@POSITION[KEY@VERSION,...] scanned.
";

/// Describes them.
pub(crate) fn run(arguments: &FormatsArguments) -> Result<u8, Failure> {
    let mut text = String::new();
    match arguments.format {
        Some(format) => describe(format, &mut text),
        None => {
            text.push_str(HEAD);
            for format in Format::ALL {
                text.push('\n');
                describe(format, &mut text);
            }
        }
    }
    text.push_str(match arguments.format {
        Some(Format::Native) => NATIVE,
        Some(Format::SitedHistory) => SITES,
        _ => "",
    });
    show(&text)?;
    Ok(STATUS_VALID)
}

fn describe(format: Format, text: &mut String) {
    let it = format.conventions();
    let used = if it.is_written {
        "read and written"
    } else {
        "read"
    };
    push(
        text,
        format_args!(
            "{format}: {}; {used}\n  initial state  {}\n  aborted        {}\n  unknown        {}\n  real time      {}\n",
            it.about, it.initial, it.aborted, it.unknown, it.real_time
        ),
    );
}
