//! What each format takes for what: the table of the documentation, for programs.

use super::Format;

/// What a format is, and how its importer reads what other formats say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conventions {
    /// What it is, in a few words.
    pub about: &'static str,
    /// How a read of the initial state looks.
    pub initial: &'static str,
    /// How a transaction that was aborted looks.
    pub aborted: &'static str,
    /// How one whose outcome nobody was told looks.
    pub unknown: &'static str,
    /// What is known of real time.
    pub real_time: &'static str,
    /// Whether it is written as well.
    pub is_written: bool,
}

/// What a format cannot say.
const NOT_SAID: &str = "not said";

const DBCOP_ZERO: &str = "0, unless a committed transaction wrote 0 to the key";

impl Format {
    /// What it is, and what it takes for what.
    ///
    /// ```
    /// use checker::formats::Format;
    ///
    /// assert_eq!(Format::Native.conventions().initial, "~");
    /// assert!(!Format::Viper.conventions().is_written);
    /// ```
    #[must_use]
    pub const fn conventions(self) -> Conventions {
        match self {
            Self::Native => NATIVE,
            Self::ElleEdn => ELLE_EDN,
            Self::ElleJson => ELLE_JSON,
            Self::Text => TEXT,
            Self::DbcopBincode => DBCOP_BINCODE,
            Self::DbcopJson => DBCOP_JSON,
            Self::DbcopHist => DBCOP_HIST,
            Self::Cobra => COBRA,
            Self::TimeKiller => TIME_KILLER,
            Self::Vbox => VBOX,
            Self::Viper => VIPER,
            Self::SitedHistory => SITED_HISTORY,
        }
    }
}

const NATIVE: Conventions = of(
    "our own, in which nothing is lost",
    true,
    ["~", "a", "u", "intervals"],
);

const ELLE_EDN: Conventions = of(
    "EDN, as Jepsen writes it and Elle takes it",
    true,
    [
        "nil, or [] of a list",
        ":fail",
        ":info, or no completion",
        "positions in the file",
    ],
);

const ELLE_JSON: Conventions = of(
    "the same in JSON, as elle-cli takes it",
    true,
    [
        "null, or [] of a list",
        "fail",
        "info, or no completion",
        "positions in the file",
    ],
);

const TEXT: Conventions = of(
    "r(key,value,session,transaction) or w(...) a line: Plume, AWDIT, PolySI, IsoVista",
    true,
    [
        "0, unless a transaction that was not aborted wrote 0 to the key",
        "transaction -1",
        NOT_SAID,
        NOT_SAID,
    ],
);

const DBCOP_BINCODE: Conventions = of(
    "dbcop's binary files (2019)",
    true,
    [DBCOP_ZERO, "a flag", NOT_SAID, NOT_SAID],
);

const DBCOP_JSON: Conventions = {
    let initial = "null; 0, unless a committed transaction wrote 0 to the key";
    of(
        "dbcop's JSON",
        true,
        [initial, "a flag", NOT_SAID, NOT_SAID],
    )
};

const DBCOP_HIST: Conventions = {
    let initial = "?; 0, unless a committed transaction wrote 0 to the key";
    of(
        "dbcop's notation [x:=1 y==2]",
        true,
        [initial, "!", NOT_SAID, NOT_SAID],
    )
};

const COBRA: Conventions = of(
    "a folder of Cobra's logs (T<number>.log), a file for each client",
    true,
    [
        "writes 0xbebeebee and 0xdeadbeef",
        "A",
        "a log that ends in a transaction",
        NOT_SAID,
    ],
);

const TIME_KILLER: Conventions = of(
    "JSON of TimeKiller (Chronos, Aion)",
    false,
    [
        "null, or [] of a list; 0, unless a transaction wrote 0 to the key",
        NOT_SAID,
        NOT_SAID,
        "start and commit timestamps",
    ],
);

const VBOX: Conventions = of(
    "a folder of Vbox's logs (<number>.log), a file for each session",
    false,
    [
        "a version of transaction 0",
        "A",
        "a log that ends in a transaction",
        "intervals",
    ],
);

const VIPER: Conventions = of(
    "a folder of ViperBench's JSON logs (J<number>.log)",
    false,
    [
        "0, unless a transaction wrote 0 to the key",
        NOT_SAID,
        NOT_SAID,
        "intervals, if they are there",
    ],
);

const SITED_HISTORY: Conventions = of(
    "what one site of this project's coordinator recorded (co-history 1): versions, not values",
    false,
    [
        "version 0",
        "a",
        "u, or no footer",
        "stamps of decisions instead",
    ],
);

/// The conventions for initial values, aborted and unknown transactions, and real time.
const fn of(about: &'static str, is_written: bool, said: [&'static str; 4]) -> Conventions {
    let [initial, aborted, unknown, real_time] = said;
    Conventions {
        about,
        initial,
        aborted,
        unknown,
        real_time,
        is_written,
    }
}
